"""The program as it is packaged: run from the unpacked .deb, by the interpreter that it is for."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.packages.conftest import ROOT, Unpacked

from rolekeeper import __version__
from rolekeeper.cli import parser

MAGIC_OF_311 = b"\xa7\r\r\n"
UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552

# Where requests would go, for every region that botocore knows, in each variant; and a role's request, unsent.
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
headers, body = sts._signed(plain, sts._Call("", "eu-central-1", {"RoleArn": "arn"}, token), noon)
table["request"] = body.decode()
print(json.dumps(table))
"""
IMPORT_ALL = """
import importlib, pkgutil, sys, rolekeeper
for module in pkgutil.walk_packages(rolekeeper.__path__, "rolekeeper."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted({getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}), sep="\\n")
"""


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
    here = f"{unpacked.site_packages}/"
    ours = [path for path in done.stdout.split() if path.startswith(here)]
    others = [path for path in done.stdout.split() if not path.startswith((here, "/usr/lib/python3.11/"))]
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


def test_it_finds_every_endpoint_that_the_whole_botocore_finds(unpacked: Unpacked) -> None:
    done = unpacked.execute("-c", ENDPOINTS)
    assert done.stderr == ""
    whole = subprocess.run([sys.executable, "-I", "-c", ENDPOINTS], check=True, capture_output=True, text=True)
    table = json.loads(done.stdout)
    assert table["ssm eu-central-1 False False"] == "https://ssm.eu-central-1.amazonaws.com/"
    assert len(table) > 100
    assert table == json.loads(whole.stdout)


def test_of_botocores_data_only_what_the_client_loads_is_there(unpacked: Unpacked) -> None:
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
    for metadata in unpacked.site_packages.glob("*.dist-info/METADATA"):
        fields = dict(re.findall(r"^(Name|Version): (.+)$", metadata.read_text(), re.MULTILINE))
        assert locked[fields["Name"].lower().replace("_", "-")] == fields["Version"]


def test_the_emulator_is_left_out_and_the_command_says_how_to_get_it(unpacked: Unpacked) -> None:
    done = unpacked.rolekeeper("emulator")
    assert done.returncode == 64
    assert "pip install 'rolekeeper[emulator]'" in done.stderr


def test_every_module_is_compiled_for_good(unpacked: Unpacked) -> None:
    sources = list(unpacked.tree.rglob("*.py"))
    assert len(sources) > 300
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert compiled.read_bytes()[:8] == MAGIC_OF_311 + UNCHECKED_HASH, source


def test_running_it_leaves_no_trace_in_its_tree(unpacked: Unpacked, server: Server) -> None:
    before = {path: path.stat().st_mtime_ns for path in unpacked.tree.rglob("*")}
    unpacked.rolekeeper("--config", str(server.config), "attempt")
    unpacked.rolekeeper("check")
    assert {path: path.stat().st_mtime_ns for path in unpacked.tree.rglob("*")} == before


def test_bytecode_names_the_installed_source_and_nothing_of_the_builder(unpacked: Unpacked) -> None:
    for compiled in unpacked.tree.rglob("*.pyc"):
        source = f"/{compiled.parent.parent.relative_to(unpacked.root)}/{compiled.name.split('.')[0]}.py"
        assert source.encode() in compiled.read_bytes()
        assert str(ROOT).encode() not in compiled.read_bytes()


def test_neither_environment_nor_working_directory_reach_the_launcher(unpacked: Unpacked, tmp_path: Path) -> None:
    launcher = unpacked.root / "usr/bin/rolekeeper"
    first, _, rest = launcher.read_text().partition("\n")
    assert first == "#!/usr/lib/rolekeeper/bin/python3 -I"
    here = tmp_path / "rolekeeper"
    here.write_text(f"#!{unpacked.python} -I\n{rest}")
    here.chmod(0o755)
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    environment = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [here, "version", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"version": __version__}
