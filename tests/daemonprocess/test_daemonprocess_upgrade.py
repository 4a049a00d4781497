"""Rolekeeper's files are replaced by another version's under a running daemon, as a package upgrade does it."""

import shutil
import signal
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import Start, published, until

import rolekeeper
from rolekeeper.adapters.supervision import runtime

NEWER = "99.0.0"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH with a copy of the package."""
    package = Path(rolekeeper.__file__).parent
    shutil.copytree(package, tmp_path / "site" / "rolekeeper", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "site"


def test_after_an_upgrade_the_daemon_goes_on_as_the_new_version_in_the_same_process(
    node: Server, start: Start, installed: Path
) -> None:
    daemon = start(node, PYTHONPATH=str(installed))
    daemon.until_state("waiting")
    directory, first = str(node.runtime), published(node)
    shown = [(node.runtime / name).stat() for name in ("lock", "alive")]
    upgrade(installed)
    daemon.send(signal.SIGUSR1)
    until(lambda: daemon.status()["version"] == NEWER, "the new version")
    daemon.until_state("waiting")
    assert daemon.status()["pid"] == runtime.living(directory) == runtime.holder(directory) == daemon.pid
    assert [(node.runtime / name).stat().st_ino for name in ("lock", "alive")] == [one.st_ino for one in shown]
    assert daemon.records("upgraded")[0]["message"].startswith(f"Rolekeeper {NEWER} is installed now")
    assert start(node).wait() == 69  # at no moment was the lock free
    assert published(node) == first
    assert node.tokens()[-1].access_key_id == first
    daemon.send(signal.SIGUSR1)
    until(lambda: published(node) not in ("", first), "another token")
    assert daemon.stop() == 0
    daemon.until_nothing_is_left()


def upgrade(installed: Path) -> None:
    module = installed / "rolekeeper" / "__init__.py"
    text = module.read_text()
    assert text.count(rolekeeper.__version__) == 1
    module.write_text(text.replace(rolekeeper.__version__, NEWER))
