"""What the figures are measured on: a registered node, the emulator, and real daemons in processes of their own.

`installed` lays out the package of this machine, with its bytecode, in a directory: figures are those of what a user
installs. `trusted` makes the emulator's certificate one of a CA in the system's trust store, as those of AWS are.

Only counters of the kernel are read: PSS and RSS from /proc/PID/smaps_rollup, CPU from /proc/PID/schedstat (a process,
in nanoseconds) and /proc/PID/stat (its ended children, in clock ticks).
"""

import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ssm.certificates import Authority

from rolekeeper.emulator import Emulator, Tls

PROGRAMS = Path(sys.executable).parent
ROLEKEEPER, PYTHON = str(PROGRAMS / "rolekeeper"), sys.executable
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.0005
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CONFIGURATION = """\
[service]
endpoint_url = "{url}"
sts_endpoint_url = "{url}"
{trust}
[vault]
directory = "{directory}/vault"
[daemon]
runtime_directory = "{directory}/run"
[[credentials_file]]
path = "{directory}/published/credentials"
"""
CERTIFICATES = "/etc/ssl/certs"


@dataclass(frozen=True)
class Memory:
    """Megabytes (of a million bytes) of some processes together."""

    pss: float
    rss: float


class Rig:
    """One node, registered with an emulator that runs in this process; `environment` holds nothing of the caller's."""

    def __init__(self, directory: Path, emulator: Emulator, command: str = ROLEKEEPER, trust: str = "") -> None:
        self.emulator = emulator
        self.published = directory / "published" / "credentials"
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "STATE_DIRECTORY": str(directory / "state"),  # as systemd says it to the unit
        }
        (directory / "state").mkdir(mode=0o700)
        self._status = directory / "run" / "status.json"
        self._log = directory / "log"
        self.configuration = directory / "config.toml"
        self.configuration.write_text(
            CONFIGURATION.format(url=emulator.url, directory=directory, trust=trust), encoding="utf-8"
        )
        self.rolekeeper = (command, "--config", str(self.configuration))
        self.register()

    def register(self) -> float:
        """Register with a new activation; returns the CPU time in seconds."""
        activation = self.emulator.create_activation()
        words = ("register", "--force", "--activation-id", activation.activation_id, "--region", self.emulator.region)
        return cpu_of((*self.rolekeeper, *words), self.environment, activation.code)

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


def installed(directory: Path) -> tuple[str, str]:
    """The command and the interpreter of the newest package in dist/, laid out below `directory`."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    packages = sorted((Path(__file__).parents[2] / "dist").glob(f"rolekeeper_*_{architecture}.deb"))
    if not packages:
        sys.exit("there is no package in dist/: `make packages` builds it")
    subprocess.run(["dpkg-deb", "--extract", packages[-1], directory], check=True)
    subprocess.run([directory / "usr/lib/rolekeeper/bin/compile"], check=True)
    return str(directory / "usr/bin/rolekeeper"), str(directory / "usr/lib/rolekeeper/bin/python3")


def trusted(directory: Path) -> tuple[Tls, str]:
    """A certificate for 127.0.0.1, and the line of [service] that trusts it, if one is needed.

    As root, in a mount namespace of this process, the system trusts it; the other CAs of the system stay.
    """
    authority = Authority(directory / "ca")
    chain = authority.chain()
    if os.geteuid() != 0:
        return Tls(chain, chain), f'ca_bundle = "{authority.file}"'
    shutil.copytree(CERTIFICATES, directory / "certificates")
    authority.hash_into(directory / "certificates")
    subprocess.run(["mount", "--bind", directory / "certificates", CERTIFICATES], check=True)
    return Tls(chain, chain), ""


def cpu_of(command: Sequence[str], environment: dict[str, str], stdin: str = "", pass_fds: Sequence[int] = ()) -> float:
    """The CPU time of a command and of what it starts, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, input=stdin, text=True, capture_output=True, check=True, pass_fds=pass_fds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
