"""Hundreds of refreshes of 2-second tokens while everything goes wrong that can, with readers all the while.

One refresh in two or three is spoilt by a mishap: a fault of the service, a kill, a signal, a command. They are dealt
from a shuffled deck; the seed says in which order, and where a kill hits. Mishaps that end the daemon come in the first
half: the last daemon lives long enough to show a leak.
"""

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from tests.conftest import Server
from tests.daemonprocess.conftest import daemons
from tests.readers import OURS, reading, shape, told
from tests.soak.mishaps import ENDINGS, FAULTS, KILLS, Mishap
from tests.soak.node import FOREIGN, Node, Sample

READERS = {"plain": 0.001, "botocore": 0.005, "boto3": 0.1, "credential-process": 0.5, "status": 2.0}  # seconds between
PUBLISHED_SHAPE = FOREIGN.replace("[default]\n", "[default]\n" + "".join(f"{key}\n" for key in OURS))
EVERYTHING: Mapping[str, Mishap] = {**FAULTS, **KILLS, **ENDINGS}
DECK = (*FAULTS, *KILLS, *KILLS, *ENDINGS, *ENDINGS, *ENDINGS, *ENDINGS)
LEAST_SAMPLES = 100  # of one daemon, for a word about its memory
PIPES = 4  # of an attempt that is being started; a sample may come at any moment
CHILDREN = 4  # an attempt, dmidecode and its like
TEMPORARY_FILES = 4  # at any moment: one being written, two that kills left, and one of status.json or metrics.prom
SETTLED = 4  # the tenth of its samples from which on the interpreter has touched the arena that it allocates from
LARGEST_GROWTH_MB = 0.3  # of RSS, from that tenth to the last


@dataclass(frozen=True)
class Soaked:
    """What came of a soak. `wrong` is empty when every promise was kept."""

    seconds: float
    refreshes: int
    daemons: int
    happened: Counter[str]
    helped: Counter[str]
    requests: Counter[str]
    readers: Mapping[str, Mapping[str, Any]]
    samples: tuple[Sample, ...]  # of the last daemon
    temporary_files: tuple[int, ...]  # at every sample
    files: int  # in vault, output and runtime directory, at the end as at the beginning
    wrong: tuple[str, ...]


def soak(server: Server, refreshes: int, seed: int, deck: Iterable[str] = DECK) -> Soaked:
    """Soak a registered server until it has published so often, and everything in the deck has happened to it.

    Raises SoakError when it does not go on.
    """
    chance = random.Random(seed)  # noqa: S311 - to be the same again, not to be secret
    with daemons() as begin:
        return _Soak(Node(server, begin, chance), refreshes, list(deck)).run()


class _Soak:
    def __init__(self, node: Node, refreshes: int, deck: list[str]) -> None:
        self.node = node
        self.refreshes = refreshes
        self.deck = deck
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> Soaked:
        node, began = self.node, time.monotonic()
        node.start()
        node.until_refreshed()
        node.until_refreshed()
        files = node.files() - set(node.temporary_files())
        readers = {
            kind: reading(kind, node.server.output, node.server.config, timedelta(seconds=pause))
            for kind, pause in READERS.items()
        }
        try:
            self._go_through()
            node.server.emulator.clear_faults()
            node.until_one_key()
            node.until_refreshed()
        finally:
            seen = {kind: told(reader) for kind, reader in readers.items()}
        node.stop()
        self._judge(seen, files)
        return Soaked(
            time.monotonic() - began,
            len(node.published),
            len(node.daemons),
            self.happened,
            node.helped,
            Counter(one.operation for one in node.server.emulator.requests),
            seen,
            tuple(self._last_samples()),
            tuple(sample.temporary_files for sample in node.samples),
            len(files),
            tuple(self.wrong),
        )

    def _go_through(self) -> None:
        """Mishap by mishap. It ends: each is followed by a refresh, and nothing is waited for without end."""
        dealt = self._deal()
        while len(self.node.published) < self.refreshes or set(self.deck) - set(self.happened):
            name = next(dealt)
            EVERYTHING[name](self.node)
            self.happened[name] += 1
            for _ in range(self.node.chance.randint(1, 2)):
                self.node.until_refreshed()
                self.node.sample()

    def _deal(self) -> Iterator[str]:
        while True:
            self.node.chance.shuffle(self.deck)
            for name in self.deck:
                if name not in ENDINGS or not self.happened[name] or len(self.node.published) < self.refreshes / 2:
                    yield name

    def _last_samples(self) -> list[Sample]:
        return [sample for sample in self.node.samples if sample.daemon == len(self.node.daemons) - 1]

    def _judge(self, seen: Mapping[str, Mapping[str, Any]], files: set[str]) -> None:
        """Note down whatever was not as promised."""
        server = self.node.server
        issued = {(t.access_key_id, t.secret_access_key, t.session_token) for t in server.tokens()}
        for kind, what in seen.items():
            strangers = {tuple(keys) for keys in what["seen"]} - issued
            self._expect(not what["wrong"], f"{kind}: {what['wrong']} {what['examples']}")
            self._expect(not strangers, f"{kind}: {len(strangers)} credentials that the service never issued")
        self._expect(shape(server.output.read_text()) == PUBLISHED_SHAPE, f"the file: {server.output.read_text()}")
        self._expect(files == self.node.files(), f"files: {files ^ self.node.files()}")
        logs = "".join(daemon.log_file.read_text() for daemon in self.node.daemons)
        self._expect(not [secret for secret in server.secrets() if secret in logs], "a secret in the log")
        most = max((sample.temporary_files for sample in self.node.samples), default=0)
        self._expect(most <= TEMPORARY_FILES, f"{most} temporary files at once")
        samples = self._last_samples()
        for name, more in {"descriptors": PIPES, "threads": 0, "children": CHILDREN}.items():
            values = tenths(samples, name)
            self._expect(values[-1] <= values[0] + more, f"{name}: {values}")
        if len(samples) >= LEAST_SAMPLES:
            values = tenths(samples, "rss")
            self._expect(values[-1] - values[SETTLED] <= LARGEST_GROWTH_MB, f"resident memory, MB: {values}")

    def _expect(self, kept: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
        if not kept:
            self.wrong.append(otherwise)


def tenths(samples: Sequence[Sample], name: str) -> list[float]:
    """The median of each tenth of the samples; of fewer than ten, each by itself."""
    values = [float(getattr(sample, name)) for sample in samples]
    parts = min(len(values), 10)
    return [median(values[n * len(values) // parts : (n + 1) * len(values) // parts]) for n in range(parts)] or [0.0]
