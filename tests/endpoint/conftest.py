"""An endpoint as it is in use: published documents, a listening socket that outlives its servers, and real servers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import COMMAND, LONGEST

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.outputs.endpoint import EndpointDocuments
from rolekeeper.model import Lifetime, RoleToken
from rolekeeper.settings import Endpoint

HOUR = timedelta(hours=1)
# As systemd starts a unit with a socket: the socket is descriptor 3, and the variables name this very process.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d+) [A-Za-z ]+\r\n")


def token(number: int, life: timedelta = HOUR) -> RoleToken:
    return RoleToken(f"ASIA{number:016}", f"secret/{number}", f"session=={number}", datetime.now(UTC) + life)


@dataclass
class Service:
    """The endpoint `rack` and others, all below `directory`, and the socket that they are asked through."""

    directory: Path
    port: int
    listener: socket.socket | None = None
    servers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def sink(self) -> EndpointDocuments:
        return EndpointDocuments(str(self.directory))

    def publish(self, name: str, number: int, *, life: timedelta = HOUR, age: timedelta = timedelta()) -> RoleToken:
        """The n-th token, issued `age` ago and good for `life` from then, as the attempt publishes it."""
        clock = SystemClock()
        now = clock.now()
        new = token(number, life - age)
        times = Lifetime(new.expires_at - life, new.expires_at, now.boot - age)
        self.sink.publish(Endpoint(name), new, times, clock.boot_id(), role_arn="arn:aws:iam::123456789012:role/Rack")
        return new

    def authorization(self, name: str = "rack") -> str:
        return (self.directory / "token" / name).read_text()

    def start(self, *wrapper: str) -> "subprocess.Popen[bytes]":
        """A server on the socket; like a unit, it sees the documents of this moment, under the names of credentials."""
        credentials = self.directory / f"credentials-{len(self.servers)}"
        credentials.mkdir()
        for document in (self.directory / "endpoint").iterdir():
            (credentials / f"endpoint_{document.name}").write_bytes(document.read_bytes())
        assert self.listener is not None
        command = [*wrapper, sys.executable, "-c", ACTIVATE, str(self.listener.fileno()), COMMAND, "endpoint"]
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(credentials)}
        self.servers.append(subprocess.Popen(command, pass_fds=[self.listener.fileno()], env=environment))
        return self.servers[-1]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), LONGEST)

    def ask(self, request: bytes) -> bytes:
        """All of the answer to `request`; empty when the connection ended without one."""
        with self.connect() as client:
            try:
                client.sendall(request)
            except ConnectionError:
                return b""
            return everything(client)

    def get(self, name: str = "rack") -> tuple[int, Any]:
        """Status and body of an honest request."""
        return parsed(self.ask(request(name, self.authorization(name))))

    def end(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()


def request(name: str, authorization: str = "", *headers: str, method: str = "GET", host: str = "127.0.0.1") -> bytes:
    lines = [f"{method} /{name} HTTP/1.1", f"Host: {host}", *headers]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join((*lines, "", "")).encode()


def everything(client: socket.socket) -> bytes:
    """What comes until the connection ends."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def parsed(answer: bytes) -> tuple[int, Any]:
    """Status and body, which must be as long as the head says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line = STATUS_LINE.match(answer)
    assert line is not None, answer
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    return int(line[1]), json.loads(body)


def until(what: str, seen: Callable[[], Any]) -> Any:
    latest = time.monotonic() + LONGEST
    while not (found := seen()):
        assert time.monotonic() < latest, f"it never came about that {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def new_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Service]]:
    with ExitStack() as ends:

        def build() -> Service:
            listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
            service = Service(tmp_path_factory.mktemp("run"), listener.getsockname()[1], listener)
            ends.callback(service.end)
            return service

        yield build


@pytest.fixture
def service(new_service: Callable[[], Service]) -> Service:
    """An endpoint of which nothing is published, and that no server serves yet."""
    return new_service()


@pytest.fixture(scope="module")
def foreground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`rack` and `web` are published, `idle` has no credentials yet; `rolekeeper endpoint --address` serves them."""
    directory = tmp_path_factory.mktemp("foreground")
    config = directory / "config.toml"
    config.write_text(f'[daemon]\nruntime_directory = "{directory}"\n')
    command = [COMMAND, "--config", str(config), "endpoint", "--address", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    url = server.stdout.readline().decode()
    service = Service(directory, int(url.rpartition(":")[2].strip("/\n")))
    service.publish("rack", 1)
    service.publish("web", 2)
    service.sink.prepare(Endpoint("idle"))
    yield service
    server.send_signal(signal.SIGTERM)
    server.wait(LONGEST)
    server.stdout.close()
