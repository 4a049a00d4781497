"""Where the configuration is read from: one file, and the `*.toml` of conf.d beside it in the order of their names."""

import errno
import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekeeper.errors import InputOutputError, Problem

FRAGMENTS = "conf.d"
LARGEST_FILE = 131_072  # bytes; a file larger than that is no configuration
LONGEST_LINE = 8_192  # bytes; tomllib's time grows with the square of the dots in a key

# What only a person can mend. Any other error may be over at the next try, without anybody's touching the file: no
# reason to call the configuration wrong. ENXIO is that of a socket in the file's place.
_LASTING = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
    *(errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO),
)
_LIST_HINT = "it must be a directory that the user who runs rolekeeper may list"
_READ_HINT = "it must be a file that the user who runs rolekeeper may read"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the configuration: its path as a user knows it, and the TOML document in it."""

    where: str
    content: dict[str, Any]


def read_files(path: Path, *, must_exist: bool) -> tuple[list[SourceFile], list[Problem]]:
    """`path` and its fragments, later ones last, and what is wrong with those that cannot be read.

    A missing conf.d is none; a missing `path` is a problem only if it `must_exist`. Raises InputOutputError
    `configuration-unreadable` when the machine, and not the configuration, is in trouble.
    """
    fragments, problems = _fragments(path.parent / FRAGMENTS)
    candidates = [path, *fragments] if must_exist or _has_its_name(path) else fragments
    results = [_read_file(candidate) for candidate in candidates]
    files = [result for result in results if isinstance(result, SourceFile)]
    return files, problems + [result for result in results if isinstance(result, Problem)]


def _has_its_name(path: Path) -> bool:
    """Whether there is something of that name; also when that cannot be told, which reading it brings to light."""
    try:
        os.lstat(path)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return True


def _fragments(directory: Path) -> tuple[list[Path], list[Problem]]:
    try:
        names = sorted(_names_in(directory))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [_unreadable(directory, "cannot be listed", _LIST_HINT, error)]
    # Editors keep their lock and swap files beside the original, with a dot in front.
    return [directory / name for name in names if name.endswith(".toml") and not name.startswith(".")], []


def _names_in(directory: Path) -> list[str]:
    """A signal that interrupts the opening is got over, which os.listdir alone does not do."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.listdir(descriptor)  # noqa: PTH208 - by descriptor, which pathlib cannot
    finally:
        os.close(descriptor)


def _read_file(path: Path) -> SourceFile | Problem:
    where = str(path)
    try:
        with open(path, "rb", opener=_open) as file:
            if not _is_readable_at_once(os.fstat(file.fileno())):
                return Problem(where, "", "is not a regular file", _READ_HINT)
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        return _unreadable(path, "cannot be read", _READ_HINT, error)
    if len(raw) > LARGEST_FILE:
        return Problem(where, "", f"is larger than {LARGEST_FILE} bytes", "this cannot be a configuration file")
    long = next((number for number, line in enumerate(raw.split(b"\n"), 1) if len(line) > LONGEST_LINE), None)
    if long is not None:
        return Problem(
            where, "", f"has more than {LONGEST_LINE} bytes in line {long}", "this cannot be a configuration file"
        )
    return _parse(where, raw)


def _unreadable(path: Path, what: str, hint: str, error: OSError) -> Problem:
    if error.errno not in _LASTING:
        raise InputOutputError(
            "configuration-unreadable",
            f"Cannot read {path}: {error.strerror}",
            "try again; if it stays so, see the kernel's log, and the limits on open files and memory",
        ) from error
    return Problem(str(path), "", f"{what}: {error.strerror}", hint)


def _open(path: str, flags: int) -> int:
    """Open without waiting for somebody to write into a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_readable_at_once(status: os.stat_result) -> bool:
    """Whether it is a regular file, or /dev/null, which is a good way to say: all defaults. A terminal is neither."""
    return stat.S_ISREG(status.st_mode) or status.st_rdev == Path(os.devnull).stat().st_rdev


def _parse(where: str, raw: bytes) -> SourceFile | Problem:
    try:
        return SourceFile(where, tomllib.loads(raw.decode()))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Problem(where, "", f"is not UTF-8 (at line {line})", "save it as UTF-8")
    except RecursionError:
        return Problem(where, "", "is nested too deeply", "the configuration has tables with plain values, no deeper")
    except ValueError as error:  # TOMLDecodeError, and an integer of too many digits
        return Problem(where, "", f"is not valid TOML: {error}", "strings need quotes; each key stands on its own line")
