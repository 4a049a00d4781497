"""Talking to the service manager, over real datagram sockets."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from rolekeeper.adapters.supervision.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A listening service manager and its NOTIFY_SOCKET."""
    if request.param == "path":
        notify_socket = bound = str(tmp_path / "notify")
    else:
        notify_socket = f"@rolekeeper-test-{os.getpid()}"
        bound = "\0" + notify_socket[1:]
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(bound)
        listener.settimeout(5)
        yield notify_socket, listener


def test_assignments_arrive_in_one_message(manager: tuple[str, socket.socket]) -> None:
    notify_socket, listener = manager
    Systemd(notify_socket).notify("READY=1", "STATUS=Waiting")
    assert listener.recv(4096) == b"READY=1\nSTATUS=Waiting"


def test_a_status_arrives_in_utf_8(manager: tuple[str, socket.socket]) -> None:
    notify_socket, listener = manager
    Systemd(notify_socket).notify("STATUS=läuft · 東京 \ud800")
    assert listener.recv(4096).decode() == "STATUS=läuft · 東京 \\ud800"


def test_a_line_break_in_a_status_begins_no_assignment(manager: tuple[str, socket.socket]) -> None:
    notify_socket, listener = manager
    Systemd(notify_socket).notify("STATUS=answer:\nSTOPPING=1\r\nMAINPID=1")
    assert listener.recv(4096) == b"STATUS=answer: STOPPING=1 MAINPID=1"


def test_every_message_comes_from_this_process(manager: tuple[str, socket.socket]) -> None:
    notify_socket, listener = manager
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    Systemd(notify_socket).notify("WATCHDOG=1")
    _, ancillary, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(12))
    (credentials,) = [data for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS]
    assert int.from_bytes(credentials[:4], "little") == os.getpid()


def test_a_manager_that_does_not_read_delays_nothing(manager: tuple[str, socket.socket]) -> None:
    notify_socket, listener = manager
    told = Systemd(notify_socket)
    for _ in range(2000):
        told.notify("WATCHDOG=1")
    listener.settimeout(0)
    with suppress(BlockingIOError):
        while listener.recv(4096):
            continue
    told.notify("STOPPING=1")
    assert listener.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize(
    "notify_socket", [None, "", "@", "relative", "vsock:2:1234", "/nowhere/notify", "/" + "x" * 200]
)
def test_without_a_manager_that_listens_nothing_happens(notify_socket: str | None) -> None:
    Systemd(notify_socket).notify("READY=1")


def test_the_environment_of_this_process_plays_no_part(
    manager: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    notify_socket, listener = manager
    monkeypatch.setenv("NOTIFY_SOCKET", notify_socket)
    Systemd(None).notify("READY=1")
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.recv(4096)


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("30000000", "ours", timedelta(seconds=30)),
        ("30000000", None, timedelta(seconds=30)),
        ("30000000", "", timedelta(seconds=30)),
        ("30000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("-1", None, None),
        ("soon", None, None),
        ("²", None, None),
        ("18446744073709551615", None, None),
        ("9" * 40, None, None),
        ("9" * 9000, None, None),
    ],
)
def test_the_watchdog_interval_is_the_one_that_was_meant_for_this_process(
    usec: str | None, pid: str | None, interval: timedelta | None
) -> None:
    asked = str(os.getpid()) if pid == "ours" else pid
    assert Systemd(None, usec, asked).watchdog_interval() == interval
