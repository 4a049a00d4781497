"""`make dist` and `make sbom`: wheel, source distribution, and the list of what is inside the packages."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.packages.conftest import ROOT

from rolekeeper import __version__

whole = pytest.mark.skipif(not os.environ.get("ROLEKEEPER_WHOLE"), reason="`make packages-check` runs it")
UNITS = sorted(f"systemd/{path.name}" for path in (ROOT / "systemd").iterdir())
OTHERS = ["config/config.toml", "packaging/man/rolekeeper.8", "packaging/man/rolekeeper.toml.5"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", directory]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return directory


def test_the_wheel_has_units_configuration_and_man_pages(built: Path) -> None:
    with zipfile.ZipFile(built / f"rolekeeper-{__version__}-py3-none-any.whl") as wheel:
        data = f"rolekeeper-{__version__}.data/data/share"
        names = {name.removeprefix(data) for name in wheel.namelist() if name.startswith(data)}
        assert names >= {f"/rolekeeper/{unit}" for unit in UNITS}
        assert names >= {"/rolekeeper/config/config.toml", "/man/man8/rolekeeper.8", "/man/man5/rolekeeper.toml.5"}
        command = wheel.read(f"rolekeeper-{__version__}.data/scripts/rolekeeper")
    assert command == (ROOT / "packaging" / "launcher").read_bytes()


def test_the_source_distribution_has_what_it_takes_to_install(built: Path) -> None:
    top = f"rolekeeper-{__version__}"
    with tarfile.open(built / f"{top}.tar.gz") as archive:
        names = set(archive.getnames())
    wanted = [*UNITS, *OTHERS, "Makefile", "packaging/install", "packaging/runtime.txt", "packaging/build.txt"]
    assert [name for name in wanted if f"{top}/{name}" not in names] == []


@whole
def test_make_dist_checks_what_it_has_built() -> None:
    done = subprocess.run(["make", "--silent", "dist"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.count("PASSED") == 2


@whole
def test_the_list_of_what_is_inside_names_every_library_and_openssl() -> None:
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, check=True, capture_output=True)
    path = ROOT / "dist" / f"rolekeeper-{__version__}.cdx.json"
    first = path.read_text()
    found = json.loads(first)
    assert found["bomFormat"] == "CycloneDX"
    components = {one["name"]: one["version"] for one in found["components"] if "pypi" in one["purl"]}
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "packaging" / "runtime.txt").read_text(), re.MULTILINE))
    assert components == {name: locked[name] for name in locked if name not in ("pycparser", "s3transfer")}
    (openssl,) = [one for one in found["components"] if one["purl"].startswith("pkg:generic/openssl@")]
    (cryptography,) = [one for one in found["dependencies"] if one["ref"].startswith("pkg:pypi/cryptography@")]
    assert openssl["bom-ref"] in cryptography["dependsOn"]
    assert openssl["cpe"].startswith("cpe:2.3:a:openssl:openssl:")
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, check=True, capture_output=True)
    assert path.read_text() == first
