"""The figures that rolekeeper is held to, measured on this machine: `make bench`, or with --full for every second.

Nothing here fails for being slow: a figure stands beside its goal, and a person reads the table. Times are medians of
rounds in which what is measured takes turns with what it is compared with, so that a busy machine slows both.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rig import (
    PYTHON,
    ROLEKEEPER,
    Memory,
    Rig,
    children_cpu_seconds,
    memory,
    own_cpu_seconds,
    seconds_of,
    seconds_to_go,
    until,
)

from rolekeeper.emulator import Emulator

BOTO3 = (PYTHON, "-c", "import boto3; boto3.client('ssm', region_name='us-east-1')")
BARE = (PYTHON, "-I", "-c", "pass")
IDLE_BARE = (PYTHON, "-I", "-c", "import time; time.sleep(60)")
REFRESHES = 5
FIVE_MINUTES_SECONDS = 300
SETTLED_SECONDS = 1.0
TOKEN_OPERATION = "RequestManagedInstanceRoleToken"


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


def main() -> None:
    """Measure all of it and print the table."""
    options = _options()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}; load {os.getloadavg()[0]:.1f} at the beginning", flush=True)
    print("\n| figure | measured | beside | value | goal | kept |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="rolekeeper-figures-") as directory, Emulator() as emulator:
        rig = Rig(Path(directory), emulator)
        for figures in (_memory(rig), _start(rig, options.rounds), _stop(rig, options.rounds), _cpu(rig, options.idle)):
            for figure in figures:
                print(figure.row(), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of the times, default 15")
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


def _memory(rig: Rig) -> Iterator[Figure]:
    bare = subprocess.Popen(IDLE_BARE, env=rig.environment)
    with rig.daemon() as pid:
        rig.wait_until_asleep(pid)
        time.sleep(SETTLED_SECONDS)
        asleep, interpreter = memory(pid), memory(bare.pid)
    bare.kill()
    bare.wait()
    beside = f"bare interpreter {_megabytes(interpreter)}"
    yield Figure("memory asleep, all processes", _megabytes(asleep), beside, asleep.pss, 20, "MB PSS")


def _megabytes(used: Memory) -> str:
    return f"{used.pss:.1f} MB PSS, {used.rss:.1f} MB RSS"


def _start(rig: Rig, rounds: int) -> Iterator[Figure]:
    publishing, boto3 = [], []
    for _ in range(rounds):
        boto3.append(seconds_of(BOTO3, rig.environment))
        publishing.append(_seconds_to_credentials(rig))
    beside = f"boto3 client {_milliseconds(boto3)}"
    yield _ratio("exec to credentials on disk", publishing, boto3, beside, 1.5)
    command = (ROLEKEEPER, "credential-process", "--file", str(rig.published))
    asking, bare = [], []
    for _ in range(3 * rounds):
        bare.append(seconds_of(BARE, rig.environment))
        asking.append(seconds_of(command, rig.environment))
    yield _ratio("`credential-process`", asking, bare, f"bare interpreter {_milliseconds(bare)}", 2.5)


def _seconds_to_credentials(rig: Rig) -> float:
    rig.forget()
    began = time.perf_counter()
    with rig.daemon() as pid:
        until(rig.published.exists)
        took = time.perf_counter() - began
        rig.wait_until_asleep(pid)
    return took


def _ratio(what: str, measured: list[float], other: list[float], beside: str, goal: float) -> Figure:
    ratio = median(one / another for one, another in zip(measured, other, strict=True))
    return Figure(what, _milliseconds(measured), beside, ratio, goal, "times")


def _milliseconds(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"


def _stop(rig: Rig, rounds: int) -> Iterator[Figure]:
    asleep, hung = [], []
    for _ in range(rounds):
        rig.forget()
        with rig.daemon() as pid:
            rig.wait_until_asleep(pid)
            asleep.append(seconds_to_go(pid))
        hung.append(_seconds_to_go_when_hung(rig))
    yield Figure("SIGTERM to gone, asleep", _milliseconds(asleep), "", median(asleep), 0.2, "s")
    yield Figure("SIGTERM to gone, attempt hangs", _milliseconds(hung), "", median(hung), 0.5, "s")


def _seconds_to_go_when_hung(rig: Rig) -> float:
    rig.forget()
    rig.emulator.forget_requests()
    rig.emulator.fail(TOKEN_OPERATION, hang=True)
    with rig.daemon() as pid:
        rig.emulator.wait_for(TOKEN_OPERATION)
        return seconds_to_go(pid)


def _cpu(rig: Rig, idle_seconds: int) -> Iterator[Figure]:
    rig.forget()
    with rig.daemon() as pid:
        rig.wait_until_asleep(pid)
        before = own_cpu_seconds(pid)
        time.sleep(idle_seconds)
        asleep = (own_cpu_seconds(pid) - before) * FIVE_MINUTES_SECONDS / idle_seconds
        before, children_before = own_cpu_seconds(pid), children_cpu_seconds(pid)
        for _ in range(REFRESHES):
            subprocess.run([*rig.rolekeeper, "refresh"], env=rig.environment, check=True, capture_output=True)
            rig.wait_until_asleep(pid)
        supervisor = (own_cpu_seconds(pid) - before) / REFRESHES
        attempt = (children_cpu_seconds(pid) - children_before) / REFRESHES
    measured = f"asleep {asleep:.3f} s, supervisor at a refresh {supervisor:.3f} s, attempt {attempt:.3f} s"
    beside = f"{idle_seconds} s asleep, {REFRESHES} refreshes"
    yield Figure("CPU of 5 minutes with one refresh", measured, beside, asleep + supervisor + attempt, 0.6, "s")


if __name__ == "__main__":
    main()
