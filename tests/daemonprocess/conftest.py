"""The daemon as systemd starts it: a process of its own, whose log is read from a file."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.configloader import raw_config_parse
from tests.conftest import LONGEST, Server

from rolekeeper.emulator import Emulator

POLL = 0.02  # seconds
PATIENCE = 25  # seconds; less than an attempt takes that nobody ends, or that hangs until its read_timeout
HOUR = timedelta(hours=1)
TOKEN = "RequestManagedInstanceRoleToken"
UPDATE_KEY = "UpdateManagedInstancePublicKey"


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """What `condition` says as soon as that is true; fails when it never is."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(POLL)
    pytest.fail(f"it never came: {what or condition}")


def processes(server: Server) -> dict[int, list[str]]:
    """The command lines of all processes that this server's configuration was given to, by pid."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(server.config) in words:
            found[int(entry.parent.name)] = words
    return found


def published(server: Server) -> str:
    """The access key id in the output; empty while there is none."""
    if not server.output.exists():
        return ""
    return str(raw_config_parse(str(server.output))["default"]["aws_access_key_id"])


@dataclass
class Daemon:
    """A running daemon."""

    server: Server
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def records(self, event: str = "") -> list[dict[str, Any]]:
        """The log, or the records of one event."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in ("", line["event"])]

    def status(self) -> dict[str, Any]:
        return self.server.status_file()

    def until_state(self, state: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            status = self.status()
            return status if status.get("state") == state else None

        found: dict[str, Any] = until(reached, state)
        return found

    def until_logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        def logged() -> list[dict[str, Any]]:
            records = self.records(event)
            return records if len(records) >= count else []

        found: list[dict[str, Any]] = until(logged, f"{event} in {self.log_file.read_text()}")
        return found

    def attempt(self) -> int:
        """The pid of the attempt that runs."""

        def running() -> int:
            return next((pid for pid, words in processes(self.server).items() if "--supervised" in words), 0)

        found: int = until(running, "an attempt")
        return found

    def until_nothing_is_left(self) -> None:
        """Of the daemon and of everything that it started."""
        until(lambda: not processes(self.server), f"the end of {processes(self.server)}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def refresh_until_asked(self) -> None:
        """Ask for a refresh, and wait until the request has reached the service."""
        before = len(self.requests())
        self.send(signal.SIGUSR1)
        until(lambda: len(self.requests()) > before, "a request")

    def requests(self) -> list[Any]:
        node_id = self.server.node_id
        return [one for one in self.server.emulator.requests if (one.operation, one.node_id) == (TOKEN, node_id)]

    def wait(self) -> int:
        return self.process.wait(LONGEST)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()


Start = Callable[..., Daemon]


@contextmanager
def daemons() -> Iterator[Start]:
    """Starts daemons; none of them, and nothing that they started, is there any more at the end."""
    started: list[Daemon] = []

    def begin(server: Server, *under: str, **environment: str) -> Daemon:
        log_file = server.directory / f"log-{len(started)}"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*under, *(server.module("run") if "PYTHONPATH" in environment else server.command("run"))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=server.environment(**environment),
            )
        started.append(Daemon(server, process, log_file))
        return started[-1]

    try:
        yield begin
    finally:
        for daemon in started:
            daemon.process.kill()
            daemon.wait()
            for pid in processes(daemon.server):
                os.kill(pid, signal.SIGKILL)
    for daemon in started:
        log = daemon.log_file.read_text()
        assert "Traceback" not in log, log


@pytest.fixture
def start() -> Iterator[Start]:
    with daemons() as begin:
        yield begin


@pytest.fixture
def daemon(node: Server, start: Start) -> Daemon:
    """The daemon of a registered server, which has published credentials for an hour."""
    running = start(node)
    running.until_state("waiting")
    return running


@pytest.fixture(autouse=True)
def ordinary_service(emulator: Emulator) -> Iterator[None]:
    """Tokens live an hour again after each test."""
    yield
    emulator.clear_faults()
    emulator.token_lifetime = HOUR
    emulator.forget_requests()
