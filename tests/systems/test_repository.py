"""Signed repositories as `make repository` lays them out, and an installation from the apt one."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.packages.conftest import ROOT, need, output
from tests.systemd.conftest import NEW_VERSION, UNIT, Machine

SITE = "/opt/repository"  # where a box sees it
SOURCE = f"deb [signed-by={SITE}/apt/rolekeeper.gpg] file:{SITE}/apt stable main\n"
pytestmark = pytest.mark.timeout(1800)  # making a root takes minutes


@pytest.fixture(scope="module")
def key() -> Iterator[str]:
    """A key in a keyring of its own, which the environment names; its path has to be short for gpg's sockets."""
    need("gpg", "gnupg")
    with tempfile.TemporaryDirectory(prefix="gpg") as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", home)
        name = "packages@rolekeeper.example"
        gpg = [
            "gpg",
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-generate-key",
            name,
            "rsa3072",
            "sign",
            "never",
        ]
        subprocess.run(gpg, check=True, capture_output=True)
        yield name
        subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)


@pytest.fixture(scope="module")
def repository(packages: Path, key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for pair in ("apt-ftparchive:apt-utils", "createrepo_c:createrepo-c", "rpmsign:rpm"):
        need(*pair.split(":"))
    directory = tmp_path_factory.mktemp("site") / "repository"
    output(ROOT / "packaging" / "repository", key, packages, directory)
    return directory


def test_apt_installs_from_it_and_the_service_runs(repository: Path, machine_of: Callable[..., Machine]) -> None:
    machine = machine_of("trixie", f"{repository}:{SITE}")
    machine.configure()
    machine.write("/etc/apt/sources.list.d/rolekeeper.list", SOURCE)
    machine.run("apt-get", "-qq", "-oDir::Etc::SourceList=/dev/null", "-oAPT::Get::List-Cleanup=0", "update")
    machine.shell("export DEBIAN_FRONTEND=noninteractive; apt-get -qq install --yes --no-install-recommends rolekeeper")
    assert machine.rolekeeper("version").out == f"rolekeeper {NEW_VERSION}\n"
    machine.register()
    machine.until_published()
    assert machine.property(UNIT, "UnitFileState") == "enabled"


def test_apt_refuses_an_index_that_was_changed(repository: Path, machine_of: Callable[..., Machine]) -> None:
    machine = machine_of("trixie", f"{repository}:{SITE}")
    machine.shell(
        f"cp -r {SITE}/apt /run/changed; sed -i 's/^Suite: stable/Suite: Stable/' /run/changed/dists/stable/*ease"
    )
    machine.write("/etc/apt/sources.list", SOURCE.replace(f"file:{SITE}/apt", "file:/run/changed"))
    said = machine.run("apt-get", "update", expect=None)
    assert said.code != 0
    assert re.search("BADSIG|manipulated|invalid", said.out + said.err)


def test_the_index_of_the_yum_repository_and_its_packages_are_signed(repository: Path, key: str) -> None:
    assert key
    index = repository / "yum" / "repodata" / "repomd.xml"
    subprocess.run(["gpg", "--batch", "--verify", f"{index}.asc", index], check=True, capture_output=True)
    database = repository.parent / "rpmdb"
    rpm = ["rpmkeys", f"--define=_dbpath {database}"]
    output(*rpm, "--import", repository / "yum" / "RPM-GPG-KEY-rolekeeper")
    packages = sorted((repository / "yum").glob("*.rpm"))
    assert packages
    for package in packages:
        assert "signatures OK" in output(*rpm, "--checksig", package)


def test_without_a_key_nothing_is_laid_out(tmp_path: Path) -> None:
    command = [ROOT / "packaging" / "repository", "", tmp_path, tmp_path / "site"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (64, "repository: name a key of gpg's: make repository KEY=...\n")
    assert not (tmp_path / "site").exists()
