"""/usr/lib/rolekeeper: the program with its libraries, laid out like a virtual environment, without pip.

    bin/python3, python3.N      links to the system's interpreters; /usr/bin/rolekeeper chooses one
    bin/compile                 makes bytecode for them
    lib/python3/site-packages   one directory for every supported Python
    lib/python3.N               links to lib/python3

Rules:
- Every library comes from the lock, checked against its hashes. A package's tree has the libraries for Linux with glibc
  GLIBC or newer, whatever this machine has; `make install` takes those for the Python that it installs for.
- Extension modules of several Pythons lie side by side: their names carry the ABI. Any other file must be the same for
  all Pythons.
- What no verb needs stays out; LEFT_OUT and BOTOCORE_DATA say what, and why. What boto3 imports but never uses for our
  clients is replaced by the empty classes of STAND_INS.
- There is no bytecode in a tree: bin/compile makes it for the interpreter that is used, when the tree is installed and
  when the system's Python changes.
- The same sources make the same bytes.
"""

import filecmp
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = "2.28"
PREFIX = "/usr/lib/rolekeeper"
SITE_PACKAGES = "lib/python3/site-packages"
LOCK = ROOT / "packaging" / "runtime.txt"

# Below site-packages, as patterns for glob.
LEFT_OUT = {
    "bin": "commands of the dependencies",
    "annotated_types/test_cases.py": "tests",
    "boto3/crt.py": "for clients of S3",
    "boto3/data": "descriptions of resources; we use clients only",
    "boto3/docs": "texts for help()",
    "boto3/dynamodb": "for clients of DynamoDB",
    "boto3/ec2": "for clients of EC2",
    "boto3/examples": "documentation",
    "boto3/resources": "as boto3/data",
    "boto3/s3": "for clients of S3",
    "botocore/cacert.pem": "the system's certificates count, for every connection",
    "botocore/crt/auth.py": "needs the library awscrt, which is not here",
    "botocore/docs/*": "texts for help(), but for one module",
    "botocore/stub.py": "for tests",
    "cffi": "compiles bindings; cryptography needs only the module _cffi_backend of it",
    "cryptography/cobblestone.py": "recipes; we use the primitives",
    "cryptography/fernet.py": "as above",
    "cryptography/hazmat/asn1": "we have no ASN.1 of our own",
    "cryptography/hazmat/primitives/serialization/pkcs*.py": "needs certificates, as below",
    "cryptography/hazmat/primitives/hpke.py": "as above",
    "cryptography/hazmat/primitives/twofactor": "one-time passwords",
    "cryptography/x509": "certificates; TLS is Python's own",
    "dateutil/easter.py": "recurring dates",
    "dateutil/rrule.py": "as above",
    "dateutil/tz/win.py": "for Windows",
    "dateutil/tzwin.py": "for Windows",
    "dateutil/zoneinfo": "time zones; the system has its own",
    "psutil/_ps[abosw]*.py": "for other operating systems, but for one module",
    "psutil/tests": "tests",
    "pycparser": "cffi's",
    "pycparser-*": "as above",
    "pydantic/_internal/_validate_call.py": "as validate_call_decorator.py below",
    "pydantic/alias_generators.py": "types that we do not use",
    "pydantic/color.py": "deprecated by pydantic",
    "pydantic/dataclasses.py": "we use models only",
    "pydantic/deprecated/[!_]*.py": "as above",
    "pydantic/experimental/pipeline.py": "experiments",
    "pydantic/mypy.py": "for mypy",
    "pydantic/networks.py": "types that we do not use",
    "pydantic/root_model.py": "as above",
    "pydantic/type_adapter.py": "as above",
    "pydantic/validate_call_decorator.py": "as above",
    "pydantic/v1": "the interface of pydantic 1",
    "s3transfer": "for clients of S3",
    "s3transfer-*": "as above",
    "structlog/twisted.py": "needs the library Twisted, which is not here",
    "urllib3/contrib/emscripten": "for browsers",
    "urllib3/contrib/pyopenssl.py": "needs the library pyOpenSSL, which is not here",
    "urllib3/contrib/socks.py": "needs the library PySocks, which is not here",
    "urllib3/http2/connection.py": "needs the library h2, which is not here",
    "**/*.pyi": "for type checkers",
    "**/py.typed": "as above",
    "**/__pycache__": "compiled by another Python",
}
KEPT_OF_LEFT_OUT = ("botocore/docs/utils.py", "psutil/_psposix.py")
# Modules of what is left out that boto3 and botocore import all the same, and the classes that they take from there.
STAND_INS = {
    "boto3/resources/factory.py": ("ResourceFactory",),
    "botocore/docs/docstring.py": ("ClientMethodDocstring", "PaginatorDocstring", "WaiterDocstring"),
    "s3transfer/manager.py": ("TransferConfig",),
}
STAND_IN_TEXT = '"""Rolekeeper\'s package leaves this module out; its classes can be made, and do nothing."""\n'
STAND_IN_CLASS = """

class {}:
    def __init__(self, *args, **kwargs):
        pass
"""
# For scanners: the head of METADATA, and the lists of Rust crates. pip's own notes would be wrong here.
KEPT_OF_DIST_INFO = ("METADATA", "sboms")
# boto3's clients that a verb makes, or that boto3's chain of credentials makes for `deregister`.
SERVICES = {
    "signin": "2023-01-01",
    "ssm": "2014-11-06",
    "sso": "2019-06-10",
    "sso-oidc": "2019-06-10",
    "sts": "2011-06-15",
}
# All that those clients load, and adapters/ssm/endpoints.py.
BOTOCORE_DATA = (
    *("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"),
    *(f"{name}/{version}/endpoint-rule-set-1.json.gz" for name, version in SERVICES.items()),
    *(f"{name}/{version}/service-2.json.gz" for name, version in SERVICES.items()),
)
# Of our own: it stands in for AWS in tests and needs h11.
EMULATOR = "emulator"


@dataclass(frozen=True, slots=True)
class Target:
    """What a tree is for: these Pythons, on this architecture or, when that is None, on this machine alone."""

    pythons: tuple[str, ...]
    architecture: str | None  # as wheels name it

    @property
    def name(self) -> str:
        """For files and directories."""
        return self.architecture or f"this-machine-{self.pythons[0]}"


def dependencies(work: Path, target: Target) -> Path:
    """The site-packages of the libraries, made when the lock or this file has changed."""
    about = f"{target}{sys.version}".encode()
    digest = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes() + about).hexdigest()[:16]
    ready = work / f"dependencies-{target.name}-{digest}"
    if not ready.is_dir():
        for old in work.glob(f"dependencies-{target.name}-*"):
            shutil.rmtree(old)
        fresh = work / f"unfinished-{target.name}"
        shutil.rmtree(fresh, ignore_errors=True)
        _install_for_all(fresh, target)
        _trim(fresh)
        _strip(fresh, target)
        fresh.rename(ready)
    return ready


def build(work: Path, tree: Path, version: str, target: Target) -> None:
    """Put the whole tree into `tree`, but for the links to interpreters."""
    site_packages = tree / SITE_PACKAGES
    shutil.copytree(dependencies(work, target), site_packages)
    ours = site_packages / "rolekeeper"
    ignored = shutil.ignore_patterns("__pycache__", "py.typed", EMULATOR)
    shutil.copytree(ROOT / "src" / "rolekeeper", ours, ignore=ignored)
    _set_version(ours / "__init__.py", version)
    _write_metadata(site_packages / f"rolekeeper-{version}.dist-info" / "METADATA", version)
    for python in target.pythons:
        (tree / "lib" / f"python{python}").symlink_to("python3")
    (tree / "bin").mkdir()
    shutil.copy(ROOT / "packaging" / "compile", tree / "bin" / "compile")


def link_interpreters(tree: Path, versions: dict[str, str], default: str) -> None:
    """Link bin/python3.N to the interpreter of each version, and bin/python3 to the default one."""
    for python, interpreter in versions.items():
        (tree / "bin" / f"python{python}").symlink_to(interpreter)
    (tree / "bin" / "python3").symlink_to(default)
    home = Path(default).parent
    (tree / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n", encoding="utf-8")


def kibibytes(directory: Path) -> int:
    """What dpkg's Installed-Size says: all files, each rounded up to whole kibibytes, 1 for anything else."""
    each = (
        -(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in directory.rglob("*")
    )
    return sum(each)


def size(directory: Path) -> int:
    """Bytes as `du --apparent-size` counts them: files, links and directories."""
    return sum(path.lstat().st_size for path in (directory, *directory.rglob("*")))


def _install_for_all(directory: Path, target: Target) -> None:
    """Install the lock for the first Python, then for each other one what has an extension module of its own."""
    first, *others = target.pythons
    _install(directory, LOCK, first, target.architecture)
    own = {name for name in _distributions(directory) if _is_for_one_python(directory, name)}
    if own:
        lock = directory.with_name(f"{directory.name}.txt")
        lock.write_text(_part_of_lock(own))
        for python in others:
            more = directory.with_name(f"{directory.name}-{python}")
            shutil.rmtree(more, ignore_errors=True)
            _install(more, lock, python, target.architecture)
            _merge(more, directory)
            shutil.rmtree(more)
        lock.unlink()


def _install(directory: Path, lock: Path, python: str, architecture: str | None) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    # sdnotify is published as source only: one module in plain Python, built with the locked setuptools.
    locked = ["--require-hashes", "--no-deps", "--no-build-isolation", "--use-pep517", "--requirement", str(lock)]
    options = ["--target", str(directory)]
    if architecture is not None:
        options += ["--python-version", python, "--implementation", "cp"]
        options += [f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none"]
        options += [f"--platform={name}" for name in _platforms(architecture)]
        options += ["--only-binary", ":all:", "--no-binary", "sdnotify"]
    subprocess.run([*pip, *locked, *options], check=True)


def _platforms(architecture: str) -> Iterator[str]:
    """The tags of wheels that run on glibc GLIBC."""
    major, minor = map(int, GLIBC.split("."))
    for older in range(minor, 16, -1):
        yield f"manylinux_{major}_{older}_{architecture}"
    yield f"manylinux2014_{architecture}"
    if architecture == "x86_64":
        for older in range(16, 4, -1):
            yield f"manylinux_{major}_{older}_{architecture}"
        yield from (f"manylinux2010_{architecture}", f"manylinux1_{architecture}")


def _distributions(directory: Path) -> list[str]:
    return [path.name.partition("-")[0] for path in directory.glob("*.dist-info")]


def _is_for_one_python(directory: Path, distribution: str) -> bool:
    (record,) = directory.glob(f"{distribution}-*.dist-info/RECORD")
    return ".cpython-3" in record.read_text()


def _part_of_lock(distributions: set[str]) -> str:
    """The requirements of these distributions, with their hashes."""
    requirements = re.split(r"\n(?=\S)", LOCK.read_text())
    parts = [text for text in requirements if re.split(r"==", text)[0].replace("-", "_") in distributions]
    if len(parts) != len(distributions):
        sys.exit(f"Cannot find all of {', '.join(sorted(distributions))} in {LOCK}")
    return "\n".join(parts) + "\n"


def _merge(more: Path, directory: Path) -> None:
    """Add the files of another Python; a file that all have must be the same for all, but for pip's own notes."""
    for path in sorted(more.rglob("*")):
        if path.is_dir():
            continue
        target = directory / path.relative_to(more)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        elif not filecmp.cmp(path, target, shallow=False) and not _may_differ(path):
            sys.exit(f"Cannot merge {path.relative_to(more)}: it differs between Pythons")


def _may_differ(path: Path) -> bool:
    """Whether this is one of pip's notes, or a list of Rust crates, which carries a random number."""
    return path.parent.suffix == ".dist-info" or path.parent.name == "sboms"


def _trim(site_packages: Path) -> None:
    kept = {site_packages / name for name in KEPT_OF_LEFT_OUT}
    for pattern in LEFT_OUT:
        for path in list(site_packages.glob(pattern)):
            if path not in kept:
                _remove(path)
    _write_stand_ins(site_packages)
    for information in site_packages.glob("*.dist-info"):
        for path in information.iterdir():
            if path.name not in KEPT_OF_DIST_INFO:
                _remove(path)
        for crates in information.glob("sboms/*.json"):
            crates.write_bytes(_json(_identities(json.loads(crates.read_text(encoding="utf-8")))))
        metadata = information / "METADATA"
        metadata.write_text(metadata.read_text(encoding="utf-8").partition("\n\n")[0] + "\n", encoding="utf-8")
    _trim_data(site_packages / "botocore" / "data")
    for directory in sorted((path for path in site_packages.rglob("*") if path.is_dir()), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()


def _write_stand_ins(site_packages: Path) -> None:
    for name, classes in STAND_INS.items():
        module = site_packages / name
        module.parent.mkdir(exist_ok=True)
        module.write_text(STAND_IN_TEXT + "".join(map(STAND_IN_CLASS.format, classes)))


def _identities(bill: dict[str, Any]) -> dict[str, Any]:
    """Of a bill of materials, what a scanner matches; descriptions and the graph of dependencies are most of it."""
    kept = ("type", "name", "version", "purl", "hashes", "licenses")
    components = [{name: one[name] for name in kept if name in one} for one in bill.pop("components")]
    return {name: value for name, value in bill.items() if name != "dependencies"} | {"components": components}


def _trim_data(data: Path) -> None:
    """Of botocore's data, keep what clients of SERVICES load, without documentation; of its endpoints, SERVICES'."""
    kept = {data / name for name in BOTOCORE_DATA}
    for path in list(data.rglob("*")):
        if path.is_file() and path not in kept:
            path.unlink()
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {name: one for name, one in partition["services"].items() if name in SERVICES}
    (data / "endpoints.json").write_bytes(_json(endpoints))
    for path in data.rglob("service-2.json.gz"):
        description = json.loads(gzip.decompress(path.read_bytes()))
        path.write_bytes(gzip.compress(_json(_without_documentation(description)), 9, mtime=0))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _without_documentation(value: Any) -> Any:
    """A service's description without its texts, which are nine tenths of it."""
    if isinstance(value, list):
        return [_without_documentation(one) for one in value]
    if isinstance(value, dict):  # a member may be called `documentation`, too, but then it is a table
        kept = {name: one for name, one in value.items() if name != "documentation" or isinstance(one, dict)}
        return {name: _without_documentation(one) for name, one in kept.items()}
    return value


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _strip(site_packages: Path, target: Target) -> None:
    """Take symbols out that nothing needs at run time: 3 MB for each architecture."""
    libraries = sorted(site_packages.rglob("*.so"))
    if target.architecture is not None:
        strip = _program(f"{target.architecture}-linux-gnu-strip")
        subprocess.run([strip, "--strip-unneeded", "--remove-section=.comment", *libraries], check=True)
    for library in libraries:
        library.chmod(0o644)  # no program


def _set_version(module: Path, version: str) -> None:
    text, found = re.subn(r'^__version__ = ".*"$', f'__version__ = "{version}"', module.read_text(), flags=re.MULTILINE)
    if found != 1:
        sys.exit(f"Cannot find __version__ in {module}")
    module.write_text(text)


def _write_metadata(path: Path, version: str) -> None:
    """What scanners read of rolekeeper itself."""
    import tomllib  # noqa: PLC0415 - `make install` starts this file with any Python, to say that it is too old

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"Cannot build packages: {name} is not installed")
    return found
