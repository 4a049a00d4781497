"""Every scenario, every step, every fault: `make faults`. Prints a table and each thing that does not hold.

With --jobs, as many scenarios at a time, each with an emulator and a server of its own.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import Server
from tests.faults.calls import KILL
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage, zygote
from tests.faults.tracing import why_not
from tests.faults.trials import Course, DriftedError, Trial

from rolekeeper.emulator import Emulator


@dataclass
class Tally:
    """What came of the trials of one scenario, or of a part of them."""

    name: str
    steps: int = 0
    kills: int = 0
    errors: int = 0
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@contextmanager
def courses() -> Iterator[Callable[[str], Course]]:
    """Scenarios by name, each on a server of its own; in memory where there is such a place."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made,
        zygote(Path(made, "scratch")) as started,
        Emulator() as emulator,
    ):

        def course(name: str) -> Course:
            scenario = next(one for one in SCENARIOS if one.name == name)
            directory = Path(made, name.replace(" ", "-"), "server")
            directory.mkdir(parents=True)
            return Course(Stage(started, Server(directory, emulator), scenario))

        yield course


def sweep(name: str, options: argparse.Namespace, part: int = 0) -> Tally:
    with courses() as course:
        followed = course(name)
        tally = Tally(name, len(list(followed.spoilt())))
        trials = [*followed.kills(), *followed.errors(every=options.every)]
        if options.only:
            trials = [trial for trial in trials if options.only in str(trial)]
        run(followed, trials[part :: options.jobs][:: options.stride], tally)
    return tally


def run(followed: Course, trials: Iterable[Trial], tally: Tally) -> None:
    for trial in trials:
        tally.kills += trial.fault == KILL
        tally.errors += trial.fault != KILL
        try:
            followed.run(trial)
        except DriftedError as drifted:
            tally.missed.append(str(drifted))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the next trial is to be made
            tally.broken.append(f"{trial}\n    {type(error).__name__}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", help="only these; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--stride", type=int, default=1, help="every so manyth trial only")
    parser.add_argument("--every", action="store_true", help="every error at steps that only read, too")
    parser.add_argument("--only", default="", help="only trials with this text in their description")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"faults: {reason}")
    names = options.scenario or [scenario.name for scenario in SCENARIOS]
    print(f"{'scenario':15}{'steps':>7}{'killed':>8}{'errors':>8}{'missed':>8}{'broken':>8}{'seconds':>9}", flush=True)
    worst = Counter[str]()
    for name in names:
        began = time.monotonic()
        with ProcessPoolExecutor(options.jobs) as pool:
            jobs = options.jobs
            parts = list(pool.map(sweep, [name] * jobs, [options] * jobs, range(jobs)))
        kills, errors = sum(part.kills for part in parts), sum(part.errors for part in parts)
        missed, broken = [m for part in parts for m in part.missed], [b for part in parts for b in part.broken]
        seconds = time.monotonic() - began
        print(f"{name:15}{parts[0].steps:7}{kills:8}{errors:8}{len(missed):8}{len(broken):8}{seconds:9.0f}", flush=True)
        for line in (*(f"  missed: {m}" for m in missed), *(f"  broken: {b}" for b in broken)):
            print(line, flush=True)
        worst.update(missed=len(missed), broken=len(broken), killed=kills, errors=errors)
    print(", ".join(f"{count} {what}" for what, count in worst.items()))
    return 1 if worst["missed"] or worst["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
