"""What systemd is told, on a real socket."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.conftest import LONGEST, Server
from tests.daemonprocess.conftest import TOKEN, Start, until


class Manager:
    """The receiving end of sd_notify; `told` holds every message so far."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(LONGEST)
        self.socket.bind(self.address)
        self.told: list[str] = []

    def read_until(self, start: str) -> str:
        """The next message that begins so."""

        def next_one() -> bool:
            self.told.append(self.socket.recv(65536).decode())
            return self.told[-1].startswith(start)

        until(next_one, start)
        return self.told[-1]


@pytest.fixture
def manager() -> Iterator[Manager]:
    with TemporaryDirectory() as short:  # a socket's path has 107 characters at most
        made = Manager(Path(short) / "notify")
        with made.socket:
            yield made


def test_systemd_is_told_of_every_step(node: Server, start: Start, manager: Manager) -> None:
    daemon = start(node, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
    manager.read_until("READY=1")
    assert not [message for message in manager.told[:-1] if message.startswith("READY=1")]
    status = manager.read_until("STATUS=Waiting")
    assert node.node_id in status
    assert "credentials fresh until " in status
    assert "next attempt at " in status
    manager.read_until("WATCHDOG=1")
    manager.read_until("WATCHDOG=1")
    daemon.send(signal.SIGHUP)
    manager.read_until("RELOADING=1")
    manager.read_until("READY=1")
    manager.read_until("STATUS=Waiting")
    node.emulator.change_fingerprint(node.node_id)
    daemon.send(signal.SIGUSR1)
    manager.read_until(
        "STATUS=Hibernating: error occurred in RequestManagedInstanceRoleToken: MachineFingerprintDoesNotMatch"
    )
    daemon.send(signal.SIGTERM)
    manager.read_until("STOPPING=1")
    assert daemon.wait() == 0


def test_a_rejected_configuration_ends_the_reload_too(node: Server, start: Start, manager: Manager) -> None:
    daemon = start(node, NOTIFY_SOCKET=manager.address)
    manager.read_until("STATUS=Waiting")
    node.config.write_text("[nonsense]")
    daemon.send(signal.SIGHUP)
    manager.read_until("RELOADING=1")
    manager.read_until("READY=1")
    daemon.until_logged("configuration_rejected")


def test_a_wrong_configuration_at_the_start_leaves_its_reason_in_the_status_line(
    server: Server, start: Start, manager: Manager
) -> None:
    """systemd shows the last line for as long as the unit is failed."""
    server.configure("[refresh]\nat = 7", daemon="attempt_timeout = 5")
    assert start(server, NOTIFY_SOCKET=manager.address).wait() == 78
    line = manager.read_until("STATUS=Stopped: the configuration is wrong: ")
    assert f"{server.config}: daemon.attempt_timeout: " in line
    assert line.endswith("(and 1 more); `rolekeeper check` shows everything that is wrong")
    manager.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.read_until("STATUS=")


def test_readiness_waits_for_the_first_outcome_and_not_for_a_good_one(
    node: Server, start: Start, manager: Manager
) -> None:
    node.emulator.fail(TOKEN, error="InternalServerError")
    start(node, NOTIFY_SOCKET=manager.address)
    manager.read_until("READY=1")
    assert manager.read_until("STATUS=").startswith("STATUS=Backing off")
