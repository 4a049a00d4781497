"""A file system that may lose its power: what of a series of operations can be there afterwards.

The rules, as ext4 and XFS may do and POSIX allows:
- what was written to a file since its last fsync is there, or not, or in part, or as zeros; a change of mode, or not;
- a name made, moved or removed since its directory's last fsync is there, or not, whatever became of the others, and
  whatever became of the file's content; fsync of a file does not make its name durable;
- fsync makes all of that durable for this one file, or for this one directory's names.
"""

import itertools
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath

from tests.powerloss.trace import Operation

MOST_COMBINATIONS = (
    128  # of what one moment may leave; beyond that the ones that differ in one thing from all or nothing
)
Tree = tuple[tuple[str, int, bytes | None], ...]  # path, mode, content; None for a directory


@dataclass(slots=True)
class Inode:
    """A file or a directory; what the last fsync has made durable, and what came since."""

    mode: int
    data: bytes | None = b""  # None: a directory
    names: dict[str, "Inode"] = field(default_factory=dict)
    safe_mode: int = 0
    safe_data: bytes = b""
    safe_names: dict[str, "Inode"] = field(default_factory=dict)
    moves: list[dict[str, "Inode | None"]] = field(default_factory=list)
    written: bool = False
    light: bool = False

    def sync(self) -> None:
        self.safe_mode, self.safe_data, self.safe_names = self.mode, self.data or b"", dict(self.names)
        self.moves, self.written = [], False

    def write(self, data: bytes) -> None:
        self.data, self.written = data, True

    def move(self, bindings: Mapping[str, "Inode | None"]) -> None:
        """Bind names, all of them or none."""
        self.moves.append(dict(bindings))
        _bind(self.names, bindings)

    def possible_data(self) -> list[bytes | None]:
        """What the content may be, likeliest first."""
        if self.data is None or not self.written or self.light:
            return [self.data]
        zeros = bytes(len(self.data))
        return list(dict.fromkeys([self.data, self.safe_data, self.data[: len(self.data) // 2], zeros]))

    def possible_modes(self) -> list[int]:
        return list(dict.fromkeys([self.mode, self.safe_mode]))


class Disk:
    """The directory `root` as it is now, all of it durable, and what becomes of it.

    What is in files called like `of_no_weight` is left as it was written: one state stands for all.
    """

    def __init__(self, root: Path, of_no_weight: str = "") -> None:
        self._base = str(root)
        self._root = _read(root)
        self._of_no_weight = of_no_weight

    def apply(self, done: Operation) -> None:
        """One operation, as every process sees it at once."""
        parent, name = self._parent(done.path)
        match done.kind:
            case "create" if name not in parent.names:
                light = fnmatch(name, self._of_no_weight)
                parent.move({name: Inode(done.number, safe_mode=done.number, light=light)})
            case "mkdir":
                parent.move({name: Inode(done.number, None, safe_mode=done.number)})
            case "unlink":
                parent.move({name: None})
            case "rename":
                to, new_name = self._parent(done.to)
                assert to is parent, f"{done} leaves its directory, which this model does not know"
                parent.move({name: None, new_name: parent.names[name]})
            case "create" | "send" | "end":
                pass
            case _:
                _change(self._inode(done.path), done)

    def now(self) -> Tree:
        """What every process sees."""
        return _tree(self._root, {})

    def survivors(self) -> Iterator[Tree]:
        """What may be there when the power comes back; the first is what every process saw."""
        choices = self._choices()
        seen = set()
        for picked in _combinations([(key[1], len(options)) for key, options in choices]):
            tree = _tree(self._root, {key: options[at] for (key, options), at in zip(choices, picked, strict=True)})
            if tree not in seen:
                seen.add(tree)
                yield tree

    def _choices(self) -> list[tuple[tuple[int, str, int], list[object]]]:
        """Everything that is not settled: whose it is, and what it may be."""
        found: list[tuple[tuple[int, str, int], list[object]]] = []
        for inode in _all(self._root, {}):
            here = id(inode)
            found += [((here, "move", number), [True, False]) for number in range(len(inode.moves))]
            found += [((here, "mode", 0), list(inode.possible_modes()))]
            found += [((here, "data", 0), list(inode.possible_data()))]
        return [(key, options) for key, options in found if len(options) > 1]

    def _inode(self, path: str) -> Inode:
        at = self._root
        for name in PurePath(path).relative_to(self._base).parts:
            at = at.names[name]
        return at

    def _parent(self, path: str) -> tuple[Inode, str]:
        if path in ("", self._base):
            return self._root, ""
        return self._inode(str(PurePath(path).parent)), PurePath(path).name


def lay_out(tree: Tree, root: Path) -> None:
    """Make real files of a tree."""
    root.mkdir()
    for path, mode, data in tree:
        place = root / path
        if data is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(data)
        place.chmod(mode)


def _change(inode: Inode, done: Operation) -> None:
    data = inode.data
    match done.kind:
        case "fsync":
            inode.sync()
        case "chmod":
            inode.mode = done.number
        case "truncate":
            assert data is not None
            inode.write(data[: done.number].ljust(done.number, b"\0"))
        case "write":
            assert data is not None
            start = len(data) if done.number < 0 else done.number
            inode.write(data[:start].ljust(start, b"\0") + done.data + data[start + len(done.data) :])
        case _:
            raise AssertionError(f"{done.kind} is not modelled")


def _bind(names: dict[str, Inode], bindings: Mapping[str, Inode | None]) -> None:
    for name, inode in bindings.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _combinations(choices: list[tuple[str, int]]) -> Iterator[tuple[int, ...]]:
    """Which option to take of each choice: all combinations while they are few, else what differs in one thing.

    It differs from everything kept, from nothing kept, and from every name kept and no content.
    """
    sizes = [size for _, size in choices]
    if math.prod(sizes) <= MOST_COMBINATIONS:
        yield from itertools.product(*(range(size) for size in sizes))
        return
    nameless = [0 if kind == "move" else size - 1 for kind, size in choices]
    for base in ([0] * len(sizes), [1] * len(sizes), nameless):
        yield tuple(base)
        for place, size in enumerate(sizes):
            for option in range(size):
                yield (*base[:place], option, *base[place + 1 :])


def _all(root: Inode, seen: dict[int, Inode]) -> list[Inode]:
    """Every inode that a name leads to, has led to, or may lead to after the power failure."""
    if id(root) not in seen:
        seen[id(root)] = root
        moved = [inode for move in root.moves for inode in move.values() if inode is not None]
        for inode in [*root.names.values(), *root.safe_names.values(), *moved]:
            _all(inode, seen)
    return list(seen.values())


def _tree(inode: Inode, chosen: Mapping[tuple[int, str, int], object], path: str = "") -> Tree:
    mode, data = chosen.get((id(inode), "mode", 0), inode.mode), chosen.get((id(inode), "data", 0), inode.data)
    names = dict(inode.safe_names)
    for number, bindings in enumerate(inode.moves):
        if chosen.get((id(inode), "move", number), True):
            _bind(names, bindings)
    assert isinstance(mode, int)
    assert data is None or isinstance(data, bytes)
    rest = [_tree(names[name], chosen, f"{path}/{name}".lstrip("/")) for name in sorted(names)]
    own: Tree = ((path or ".", mode, data),)
    return own + tuple(entry for entries in rest for entry in entries)


def _read(place: Path) -> Inode:
    status = place.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if place.is_dir():
        inode = Inode(mode, None, {entry.name: _read(entry) for entry in place.iterdir()})
    else:
        inode = Inode(mode, place.read_bytes())
    inode.sync()
    return inode
