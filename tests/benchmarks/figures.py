"""The figures that rolekeeper is held to, measured on this machine: `make bench`, or with --full for every second.

Nothing here fails for being slow: a figure stands beside its goal, and a person reads the table. What is measured is
the package, over TLS. A value is a ratio to `python -I -c pass` of the same interpreter, which takes turns with it, so
that a busy machine slows both; it is the median of the rounds.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import rsa
from tests.benchmarks.rig import (
    Memory,
    Rig,
    children_cpu_seconds,
    cpu_of,
    installed,
    memory,
    own_cpu_seconds,
    seconds_of,
    seconds_to_go,
    trusted,
    until,
)

from rolekeeper.emulator import Emulator

BARE = ("-I", "-c", "pass")
BOTO3 = (sys.executable, "-c", "import boto3; boto3.client('ssm', region_name='us-east-1')")
IDLE_BARE = ("-I", "-c", "import time; time.sleep(600)")
TOGETHER = 5  # refreshes a round: the kernel counts the CPU time of ended children in hundredths of a second
OUTPUTS, PROFILES = 100, 1000
FIVE_MINUTES_SECONDS = 300
SETTLED_SECONDS = 1.0
TOKEN_OPERATION = "RequestManagedInstanceRoleToken"
ANOTHER_FILE = '[[credentials_file]]\npath = "{}"\nprofile = "application-{}"\n'
ROLE = '[[role]]\nname = "application"\narn = "{}"\n'
ENDPOINT_WITH_ROLE = '[[endpoint]]\nname = "application"\nrole = "application"\n'


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, beside what, and what it is to be."""

    what: str
    measured: str
    beside: str
    value: float  # in the unit of the goal
    goal: float
    unit: str

    def row(self) -> str:
        verdict = "yes" if self.value <= self.goal else "**no**"
        return (
            f"| {self.what} | {self.measured} | {self.beside} | {self.value:.2f} {self.unit} "
            f"| {self.goal:g} {self.unit} | {verdict} |"
        )


@dataclass(frozen=True)
class Bench:
    """A registered node of the installed package, and the interpreter that runs it."""

    rig: Rig
    python: str
    rounds: int
    idle_seconds: int

    def bare(self) -> float:
        return seconds_of((self.python, *BARE), self.rig.environment)

    def bare_cpu(self) -> float:
        return cpu_of((self.python, *BARE), self.rig.environment)

    def ratio(self, what: str, goal: float, measure: Callable[[], float], bare: Callable[[], float]) -> Figure:
        """`measure` in turns with `bare`, both in seconds."""
        pairs = [(bare(), measure()) for _ in range(self.rounds)]
        value = median(ours / other for other, ours in pairs)
        measured = f"{median(ours for _, ours in pairs) * 1000:.0f} ms"
        return Figure(what, measured, f"{median(other for other, _ in pairs) * 1000:.1f} ms", value, goal, "x")


def main() -> None:
    """Measure all of it and print the table."""
    if os.geteuid() == 0 and "--apart" not in sys.argv:  # in a mount namespace of its own, for `trusted`
        command = ["unshare", "--mount", sys.executable, "-m", "tests.benchmarks.figures", "--apart", *sys.argv[1:]]
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    options = _options()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}; load {os.getloadavg()[0]:.1f} at the beginning", flush=True)
    print("\n| figure | measured | beside | value | goal | kept |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="rolekeeper-figures-") as name:
        directory = Path(name)
        command, python = installed(directory / "package")
        tls, trust = trusted(directory)
        with Emulator(tls=tls) as emulator:
            bench = Bench(Rig(directory, emulator, command, trust), python, options.rounds, options.idle)
            for measure in (_start, _refresh, _register, _memory, _commands, _stop, _idle, _outputs, _profiles, _role):
                for figure in measure(bench):
                    print(figure.row(), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15, help="of each figure, default 15")
    parser.add_argument(
        "--idle", type=int, default=65, help="seconds of real idleness, default 65, scaled to 5 minutes"
    )
    parser.add_argument("--full", action="store_const", const=FIVE_MINUTES_SECONDS, dest="idle", help="all 5 minutes")
    return parser.parse_args()


def _machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def _start(bench: Bench) -> Iterator[Figure]:
    _seconds_to_credentials(bench.rig)  # so that the configuration is one that was accepted before
    yield bench.ratio("exec to credentials on disk", 10, lambda: _seconds_to_credentials(bench.rig), bench.bare)
    yield bench.ratio(
        "the same beside a boto3 client",
        1,
        lambda: _seconds_to_credentials(bench.rig),
        lambda: seconds_of(BOTO3, bench.rig.environment),
    )


def _seconds_to_credentials(rig: Rig) -> float:
    rig.forget()
    began = time.perf_counter()
    with rig.daemon() as pid:
        until(rig.published.exists)
        took = time.perf_counter() - began
        rig.wait_until_asleep(pid)
    return took


def _refresh(bench: Bench) -> Iterator[Figure]:
    with _asleep(bench.rig) as pid:
        yield bench.ratio(
            "CPU of a refresh, supervisor and attempt", 8, lambda: _refresh_cpu(bench.rig, pid), bench.bare_cpu
        )


@contextmanager
def _asleep(rig: Rig) -> Iterator[int]:
    rig.forget()
    with rig.daemon() as pid:
        rig.wait_until_asleep(pid)
        yield pid


def _refresh_cpu(rig: Rig, pid: int) -> float:
    """The CPU time of a refresh, in seconds, as the mean of some."""
    before = own_cpu_seconds(pid) + children_cpu_seconds(pid)
    for _ in range(TOGETHER):
        subprocess.run([*rig.rolekeeper, "refresh"], env=rig.environment, check=True, capture_output=True)
        rig.wait_until_asleep(pid)
    return (own_cpu_seconds(pid) + children_cpu_seconds(pid) - before) / TOGETHER


def _register(bench: Bench) -> Iterator[Figure]:
    """Without the making of the key, which takes by chance 30 to 300 ms."""
    making = median(_key_cpu() for _ in range(50))
    samples = [(bench.bare_cpu(), bench.rig.register()) for _ in range(2 * bench.rounds)]
    bare, ours = median(bare for bare, _ in samples), median(ours for _, ours in samples)
    measured = f"{ours * 1000:.0f} ms, {making * 1000:.0f} ms of them for the key"
    yield Figure("CPU of register", measured, f"{bare * 1000:.1f} ms", (ours - making) / bare, 15, "x")


def _key_cpu() -> float:
    before = time.process_time()
    rsa.generate_private_key(65537, 2048)
    return time.process_time() - before


def _memory(bench: Bench) -> Iterator[Figure]:
    bare = subprocess.Popen((bench.python, *IDLE_BARE), env=bench.rig.environment)
    with _asleep(bench.rig) as pid:
        time.sleep(SETTLED_SECONDS)
        asleep, interpreter = memory(pid), memory(bare.pid)
    bare.kill()
    bare.wait()
    yield Figure("memory asleep", _megabytes(asleep), _megabytes(interpreter), asleep.pss, 12, "MB PSS")


def _megabytes(used: Memory) -> str:
    return f"{used.pss:.1f} MB PSS, {used.rss:.1f} MB RSS"


def _commands(bench: Bench) -> Iterator[Figure]:
    rig = bench.rig
    asking = (rig.rolekeeper[0], "credential-process", "--file", str(rig.published))
    looking = (*rig.rolekeeper, "status")
    with _asleep(rig):
        yield bench.ratio("`credential-process`", 1.5, lambda: seconds_of(asking, rig.environment), bench.bare)
        yield bench.ratio("`status`", 5, lambda: seconds_of(looking, rig.environment), bench.bare)


def _stop(bench: Bench) -> Iterator[Figure]:
    asleep, hung = [], []
    for _ in range(bench.rounds):
        with _asleep(bench.rig) as pid:
            asleep.append(seconds_to_go(pid))
        hung.append(_seconds_to_go_when_hung(bench.rig))
    yield Figure("SIGTERM to gone, asleep", _milliseconds(asleep), "", median(asleep), 0.2, "s")
    yield Figure("SIGTERM to gone, attempt hangs", _milliseconds(hung), "", median(hung), 0.5, "s")


def _milliseconds(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"


def _seconds_to_go_when_hung(rig: Rig) -> float:
    rig.forget()
    rig.emulator.forget_requests()
    rig.emulator.fail(TOKEN_OPERATION, hang=True)
    with rig.daemon() as pid:
        rig.emulator.wait_for(TOKEN_OPERATION)
        return seconds_to_go(pid)


def _idle(bench: Bench) -> Iterator[Figure]:
    with _asleep(bench.rig) as pid:
        before = own_cpu_seconds(pid)
        time.sleep(bench.idle_seconds)
        asleep = (own_cpu_seconds(pid) - before) * FIVE_MINUTES_SECONDS / bench.idle_seconds
        refresh = median(_refresh_cpu(bench.rig, pid) for _ in range(bench.rounds))
    measured = f"asleep {asleep:.3f} s, a refresh {refresh:.3f} s"
    yield Figure("CPU of 5 minutes, one refresh included", measured, "", asleep + refresh, 0.6, "s")


def _outputs(bench: Bench) -> Iterator[Figure]:
    """Each with a profile of its own, in files of their own."""
    others = bench.rig.published.parent
    more = [ANOTHER_FILE.format(others / f"other-{number}", number) for number in range(OUTPUTS - 1)]
    yield _difference(bench, f"an output more, of {OUTPUTS}", "".join(more), OUTPUTS - 1, 2)


def _profiles(bench: Bench) -> Iterator[Figure]:
    profiles = "".join(f"[other-{number}]\naws_access_key_id = AKIA{number:016}\n" for number in range(PROFILES))
    beside = bench.rig.published.with_name("profiles")
    beside.write_text(profiles, encoding="utf-8")
    more = ANOTHER_FILE.format(beside, 0)
    yield _difference(bench, f"a credentials file of {PROFILES} profiles", more, 1, 100)


def _role(bench: Bench) -> Iterator[Figure]:
    bench.rig.emulator.create_role("application")
    arn = "arn:aws:iam::123456789012:role/application"
    with _configured(bench.rig, ROLE.format(arn) + ENDPOINT_WITH_ROLE), _asleep(bench.rig) as pid:
        what = "CPU of a refresh with a role by AssumeRole"
        yield bench.ratio(what, 22, lambda: _refresh_cpu(bench.rig, pid), bench.bare_cpu)


def _difference(bench: Bench, what: str, more: str, parts: int, goal: float) -> Figure:
    """What a part of `more` configuration adds to the CPU time of a refresh, in milliseconds."""
    with _asleep(bench.rig) as pid:
        before = median(_refresh_cpu(bench.rig, pid) for _ in range(bench.rounds))
    with _configured(bench.rig, more), _asleep(bench.rig) as pid:
        after = median(_refresh_cpu(bench.rig, pid) for _ in range(bench.rounds))
    measured = f"a refresh {before * 1000:.0f} ms, with all {after * 1000:.0f} ms"
    return Figure(what, measured, "", (after - before) / parts * 1000, goal, "ms")


@contextmanager
def _configured(rig: Rig, more: str) -> Iterator[None]:
    """With more configuration for a while."""
    before = rig.configuration.read_text(encoding="utf-8")
    rig.configuration.write_text(before + more, encoding="utf-8")
    try:
        yield
    finally:
        rig.configuration.write_text(before, encoding="utf-8")


if __name__ == "__main__":
    main()
