"""The accepted settings that a daemon keeps in its state directory: for its next start, and for commands."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Said, Server
from tests.daemonprocess.conftest import Start, until

PYDANTIC = "pydantic_core"


@pytest.fixture
def state(node: Server) -> Path:
    """The state directory, with the settings of a daemon that has run."""
    directory = node.directory / "state"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def kept(node: Server, start: Start, state: Path) -> Path:
    """The file that a daemon has left behind."""
    daemon = start(node, STATE_DIRECTORY=str(state))
    daemon.until_state("waiting")
    assert daemon.stop() == 0
    return state / "settings.json"


def status(node: Server, state: Path) -> tuple[Said, bool]:
    """What `status` says, and whether it has read the configuration as TOML."""
    said = node.process("status", env={"STATE_DIRECTORY": str(state)}, options=("-X", "importtime"))
    return said, PYDANTIC in said.err


def test_a_command_takes_the_settings_of_the_daemon_while_the_files_are_the_same(node: Server, kept: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["settings"]["vault_directory"] == f"{node.directory}/vault"
    quick, read = status(node, kept.parent)
    assert not read
    node.config.write_text(node.config.read_text() + "# the same, in other bytes\n")
    slow, read_anew = status(node, kept.parent)
    assert read_anew
    assert quick.code == slow.code
    assert quick.out.splitlines()[:2] == slow.out.splitlines()[:2]  # the rest has times, and the change of the file


def damaged(document: dict[str, Any]) -> str:
    return json.dumps(document)[:-9]


def of_another_version(document: dict[str, Any]) -> str:
    return json.dumps({**document, "version": "0.0.1"})


def without_a_field(document: dict[str, Any]) -> str:
    del document["settings"]["credentials_files"]
    return json.dumps(document)


@pytest.mark.parametrize("change", [damaged, of_another_version, without_a_field])
def test_a_file_that_does_not_fit_counts_as_none(node: Server, kept: Path, change: Any) -> None:
    kept.write_text(change(json.loads(kept.read_text())))
    said, read = status(node, kept.parent)
    assert read
    assert "Traceback" not in said.err


def test_a_file_that_others_may_write_counts_as_none(node: Server, kept: Path) -> None:
    """It says another runtime directory, where no daemon is."""
    document = json.loads(kept.read_text())
    document["settings"]["daemon"]["runtime_directory"] = "/nowhere"
    kept.write_text(json.dumps(document))
    for directory, file in ((0o777, 0o600), (0o700, 0o666)):
        kept.parent.chmod(directory)
        kept.chmod(file)
        assert status(node, kept.parent)[1]


def test_a_missing_configuration_file_is_an_error_whatever_was_kept(node: Server, kept: Path) -> None:
    node.config.unlink()
    assert node.process("status", env={"STATE_DIRECTORY": str(kept.parent)}).code == 78


def test_a_daemon_starts_with_what_was_kept_and_reads_anew_on_reload(node: Server, kept: Path, start: Start) -> None:
    written = kept.stat().st_mtime_ns
    daemon = start(node, STATE_DIRECTORY=str(kept.parent))
    daemon.until_state("waiting")
    assert kept.stat().st_mtime_ns == written
    daemon.send(signal.SIGHUP)
    daemon.until_logged("reloaded")
    until(lambda: kept.stat().st_mtime_ns != written, "the settings that were read on reload")


def test_a_full_or_missing_state_directory_stops_nothing(node: Server, start: Start) -> None:
    daemon = start(node, STATE_DIRECTORY="/proc/self")
    daemon.until_state("waiting")
    assert daemon.stop() == 0
