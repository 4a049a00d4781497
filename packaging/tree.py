# ruff: noqa: INP001 - scripts for `make packages`, not a package
"""The tree that both packages install: /usr/lib/rolekeeper, laid out like a virtual environment, without pip.

Rules:
- What is not ours comes from the lock, checked against its hashes, for Python PYTHON on Linux with glibc GLIBC or
  newer, whatever this machine has. Nothing is fetched or built when the package is installed.
- What nothing imports at run time stays out; LEFT_OUT and BOTOCORE_DATA say what, and why.
- The bytecode is compiled here and never checked against its source: root writes nothing below /usr/lib, no time stamp
  matters, and a command starts quickly. Hence the sources must not be edited in place.
- The same sources make the same bytes.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
GLIBC = (2, 28)
PREFIX = "/usr/lib/rolekeeper"
SITE_PACKAGES = f"lib/python{PYTHON}/site-packages"
LOCK = ROOT / "packaging" / "runtime.txt"
BYTECODE_ROOT = f"{PREFIX}/{SITE_PACKAGES}"  # what tracebacks say

# Below site-packages, as patterns for glob.
LEFT_OUT = {
    "bin": "commands of the dependencies",
    "boto3/data": "resources, which no module of ours uses",
    "boto3/examples": "documentation",
    "cffi": "compiles bindings; cryptography needs only the module _cffi_backend of it",
    "pycparser": "cffi's",
    "pycparser-*": "as above",
    "dateutil/zoneinfo/*.tar.gz": "time zones for Windows; the system has its own",
    "**/*.pyi": "for type checkers",
    "**/py.typed": "as above",
    "**/__pycache__": "compiled by another Python",
}
# Scanners for vulnerable versions read METADATA and the lists of Rust crates; pip's own notes would be wrong here.
KEPT_OF_DIST_INFO = ("METADATA", "sboms")
# All that adapters/ssm/endpoints.py and adapters/sts.py load.
BOTOCORE_DATA = (
    "partitions.json",
    "sdk-default-configuration.json",
    "sts/2011-06-15/endpoint-rule-set-1.json.gz",
    "sts/2011-06-15/service-2.json.gz",
)
# Of our own: it stands in for AWS in tests and needs h11.
EMULATOR = "emulator"

VENV = f"""\
home = /usr/bin
include-system-site-packages = false
version = {PYTHON}
"""


def dependencies(work: Path) -> Path:
    """The site-packages of what is not ours, made when the lock or this file has changed."""
    digest = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    ready = work / f"dependencies-{digest}"
    if not ready.is_dir():
        for old in work.glob("dependencies-*"):
            shutil.rmtree(old)
        fresh = work / "unfinished"
        shutil.rmtree(fresh, ignore_errors=True)
        _install(fresh)
        _trim(fresh)
        _strip(fresh)
        compile_bytecode(fresh, BYTECODE_ROOT)
        fresh.rename(ready)
    return ready


def build(work: Path, tree: Path, version: str) -> None:
    """Put the whole of /usr/lib/rolekeeper into `tree`, but for bin/python3, which differs between the packages."""
    site_packages = tree / SITE_PACKAGES
    shutil.copytree(dependencies(work), site_packages)
    ours = site_packages / "rolekeeper"
    ignored = shutil.ignore_patterns("__pycache__", "py.typed", EMULATOR)
    shutil.copytree(ROOT / "src" / "rolekeeper", ours, ignore=ignored)
    _set_version(ours / "__init__.py", version)
    compile_bytecode(ours, f"{BYTECODE_ROOT}/rolekeeper")
    (tree / "pyvenv.cfg").write_text(VENV)


def compile_bytecode(directory: Path, installed_as: str) -> None:
    """Compile every module below `directory` for PYTHON, as if it stood in `installed_as`."""
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(directory), "-p", installed_as]
    environment = {"PYTHONHASHSEED": "0"}
    subprocess.run([_interpreter(), "-I", "-m", "compileall", *options, str(directory)], check=True, env=environment)


def size(directory: Path) -> int:
    """Bytes of all files, each rounded up to whole kibibytes as dpkg's Installed-Size does, 1 KiB for anything else."""
    kibibytes = (
        -(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in directory.rglob("*")
    )
    return 1024 * sum(kibibytes)


def _install(directory: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    lock = ["--require-hashes", "--no-deps", "--requirement", str(LOCK)]
    target = ["--target", str(directory), "--python-version", PYTHON, "--implementation", "cp"]
    abis = [f"--abi=cp{PYTHON.replace('.', '')}", "--abi=abi3", "--abi=none"]
    platforms = [f"--platform={name}" for name in _platforms()]
    # sdnotify is published as source only: one module in plain Python, built with the locked setuptools.
    kinds = ["--only-binary", ":all:", "--no-binary", "sdnotify", "--no-build-isolation"]
    subprocess.run([*pip, *lock, *target, *abis, *platforms, *kinds], check=True)


def _platforms() -> Iterator[str]:
    """The tags of wheels that run on glibc GLIBC."""
    major, minor = GLIBC
    for older in range(minor, 4, -1):
        yield f"manylinux_{major}_{older}_x86_64"
    yield from ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")


def _trim(site_packages: Path) -> None:
    for pattern in LEFT_OUT:
        for path in list(site_packages.glob(pattern)):
            _remove(path)
    for information in site_packages.glob("*.dist-info"):
        for path in information.iterdir():
            if path.name not in KEPT_OF_DIST_INFO:
                _remove(path)
    data = site_packages / "botocore" / "data"
    kept = {data / name for name in BOTOCORE_DATA}
    for path in list(data.rglob("*")):
        if path.is_file() and path not in kept:
            path.unlink()
    for directory in sorted((path for path in site_packages.rglob("*") if path.is_dir()), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _strip(site_packages: Path) -> None:
    """Take symbols out that nothing needs at run time: 3 MB."""
    libraries = sorted(site_packages.rglob("*.so"))
    subprocess.run([_program("strip"), "--strip-unneeded", "--remove-section=.comment", *libraries], check=True)
    for library in libraries:
        library.chmod(0o644)  # no program


def _set_version(module: Path, version: str) -> None:
    text, found = re.subn(r'^__version__ = ".*"$', f'__version__ = "{version}"', module.read_text(), flags=re.MULTILINE)
    if found != 1:
        sys.exit(f"Cannot find __version__ in {module}")
    module.write_text(text)


def _interpreter() -> str:
    """A Python PYTHON: bytecode of another one is none for the installed interpreter."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return sys.executable if running == PYTHON else _program(f"python{PYTHON}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"Cannot build packages: {name} is not installed")
    return found
