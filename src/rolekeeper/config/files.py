"""Where the configuration is read from: one file, and the `*.toml` of conf.d beside it in the order of their names.

The digest names the bytes of all these files, and says which optional file is absent. The daemon keeps the digest of
the configuration that it runs by. A command computes its own with `digest`, which parses nothing, and so learns whether
the files have changed since. The digest does not depend on where the files are: `--config ./config.toml` and its
absolute path give the same one.
"""

import errno
import hashlib
import os
import stat
from os import PathLike
from typing import Any

from rolekeeper.errors import InputOutputError, Problem
from rolekeeper.values import Value

Path = str | PathLike[str]

DEFAULT_PATH = "/etc/rolekeeper/config.toml"
FRAGMENTS = "conf.d"
LARGEST_FILE = 131_072  # bytes; a larger file is no configuration
LONGEST_LINE = 8_192  # bytes; tomllib's time grows with the square of the dots in a key

# Only a person can correct these. Any other error may be gone at the next try, so it does not make the configuration
# wrong. ENXIO is the error of a socket in the file's place.
_LASTING = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
    *(errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO),
)
_LIST_HINT = "it must be a directory that the user who runs rolekeeper may list"
_READ_HINT = "it must be a file that the user who runs rolekeeper may read; other users need sudo"
_NO_CONFIGURATION = "this cannot be a configuration file"
_MAIN = "config.toml"  # the main file's name in the digest, whatever its path is


class SourceFile(Value):
    """One file of the configuration: its path as the user wrote it, and the TOML document in it."""

    where: str
    content: dict[str, Any]


class RawFile(Value):
    """The bytes of a file, and its permissions."""

    data: bytes
    mode: int


def read_files(path: Path, *, must_exist: bool) -> tuple[list[SourceFile], list[Problem], str]:
    """`path` and its fragments, later ones last; what is wrong with the others; and the digest of all.

    A missing conf.d means no fragments. A missing `path` is a problem only if it `must_exist`. Raises InputOutputError
    `configuration-unreadable` when the machine fails and the configuration is not to blame.
    """
    raw, problems = _read_all(path, must_exist=must_exist)
    files = []
    for where, data in raw.items():
        result = _parse(where, data) if data is not None else None
        if isinstance(result, Problem):
            problems.append(result)
        elif result is not None:
            files.append(result)
    return files, problems, _digest(path, raw)


def read_fragment(path: Path, where: str) -> SourceFile | Problem:
    """What `path` would be as the fragment `where`; or what is wrong with it. Raises as `read_files`."""
    data = _read_file(path)
    return data if isinstance(data, Problem) else _parse(where, data)


def digest(path: Path = DEFAULT_PATH, *, must_exist: bool = False) -> str | None:
    """The digest that `read_files` gives for the same files; None when one of them cannot be read by this user."""
    try:
        raw, problems = _read_all(path, must_exist=must_exist)
    except InputOutputError:
        return None
    return None if problems else _digest(path, raw)


def read_regular(path: Path, limit_bytes: int) -> RawFile | str:
    """The file's bytes, at most one more than `limit_bytes`; or why it can never be read, in words.

    It never waits, as for a FIFO. Raises InputOutputError when a later try may succeed.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not _is_readable_at_once(status):
                return "is not a regular file"
            return RawFile(file.read(limit_bytes + 1), stat.S_IMODE(status.st_mode))
    except OSError as error:
        return _why(path, "cannot be read", error)


def _read_all(path: Path, *, must_exist: bool) -> tuple[dict[str, bytes | None], list[Problem]]:
    """The bytes of every file, None for an absent `path`; and what is wrong with the files that are left out."""
    main = os.fspath(path)
    fragments, problems = _fragments(os.path.join(os.path.dirname(main), FRAGMENTS))
    raw: dict[str, bytes | None] = {} if must_exist or _has_its_name(main) else {main: None}
    for candidate in (main, *fragments):
        if candidate in raw:
            continue
        result = _read_file(candidate)
        if isinstance(result, Problem):
            problems.append(result)
        else:
            raw[candidate] = result
    return raw, problems


def _digest(path: Path, raw: dict[str, bytes | None]) -> str:
    found = hashlib.sha256()
    for where, data in raw.items():
        name = _MAIN if where == os.fspath(path) else f"{FRAGMENTS}/{os.path.basename(where)}"
        length = "absent" if data is None else str(len(data))
        found.update(os.fsencode(name) + b"\0" + length.encode() + b"\0" + (data or b""))
    return found.hexdigest()


def _has_its_name(path: Path) -> bool:
    """Whether something has that name; also true when that is not known, because reading then says what is wrong."""
    try:
        os.lstat(path)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return True


def _fragments(directory: str) -> tuple[list[str], list[Problem]]:
    try:
        names = sorted(_names_in(directory))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Problem(directory, "", _why(directory, "cannot be listed", error), _LIST_HINT)]
    return [os.path.join(directory, name) for name in names if is_fragment(name)], []


def is_fragment(name: str) -> bool:
    """Whether a file of this name in conf.d is read."""
    # Editors keep their lock and swap files beside the original, with a dot in front.
    return name.endswith(".toml") and not name.startswith(".")


def _names_in(directory: str) -> list[str]:
    """os.listdir alone does not repeat an opening that a signal interrupts; os.open does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _read_file(path: Path) -> bytes | Problem:
    where = str(path)
    found = read_regular(path, LARGEST_FILE)
    if isinstance(found, str):
        return Problem(where, "", found, _READ_HINT)
    if len(found.data) > LARGEST_FILE:
        return Problem(where, "", f"is larger than {LARGEST_FILE} bytes", _NO_CONFIGURATION)
    long = next((number for number, line in enumerate(found.data.split(b"\n"), 1) if len(line) > LONGEST_LINE), None)
    if long is not None:
        return Problem(where, "", f"has more than {LONGEST_LINE} bytes in line {long}", _NO_CONFIGURATION)
    return found.data


def _why(path: Path, what: str, error: OSError) -> str:
    """What is wrong with `path`, in words; raises InputOutputError when a later try may succeed."""
    if error.errno not in _LASTING:
        raise InputOutputError(
            "configuration-unreadable",
            f"Cannot read {path}: {error.strerror}",
            "try again; if that does not help, see the kernel's log, and the limits on open files and memory",
        ) from error
    return f"{what}: {error.strerror}"


def _open(path: str, flags: int) -> int:
    """Open a FIFO without waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_readable_at_once(status: os.stat_result) -> bool:
    """Whether it is a regular file, or /dev/null, which is a good way to write: all defaults. A terminal is neither."""
    return stat.S_ISREG(status.st_mode) or status.st_rdev == os.stat(os.devnull).st_rdev


def _parse(where: str, raw: bytes) -> SourceFile | Problem:
    import tomllib  # noqa: PLC0415 - `digest` does not need it

    try:
        return SourceFile(where, tomllib.loads(raw.decode("utf-8-sig")))  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Problem(where, "", f"is not UTF-8 (at line {line})", "save it as UTF-8")
    except RecursionError:
        return Problem(
            where, "", "is nested too deeply", "no table of the configuration holds more than one level of tables"
        )
    except ValueError as error:  # TOMLDecodeError, and an integer of too many digits
        return Problem(where, "", f"is not valid TOML: {error}", "strings need quotes; each key has a line of its own")
