"""Locks: a lock file beside the target, because a lock on the target itself would vanish with the rename.

The lock ends with the process that holds it, and its file stays for the next one. Only a diagnosis removes the file
that it has made itself, while it holds the lock. A process that gets the lock of a file without a name tries again with
the file that has the name now, so that two processes never hold it. The name is fixed, so where others may write it can
be any file that they moved there: nothing is ever written into it, and what cannot be a lock file is refused.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from rolekeeper.adapters.files.paths import Place, RefusedFileError, place

LOCK_POLL = timedelta(milliseconds=50)

_LOCK = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCK = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a symlink, a directory, a socket


@contextmanager
def lock(path: str, wait: timedelta, sleep: Callable[[timedelta], None]) -> Iterator[None]:
    """Keep rolekeeper's other processes from the file (or directory) `path`; see `lock_at`."""
    with place(path) as target, lock_at(target, wait, sleep):
        yield


@contextmanager
def lock_at(target: Place, wait: timedelta, sleep: Callable[[timedelta], None]) -> Iterator[None]:
    """Hold the lock file beside the target; RefusedFileError `locked` when another holds it longer than `wait`."""
    name = _name(target)
    polls = wait // LOCK_POLL
    while (descriptor := _try_lock(target.directory, name)) is None:
        if polls <= 0:
            remedy = f"wait until it is done, or find it (fuser {name}) and end it"
            raise RefusedFileError("locked", "another process has locked it", remedy)
        polls -= 1
        sleep(LOCK_POLL)
    try:
        yield
    finally:
        with suppress(OSError):  # nothing was written, and the lock is released whatever close(2) answers
            os.close(descriptor)


def has_lock_file(path: str) -> bool:
    """Whether there is a lock file, locked or not."""
    with place(path) as target:
        return _is_there(target.directory, _name(target))


def remove_lock(path: str) -> None:
    """Remove the lock file beside `path`, unless another process holds the lock."""
    with place(path) as target:
        descriptor = _try_lock(target.directory, _name(target))
        if descriptor is not None:
            try:
                os.unlink(_name(target), dir_fd=target.directory)
            finally:
                os.close(descriptor)


def _name(target: Place) -> str:
    return f".{target.name}.rolekeeper-lock"


def _try_lock(directory: int, name: str) -> int | None:
    """The lock file, locked; None when another holds it."""
    while (descriptor := _lock_what_is_there(directory, name)) is not None:
        if _is_there(directory, name, descriptor):
            return descriptor
        os.close(descriptor)
    return None


def _is_there(directory: int, name: str, descriptor: int | None = None) -> bool:
    """Whether something has the name, and is the open file."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return descriptor is None or os.path.samestat(found, os.fstat(descriptor))


def _lock_what_is_there(directory: int, name: str) -> int | None:
    try:
        descriptor = os.open(name, _LOCK, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_LOCK:
            raise _unusable_lock(name) from error
        raise
    try:
        refuse_foreign_lock(descriptor, name)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def refuse_foreign_lock(descriptor: int, name: str) -> None:
    """A lock file is a regular file with one name; a file that another user linked to this name is not one."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise _unusable_lock(name)


def _unusable_lock(name: str) -> RefusedFileError:
    return RefusedFileError("lock-unusable", f"{name} is not a lock file", f"remove {name} there")
