"""The endpoint's figures: `python -m tests.benchmarks.endpoint`; as root, with a package in dist/, in a box as well.

Start and memory stand beside those of a bare interpreter. The box measures what a program waits for when the service
sleeps: connect, the whole start by systemd, answer.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles

from tests.benchmarks.rig import cpu_of, own_memory
from tests.systemd.box import Box, forget_boxes, why_not
from tests.systemd.conftest import PUBLISH, PYTHON

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.outputs.endpoint import EndpointDocuments
from rolekeeper.model import Lifetime, RoleToken
from rolekeeper.settings import Endpoint

ROOT = Path(__file__).parents[2]
ROUNDS, REQUESTS, WAKES = 25, 5000, 100
LEAST_A_SECOND, SLOWEST_WAKE = 500, 0.5  # the goals
BARE = (sys.executable, "-I", "-c", "pass")
# The start alone: everything is loaded, the sockets are taken over, and nothing is served.
START = """
import os, sys
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
sys.argv = ["rolekeeper", "endpoint"]
from rolekeeper import cli
from rolekeeper.endpoint import server
if len(sys.argv) == 2 and os.environ.get("ONLY_START"):
    server.Server.run = lambda self, **_: None
sys.exit(cli.main())
"""
# In the box: how long the first answer takes when the service has ended, again and again.
WAKE = """
import json, socket, subprocess, sys, time
request = f"GET /rack HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: {sys.argv[1]}\\r\\n\\r\\n".encode()
took = []
for _ in range(int(sys.argv[2])):
    subprocess.run(["systemctl", "stop", "rolekeeper-endpoint.service"], check=True)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", 4580)) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    took.append(time.perf_counter() - began)
    assert answer.startswith(b"HTTP/1.1 200"), answer
print(json.dumps(took))
"""


def main() -> None:
    """Measure all of it and print a table."""
    print(f"load {os.getloadavg()[0]:.1f} at the beginning\n\n| figure | measured | beside |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        os.dup2(listener.fileno(), 3, inheritable=True)
        request = publish(Path(directory))
        _start()
        with _server(Path(directory)) as pid:
            _awake(listener.getsockname()[1], request, pid)
    packages = sorted((ROOT / "dist").glob("rolekeeper_*.deb"))
    if reason := why_not() or ("" if packages else "there is no package in dist/; `make packages` builds it"):
        print(f"\nnothing was measured in a box: {reason}")
    else:
        _asleep(packages[-1])
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def publish(directory: Path) -> bytes:
    """Credentials as large as they come, for an hour; returns a request for them."""
    clock, sink, output = SystemClock(), EndpointDocuments(str(directory)), Endpoint("rack")
    now = clock.now()
    token = RoleToken("ASIA" + "0" * 16, "s" * 40, "t" * 2048, now.wall + timedelta(hours=1))
    sink.publish(output, token, Lifetime(now.wall, token.expires_at, now.boot), clock.boot_id())
    authorization = (directory / "token" / "rack").read_text()
    return f"GET /rack HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\r\n".encode()


def _start() -> None:
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(cpu_of(BARE, dict(os.environ)))
        ours.append(cpu_of((sys.executable, "-I", "-c", START), {**os.environ, "ONLY_START": "1"}, pass_fds=[3]))
    ratio = median(one / other for one, other in zip(ours, bare, strict=True))
    print(f"| CPU of a start | {ratio:.2f} x | bare interpreter {median(bare) * 1000:.0f} ms |")


@contextmanager
def _server(directory: Path) -> Iterator[int]:
    credentials = directory / "credentials"
    credentials.mkdir()
    (credentials / "endpoint_rack").write_bytes((directory / "endpoint" / "rack").read_bytes())
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}
    server = subprocess.Popen((sys.executable, "-I", "-c", START), pass_fds=[3], env=environment)
    yield server.pid
    server.kill()
    server.wait()


def _awake(port: int, request: bytes, pid: int) -> None:
    _ask(port, request)
    took = [_ask(port, request) for _ in range(REQUESTS)]
    print(f"| answers a second, one client | {REQUESTS / sum(took):.0f} | at least {LEAST_A_SECOND} |")
    print(f"| an answer, awake | p50 {median(took) * 1e3:.2f} ms, p99 {_p99(took) * 1e3:.2f} ms | |")
    bare = subprocess.Popen((sys.executable, "-I", "-c", "import time; time.sleep(60)"))
    time.sleep(1)
    print(f"| memory, awake | {own_memory(pid).pss:.1f} MB PSS | bare interpreter {own_memory(bare.pid).pss:.1f} MB |")
    bare.kill()
    bare.wait()


def _ask(port: int, request: bytes) -> float:
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    return time.perf_counter() - began


def _p99(took: list[float]) -> float:
    return quantiles(took, n=100)[-1]


def _asleep(package: Path) -> None:
    """As installed, under a real systemd."""
    box = Box(f"endpoint-{os.getpid()}", (f"{ROOT / 'dist'}:/opt/packages",), private_network=True)
    box.start()
    try:
        box.shell(f"ip link set lo up; dpkg --install /opt/packages/{package.name} >/dev/null")
        box.systemctl("stop", "rolekeeper.service")
        box.run(PYTHON, "-I", "-c", PUBLISH, "rack", "0", "1")
        authorization = box.read("/run/rolekeeper/token/rack")
        box.systemctl("start", "rolekeeper-endpoint.socket")
        took = json.loads(box.run("/usr/bin/python3", "-I", "-c", WAKE, authorization, str(WAKES)).out)
        print(
            f"| first answer after sleep | p50 {median(took) * 1e3:.0f} ms, p99 {_p99(took) * 1e3:.0f} ms "
            f"| at most {SLOWEST_WAKE * 1e3:.0f} ms |"
        )
        box.systemctl("stop", "rolekeeper-endpoint.service")
        tasks = box.property("rolekeeper-endpoint.service", "MainPID")
        print(f"| memory, asleep | {'0 MB: there is no process' if tasks == '0' else 'a process is left'} | |")
    finally:
        box.crash()
        forget_boxes()


if __name__ == "__main__":
    main()
