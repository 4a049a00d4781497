"""What the figures are measured on: a registered node, the emulator, and real daemons in processes of their own.

Only counters of the kernel are read: PSS and RSS from /proc/PID/smaps_rollup, CPU from /proc/PID/schedstat (a process,
in nanoseconds) and /proc/PID/stat (its ended children, in clock ticks).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rolekeeper.emulator import Emulator

PROGRAMS = Path(sys.executable).parent
ROLEKEEPER, PYTHON = str(PROGRAMS / "rolekeeper"), sys.executable
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.0005
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CONFIGURATION = """\
[service]
endpoint_url = "{url}"
[vault]
directory = "{directory}/vault"
[daemon]
runtime_directory = "{directory}/run"
[[credentials_file]]
path = "{directory}/published/credentials"
"""


@dataclass(frozen=True)
class Memory:
    """Megabytes (of a million bytes) of some processes together."""

    pss: float
    rss: float


class Rig:
    """One node, registered with an emulator that runs in this process; `environment` holds nothing of the caller's."""

    def __init__(self, directory: Path, emulator: Emulator) -> None:
        self.emulator = emulator
        self.published = directory / "published" / "credentials"
        self.environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "LANG": "C.UTF-8"}
        self._status = directory / "run" / "status.json"
        self._log = directory / "log"
        configuration = directory / "config.toml"
        configuration.write_text(CONFIGURATION.format(url=emulator.url, directory=directory), encoding="utf-8")
        self.rolekeeper = (ROLEKEEPER, "--config", str(configuration))
        activation = emulator.create_activation()
        subprocess.run(
            [*self.rolekeeper, "register", "--activation-id", activation.activation_id, "--region", emulator.region],
            env=self.environment,
            input=activation.code,
            text=True,
            check=True,
            capture_output=True,
        )

    @contextmanager
    def daemon(self) -> Iterator[int]:
        """A running daemon; its pid. Unless it was ended meanwhile, it is now."""
        with self._log.open("ab") as log:
            process = subprocess.Popen([*self.rolekeeper, "run"], env=self.environment, stderr=log)
        try:
            yield process.pid
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def state(self) -> str:
        """The daemon's state as status.json tells it."""
        return str(json.loads(self._status.read_text(encoding="utf-8"))["state"]) if self._status.exists() else ""

    def wait_until_asleep(self, pid: int) -> None:
        """Wait until credentials are published and the attempt has gone."""
        until(lambda: self.published.exists() and self.state() == "waiting" and not descendants(pid))

    def forget(self) -> None:
        """Remove what was published, so that the next daemon needs a new token, and what the last one said."""
        self.published.unlink(missing_ok=True)
        self._status.unlink(missing_ok=True)


def until(seen: Callable[[], bool]) -> None:
    """Look every half millisecond."""
    latest = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        if time.monotonic() > latest:
            raise TimeoutError("what is measured does not happen")
        time.sleep(POLL_SECONDS)


def seconds_of(command: Sequence[str], environment: dict[str, str]) -> float:
    """How long a command takes, from exec to its end."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text(encoding="ascii").rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return found


def memory(pid: int) -> Memory:
    """What a process and its descendants occupy."""
    each = [own_memory(one) for one in {pid, *descendants(pid)}]
    return Memory(sum(one.pss for one in each), sum(one.rss for one in each))


def own_memory(pid: int) -> Memory:
    """What a process occupies itself."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Memory(kilobytes["Pss"] * 1024 / 1e6, kilobytes["Rss"] * 1024 / 1e6)


def own_cpu_seconds(pid: int) -> float:
    """What a process itself has spent."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def children_cpu_seconds(pid: int) -> float:
    """What the ended children of a process have spent, with theirs."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_SECOND


def seconds_to_go(pid: int) -> float:
    """How long from SIGTERM until the daemon has ended and nothing that it started is left."""
    started = descendants(pid)
    began = time.perf_counter()
    os.kill(pid, signal.SIGTERM)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    until(lambda: not any(_lives(one) for one in started))
    return time.perf_counter() - began


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
