"""What is found when the power comes back, held against what was there and what was told before it went."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from shutil import rmtree

from tests.powerloss.disk import Disk, Tree, lay_out
from tests.powerloss.scenes import Keys, Recording

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents

OUTPUT = "aws/credentials"  # where Server publishes, below its directory
GROUPS = re.compile(r"(\.?aws|\.aws\.[0-9a-f]+\.rolekeeper-new)")  # what the output's group may search
PUBLIC = (".", "config.toml")
PARTS = {
    "registration": "registered",
    "pending_registration": "registering",
    "pending_key": "changing key",
    "superseded_key": "key changed",
    "measured": "measured",
    "issues": "published",
    "held_token": "holding a token",
}


@dataclass(frozen=True)
class Found:
    """What a reader of the vault and of the output finds."""

    contents: VaultContents | None
    output: bytes | None
    mode: int  # of the output
    problem: str = ""

    @property
    def stage(self) -> str:
        """Which parts the vault holds, in words."""
        assert self.contents is not None
        return ", ".join(word for part, word in PARTS.items() if getattr(self.contents, part)) or "empty"


@dataclass(frozen=True)
class Case:
    """One state that the disk may be left in, after so many operations."""

    operations: int
    tree: Tree
    services: tuple[Keys, ...]  # what the service may know then


class Finder:
    """Looks at states by making real files of them, each once."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._numbers = count()
        self._found: dict[Tree, Found] = {}

    def lay_out(self, tree: Tree) -> Path:
        place = self._scratch / str(next(self._numbers))
        lay_out(tree, place)
        return place

    def look(self, tree: Tree) -> Found:
        if tree not in self._found:
            place = self.lay_out(tree)
            self._found[tree] = _look(place, tree)
            rmtree(place)
        return self._found[tree]


def _look(place: Path, tree: Tree) -> Found:
    output = place / OUTPUT
    published = (output.read_bytes(), output.stat().st_mode) if output.exists() else (None, 0)
    vault = FileVault(place / "vault", SystemClock())
    try:
        contents = vault.load()
        with vault.lock(timedelta()):
            mended = vault.load()
    except VaultError as error:
        return Found(None, *published, f"{error.message} ({error.code})")
    left = [str(path) for path in (place / "vault").rglob("*") if "-new" in path.name]
    problems = [
        *([f"the next writer left {left}"] if left else []),
        *(["the next writer changed what is in the vault"] if mended != contents else []),
        *[f"others may use {path}: {mode:o}" for path, mode in _open_to_others(tree)],
    ]
    return Found(contents, *published, "; ".join(problems))


def _open_to_others(tree: Tree) -> Iterator[tuple[str, int]]:
    """What anybody but its owner may read or write; the output's group may read it where the scene says so."""
    for path, mode, _ in tree:
        allowed = stat.S_IRGRP | stat.S_IXGRP if GROUPS.fullmatch(path.split("/")[0]) else 0
        if mode & 0o077 & ~allowed and path not in PUBLIC:
            yield path, mode


@dataclass
class Witness:
    """What the vault and the output of one server have been, in order, and what of it was told to anybody."""

    seen: list[Found] = field(default_factory=list)
    told: int = 0

    def see(self, found: Found) -> None:
        assert not found.problem, f"with no power failure at all: {found.problem}"
        if not self.seen or self.seen[-1] != found:
            self.seen.append(found)

    def tell(self) -> None:
        """A request was sent, or a command has ended: what was true by then has to stay so."""
        self.told = len(self.seen) - 1

    def stages(self) -> tuple[str, ...]:
        """What the vault came to, one after the other."""
        changed = [one for at, one in enumerate(self.seen) if not at or self.seen[at - 1].contents != one.contents]
        return tuple(one.stage for one in changed)

    def objection(self, found: Found) -> str:
        """What is wrong with what was found; empty when it is what was there since the last word to anybody."""
        if found.problem:
            return found.problem
        if found.contents not in [one.contents for one in self.seen[self.told :]]:
            return f"the vault is {found.stage}; it was {self.seen[self.told].stage} when that was last told"
        if (found.output, found.mode) not in [(one.output, one.mode) for one in self.seen[self.told :]]:
            return f"the output, {found.mode:o}, holds {found.output!r}"
        return ""


def cases(recording: Recording, before: Disk, finder: Finder, witness: Witness) -> Iterator[Case]:
    """Every state that a power failure after any operation may leave; `witness` has seen what came before."""
    witness.see(finder.look(before.now()))
    for number, operation in enumerate(recording.done, 1):
        before.apply(operation)
        witness.see(finder.look(before.now()))
        if operation.kind in ("send", "end"):
            witness.tell()
        services = tuple(recording.service_knows(number))
        for tree in before.survivors():
            yield Case(number, tree, services)
