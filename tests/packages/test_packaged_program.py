"""The program as it is packaged: run from the unpacked .deb, by the interpreter that it is for."""

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.packages.conftest import ROOT, Unpacked

from rolekeeper import __version__
from rolekeeper.cli import parser

# Where boto3 would connect to, for every region that botocore knows, in each variant.
BOTO3_ENDPOINTS = """
import json, boto3
from botocore.config import Config
session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
table = {}
for partition in session.get_available_partitions():
    for region in session._session.get_component("data_loader").load_data("partitions")["partitions"]:
        for name in region["regions"] if region["id"] == partition else ():
            for fips, dual in ((False, False), (True, False), (False, True), (True, True)):
                config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual)
                try:
                    client = session.client("SERVICE", region_name=name, verify=False, config=config)
                    table[f"{name} {fips} {dual}"] = client.meta.endpoint_url
                except Exception as error:
                    table[f"{name} {fips} {dual}"] = type(error).__name__
print(json.dumps(table))
"""
# Where our own requests go, for every region that botocore knows, in each variant; and a role's request, unsent.
ENDPOINTS = """
import json
from datetime import UTC, datetime, timedelta
from rolekeeper.adapters import sts
from rolekeeper.adapters.ssm.endpoints import partitions, resolve
from rolekeeper.errors import ServiceRefusedError
from rolekeeper.model import RoleToken
from rolekeeper.settings import ServiceSettings
second = timedelta(seconds=1)
table = {}
for region in [region for one in partitions() for region in one["regions"]]:
    for fips, dual_stack in ((False, False), (True, False), (False, True), (True, True)):
        settings = ServiceSettings(None, None, None, fips, dual_stack, second, second)
        for service in ("ssm", "sts"):
            try:
                table[f"{service} {region} {fips} {dual_stack}"] = resolve(service, "", region, settings).url
            except ServiceRefusedError as error:
                table[f"{service} {region} {fips} {dual_stack}"] = error.code
noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
token = RoleToken("ASIA", "secret", "token", noon)
plain = resolve("sts", "", "eu-central-1", ServiceSettings(None, None, None, False, False, second, second))
headers, body = sts._signed(plain, sts._RoleCall("", "eu-central-1", {"RoleArn": "arn"}, token), noon)
table["request"] = body.decode()
print(json.dumps(table))
"""
BOTO3_CALLS = """
import sys, boto3
url, region = sys.argv[1:]
session = boto3.Session(aws_access_key_id="ASIAEXAMPLE", aws_secret_access_key="b", region_name=region)
sts, ssm = (session.client(name, endpoint_url=url, verify=False) for name in ("sts", "ssm"))
for call, arguments in (
    (sts.get_caller_identity, {}),
    (sts.assume_role, {"RoleArn": "arn:aws:iam::123456789012:role/name", "RoleSessionName": "session"}),
    (ssm.deregister_managed_instance, {"InstanceId": "mi-0123456789abcdef0"}),
):
    try:
        call(**arguments)
        print("answered")
    except sts.exceptions.ClientError as error:
        print(type(error).__name__)
"""
IMPORT_LIBRARIES = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
for top in ("boto3", "botocore", "cryptography", "dateutil", "jmespath", "psutil", "pydantic", "structlog", "urllib3"):
    package = importlib.import_module(top)
    for module in pkgutil.walk_packages(package.__path__, f"{top}.", onerror=lambda name: None):
        try:
            importlib.import_module(module.name)
        except BaseException:
            print(module.name)
"""
IMPORT_ALL = """
import importlib, pkgutil, sys, rolekeeper
for module in pkgutil.walk_packages(rolekeeper.__path__, "rolekeeper."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted({getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}), sep="\\n")
"""

# Modules that are left out and that a library imports in a function that is never called here, or in a branch.
NEVER_IMPORTED = {
    "botocore.crt.auth",  # if awscrt is installed
    "dateutil.rrule",  # for a tz.tzical
    "dateutil.tz.win",  # on Windows
    "dateutil.zoneinfo",  # if the system has no time zones, and somebody asks for one by name
    "psutil._psaix",  # on other operating systems
    "psutil._psbsd",
    "psutil._psosx",
    "psutil._pssunos",
    "psutil._pswindows",
    "pydantic.dataclasses",  # for schemas of dataclasses
    "pydantic.deprecated.copy_internals",  # for methods of pydantic 1
    "pydantic.deprecated.json",
    "pydantic.deprecated.parse",
    "pydantic.root_model",  # for subclasses of RootModel
    "pydantic.type_adapter",  # for TypeAdapter
    "pydantic.v1",  # for schemas of pydantic 1
    "structlog.twisted",  # if Twisted is installed
    "urllib3.contrib.emscripten",  # in a browser
    "urllib3.contrib.pyopenssl",  # if pyOpenSSL is installed
    "urllib3.http2.connection",  # if h2 is installed, and switched on
}


def imported(module: Path, site_packages: Path) -> Iterator[str]:
    """Every module that this one imports, and every name that it takes from one, but for type checkers alone."""
    package = module.relative_to(site_packages).with_suffix("").parts
    left: list[ast.AST] = [ast.parse(module.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            left += node.orelse
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level] if node.level else ()
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{name.name}" for name in node.names))
        else:
            left += ast.iter_child_nodes(node)


def is_in(site_packages: Path, module: str) -> bool:
    path = site_packages.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_version_is_that_of_the_source(unpacked: Unpacked) -> None:
    assert unpacked.rolekeeper("version").stdout == f"rolekeeper {__version__}\n"


@pytest.mark.parametrize("verb", parser.VERBS)
def test_every_verb_can_be_asked_for_help(verb: str, unpacked: Unpacked) -> None:
    done = unpacked.rolekeeper(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: rolekeeper {verb}")


def test_every_module_loads_and_nothing_of_it_comes_from_elsewhere(unpacked: Unpacked) -> None:
    done = unpacked.execute("-c", IMPORT_ALL)
    assert done.stderr == ""
    here = f"{unpacked.tree}/lib/"
    ours = [path for path in done.stdout.split() if path.startswith(here)]
    others = [path for path in done.stdout.split() if not path.startswith((here, "/usr/lib/python3"))]
    assert len(ours) > 50
    assert others == []


def test_it_registers_gets_a_token_and_publishes_it(unpacked: Unpacked, server: Server) -> None:
    activation = server.emulator.create_activation()
    register = ("register", "--activation-id", activation.activation_id, "--region", server.emulator.region)
    done = unpacked.rolekeeper("--config", str(server.config), *register, stdin=activation.code)
    assert done.returncode == 0, done.stderr
    done = unpacked.rolekeeper("--config", str(server.config), "attempt")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcome"] == "issued"
    (token,) = server.emulator.tokens
    assert token in server.output.read_text()


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_the_same_tree_gets_a_token_with_another_python(
    version: str, unpacked: Unpacked, server: Server, tmp_path: Path
) -> None:
    ask = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    found = shutil.which(ask[0]) and subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        pytest.skip(f"Python {version} is not here")
    root = Unpacked(tmp_path / "root")
    shutil.copytree(unpacked.root, root.root, symlinks=True)
    for name in ("python3", f"python{version}"):
        (root.tree / "bin" / name).unlink()
        (root.tree / "bin" / name).symlink_to(found)
    activation = server.emulator.create_activation()
    register = ["register", "--activation-id", activation.activation_id, "--region", server.emulator.region]
    for arguments, stdin in ((register, activation.code), (["attempt"], "")):
        command = [root.launcher, "--config", server.config, *arguments]
        done = subprocess.run(
            command, input=stdin, env=server.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "issued"


def test_every_library_module_that_the_whole_installation_can_load_loads(unpacked: Unpacked) -> None:
    """One that imports what was left out shows here."""
    done = unpacked.execute("-c", IMPORT_LIBRARIES)
    failed = set(done.stdout.splitlines())
    whole = subprocess.run([sys.executable, "-I", "-c", IMPORT_LIBRARIES], check=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert failed <= set(whole.stdout.splitlines())


def test_what_is_left_out_is_imported_by_no_function_but_those_that_are_never_called(unpacked: Unpacked) -> None:
    whole = Path(pytest.__file__).parents[1]  # the site-packages of the developers' virtual environment
    modules = unpacked.site_packages.rglob("*.py")
    wanted = {name for module in modules for name in imported(module, unpacked.site_packages)}
    ours = {name for name in wanted if (unpacked.site_packages / name.partition(".")[0]).is_dir()}
    missing = {name for name in ours if is_in(whole, name) and not is_in(unpacked.site_packages, name)}
    assert missing == NEVER_IMPORTED


def test_it_finds_every_endpoint_that_the_whole_botocore_finds(unpacked: Unpacked) -> None:
    done = unpacked.execute("-c", ENDPOINTS)
    assert done.stderr == ""
    whole = subprocess.run([sys.executable, "-I", "-c", ENDPOINTS], check=True, capture_output=True, text=True)
    table = json.loads(done.stdout)
    assert table["ssm eu-central-1 False False"] == "https://ssm.eu-central-1.amazonaws.com/"
    assert len(table) > 100
    assert table == json.loads(whole.stdout)


@pytest.mark.parametrize("service", ["ssm", "sts"])
def test_boto3_finds_every_endpoint_that_it_finds_with_all_its_data(service: str, unpacked: Unpacked) -> None:
    program = BOTO3_ENDPOINTS.replace("SERVICE", service)
    done = unpacked.execute("-c", program)
    assert done.stderr == ""
    whole = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    table = json.loads(done.stdout)
    assert len(table) > 100
    assert table == json.loads(whole.stdout)


def test_boto3_speaks_with_sts_and_ssm(unpacked: Unpacked, server: Server) -> None:
    done = unpacked.execute("-c", BOTO3_CALLS, server.emulator.url, server.emulator.region)
    assert done.stderr == ""
    assert set(done.stdout.split()) <= {"ClientError", "InvalidInstanceId", "answered"}


def test_of_botocores_data_only_what_the_clients_load_is_there(unpacked: Unpacked) -> None:
    data = unpacked.site_packages / "botocore" / "data"
    allowed = runpy.run_path(str(ROOT / "packaging" / "tree.py"))["BOTOCORE_DATA"]
    assert sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()) == sorted(allowed)


def test_what_is_for_developers_stays_out(unpacked: Unpacked) -> None:
    names = {path.name for path in unpacked.site_packages.iterdir()}
    assert names.isdisjoint({"pip", "setuptools", "h11", "pytest", "pycparser", "bin"})
    found = (str(path.relative_to(unpacked.site_packages)) for path in unpacked.site_packages.rglob("*"))
    assert [path for path in found if re.search(r"(^|/)(tests?|emulator)(/|$)|\.pyi$|\.pth$", path)] == []


def test_scanners_can_tell_which_libraries_are_inside(unpacked: Unpacked) -> None:
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "packaging" / "runtime.txt").read_text(), re.MULTILINE))
    found = {}
    for metadata in unpacked.site_packages.glob("*.dist-info/METADATA"):
        fields = dict(re.findall(r"^(Name|Version): (.+)$", metadata.read_text(), re.MULTILINE))
        found[fields["Name"].lower().replace("_", "-")] = fields["Version"]
    left_out = {"pycparser", "s3transfer"}
    assert found == {name: version for name, version in locked.items() if name not in left_out} | {
        "rolekeeper": __version__
    }


def test_the_emulator_is_left_out_and_the_command_says_how_to_get_it(unpacked: Unpacked) -> None:
    done = unpacked.rolekeeper("emulator")
    assert done.returncode == 64
    assert "make .venv/ready" in done.stderr


def test_compile_makes_bytecode_for_each_python_here_and_removes_the_rest(unpacked: Unpacked, tmp_path: Path) -> None:
    tree = tmp_path / "rolekeeper"
    shutil.copytree(unpacked.tree, tree, symlinks=True)
    stray = tree / "lib/python3/site-packages/rolekeeper/__pycache__/model.cpython-399.pyc"
    stray.parent.mkdir()
    stray.touch()
    subprocess.run([tree / "bin" / "compile"], check=True)
    here = {path.name.removeprefix("python3.") for path in (tree / "bin").glob("python3.*") if path.exists()}
    tags = {path.name.split(".")[-2] for path in tree.rglob("*.pyc")}
    assert tags == {f"cpython-3{minor}" for minor in here}
    sources = len(list(tree.glob("lib/python3/**/*.py")))
    assert sources > 300
    assert len(list(tree.glob("lib/python3/**/*.pyc"))) == sources * len(here)
    subprocess.run([tree / "bin" / "compile", "--remove"], check=True)
    assert list(tree.rglob("__pycache__")) == []


def test_running_it_leaves_no_trace_in_its_tree(unpacked: Unpacked, server: Server) -> None:
    before = {path: path.lstat().st_mtime_ns for path in unpacked.tree.rglob("*")}
    subprocess.run([unpacked.launcher, "--config", server.config, "attempt"], check=False, capture_output=True)
    subprocess.run([unpacked.launcher, "check"], check=False, capture_output=True)
    assert {path: path.lstat().st_mtime_ns for path in unpacked.tree.rglob("*")} == before
