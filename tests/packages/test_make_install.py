"""`make install` with DESTDIR, as builders of images and of distributions run it, and `make uninstall`."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.packages.conftest import ROOT
from tests.packages.test_launcher import HOSTILE
from tests.packages.test_package_files import COMPRESSED, EVERYWHERE

LONGEST = 600  # seconds; the first installation fetches the libraries


def make(*arguments: str, expect: int = 0) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    command = ["make", "--silent", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST
    )
    assert (done.returncode != 0) == (expect != 0), done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root directory of a whole installation."""
    root = tmp_path_factory.mktemp("installed")
    make("install", f"DESTDIR={root}")
    return root


def test_everything_lies_where_a_package_puts_it_but_below_usr_local(installed: Path) -> None:
    expected = {*EVERYWHERE, *(path.removesuffix(".gz") for path in COMPRESSED)}
    expected.add("/usr/lib/systemd/system-preset/80-rolekeeper.preset")
    below = {path.replace("/usr/", "/usr/local/") for path in expected}
    everything = {f"/{path.relative_to(installed)}" for path in installed.rglob("*") if not path.is_dir()}
    assert {path for path in everything if not path.startswith("/usr/local/lib/rolekeeper/")} >= below
    assert (installed / "etc/rolekeeper/conf.d").is_dir()


def test_the_units_start_the_command_that_was_installed(installed: Path) -> None:
    units = list((installed / "usr/local/lib/systemd/system").glob("*.service"))
    assert units
    for unit in units:
        assert "/usr/bin/rolekeeper" not in unit.read_text()


def test_all_is_readable_for_everyone_and_writable_for_the_owner_alone(installed: Path) -> None:
    for path in (installed / "usr").rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISLNK(mode) or mode & 0o777 in (0o644, 0o755), path


def test_it_gets_credentials_whatever_the_callers_environment_is(
    installed: Path, server: Server, tmp_path: Path
) -> None:
    command = [installed / "usr/local/bin/rolekeeper", "--config", server.config]
    environment = server.environment(**{name: value.replace("DIR", str(tmp_path)) for name, value in HOSTILE.items()})
    activation = server.emulator.create_activation()
    register = ["register", "--activation-id", activation.activation_id, "--region", server.emulator.region]
    done = subprocess.run(
        [*command, *register], input=activation.code, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "attempt"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcome"] == "issued"


def test_running_it_writes_nothing_into_the_installation(installed: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in installed.rglob("*")}
    subprocess.run([installed / "usr/local/bin/rolekeeper", "check"], check=False, capture_output=True)
    assert {path: path.lstat().st_mtime_ns for path in installed.rglob("*")} == before
    compiled = list((installed / "usr/local/lib/rolekeeper/lib/python3/site-packages/rolekeeper").rglob("*.pyc"))
    assert len(compiled) > 50


def test_uninstalled_nothing_is_left(installed: Path) -> None:
    """The last test of this module that needs the installation."""
    make("uninstall", f"DESTDIR={installed}")
    assert [path for path in installed.rglob("*") if not path.is_dir()] == []
    assert not (installed / "etc/rolekeeper").exists()
    assert not (installed / "usr/local/lib/rolekeeper").exists()


@pytest.mark.parametrize("prefix", ["/opt/rolekeeper", "relative", "/usr"])
def test_a_prefix_below_which_systemd_finds_no_unit_is_refused(prefix: str) -> None:
    done = make("install", f"PREFIX={prefix}", expect=1)
    assert f"Cannot install below {prefix}: PREFIX is /usr/local" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_in_a_home_is_refused_because_the_service_does_not_see_it(tmp_path: Path) -> None:
    if not os.access("/root", os.X_OK):
        pytest.skip("only root can have a Python there")
    python = Path("/root") / f".rolekeeper-test-{os.getpid()}"
    python.write_text('#!/bin/sh\nexec /usr/bin/python3 "$@"\n')
    python.chmod(0o755)
    try:
        done = make("install", f"DESTDIR={tmp_path}", f"PYTHON={python}", expect=1)
    finally:
        python.unlink()
    assert f"Cannot install for {python}: the service does not see homes" in done.stderr


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = make("install", f"DESTDIR={tmp_path}", f"PYTHON={tmp_path}/python3", expect=1)
    assert done.stderr.startswith(f"make-venv: there is no program {tmp_path}/python3; name another")


def test_a_python_that_is_too_old_is_named_with_the_remedy(tmp_path: Path) -> None:
    python = tmp_path / "python3.9"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make("install", f"DESTDIR={tmp_path}", f"PYTHON={python}", expect=1)
    assert f"{python} is older than Python 3.11; name a newer one" in done.stderr
