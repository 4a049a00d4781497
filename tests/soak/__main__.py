"""`make soak`: soak a node for hundreds of refreshes, print what came of it, and fail when a promise was broken."""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import Server
from tests.readers import KINDS
from tests.soak.mishaps import ENDINGS, FAULTS, KILLS
from tests.soak.node import Sample
from tests.soak.soak import Soaked, soak, tenths

from rolekeeper.emulator import Emulator

UNITS = {"pss": "PSS, MB", "rss": "RSS, MB", "temporary_files": "temporary files"}


def main() -> int:
    """Soak, and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("refreshes", nargs="?", type=int, default=600, help="how many at least, default 600")
    parser.add_argument("--seed", type=int, default=4, help="of the order of mishaps and the moments of kills")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, seed {options.seed}; load {os.getloadavg()[0]:.1f} at the beginning", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="rolekeeper-soak-") as directory, Emulator() as emulator:
        server = Server(Path(directory), emulator)
        server.register()
        found = soak(server, options.refreshes, options.seed)
    print("\n".join(report(found)), flush=True)
    for wrong in found.wrong:
        print(f"wrong: {wrong}", file=sys.stderr)
    return 1 if found.wrong else 0


def report(found: Soaked) -> Iterator[str]:
    """The tables, line by line."""
    faults, kills = (sum(found.happened[name] for name in group) for group in (FAULTS, {**KILLS, **ENDINGS}))
    requests = ", ".join(f"{count} {name}" for name, count in sorted(found.requests.items()))
    yield f"\n{found.refreshes} refreshes in {found.seconds:.0f} s by {found.daemons} daemons: {requests}."
    yield f"{faults} faults of {len(FAULTS)} kinds; {kills} kills, signals and commands of {len(KILLS) + len(ENDINGS)}."
    yield f"{'; '.join(f'{name}: {count}' for name, count in found.helped.items())}."
    yield f"{found.files} files in vault, output and runtime directory at the beginning, the same at the end."
    yield f"Temporary files at a sample: {dict(sorted(Counter(found.temporary_files).items()))} (files: samples)."
    yield from _readers(found)
    yield from _occupied(found.samples)
    yield "\n| what happened | times |\n|---|---|"
    for name in (*FAULTS, *KILLS, *ENDINGS):
        yield f"| {name} | {found.happened[name]} |"


def _readers(found: Soaked) -> Iterator[str]:
    yield "\n| reader | reads | of different credentials | torn, empty, missing, expired or unusable | answers |"
    yield "|---|---|---|---|---|"
    for kind in KINDS:
        what = found.readers[kind]
        answers = ", ".join(f"{answer} {count}" for answer, count in what["answers"].items())
        yield f"| {kind} | {what['reads']} | {len(what['seen'])} | {sum(what['wrong'].values())} | {answers} |"


def _occupied(samples: tuple[Sample, ...]) -> Iterator[str]:
    yield f"\n| the last daemon, {len(samples)} samples | median of each tenth of them | most |\n|---|---|---|"
    for each in fields(Sample)[1:]:
        medians = ", ".join(f"{value:.4g}" for value in tenths(samples, each.name))
        most = max((float(getattr(sample, each.name)) for sample in samples), default=0.0)
        yield f"| {UNITS.get(each.name, each.name)} | {medians} | {most:.4g} |"


if __name__ == "__main__":
    sys.exit(main())
