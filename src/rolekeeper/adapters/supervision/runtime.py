"""The runtime directory: `lock`, held by the running daemon and naming its pid; status.json and lifetime.json for all.

- The lock is one of the open file description (fcntl(2), F_OFD_SETLK): whether somebody holds it can be asked without
  taking it, so that a command that looks never keeps a daemon from starting, for however long it is not scheduled.
- Another daemon that holds it is the one reason not to run. A directory that is full, read-only or failing is none:
  credentials matter more than to be seen, and vault and outputs have locks of their own, so that two daemons which
  cannot see each other cost requests and nothing else. What could not be done is done with the next status; then one of
  two ends.
- Who does not hold the lock writes nothing else here: it may be another's.
- The pid is for messages and signals; without it commands find no daemon. One that a dead daemon left goes before the
  lock is ours, and one that was not written to its end is none: a stranger would be sent the signal.
"""

import fcntl
import json
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress

from rolekeeper.adapters import vault
from rolekeeper.adapters.files.lock import refuse_foreign_lock
from rolekeeper.adapters.files.paths import Attributes, make_directories
from rolekeeper.adapters.files.replace import describe, read_file, replace_file
from rolekeeper.adapters.supervision import lifetimes
from rolekeeper.core.jsonvalues import to_json
from rolekeeper.core.loop import status
from rolekeeper.errors import HardwareError, InputOutputError, UnavailableError
from rolekeeper.model import Lifetime

LOCK = "lock"
STATUS = "status.json"
_OPEN = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length (0: all of it), pid


class FileRuntimeDirectory:
    """The daemon's side; the directory is known once the configuration was read, `boot_id` is the clock's."""

    def __init__(self, pid: int, boot_id: Callable[[], str]) -> None:
        self._pid = pid
        self._boot_id = boot_id
        self._lifetimes = b""  # as they stand in lifetime.json
        self._directory = ""
        self._lock = -1  # held until the process ends

    def claim(self, directory: str) -> None:
        """Create the directory (0755) when it is missing, take the lock in it (0600) and write our pid there.

        InputOutputError when not all of it can be done; the next status does what is left.
        """
        self._directory = directory
        path = f"{directory}/{LOCK}"
        if not self._holds(path):
            self._take(path)
        line = f"{self._pid}\n".encode()
        try:
            if os.pread(self._lock, len(line), 0) != line:
                os.pwrite(self._lock, line, 0)
        except OSError as error:
            raise _cannot("write", path, error) from error

    def _holds(self, path: str) -> bool:
        """Whether we hold the lock that others find there: it may have been taken away with its directory."""
        try:
            return self._lock >= 0 and os.path.samestat(os.lstat(path), os.fstat(self._lock))
        except FileNotFoundError:
            return False
        except OSError:  # nobody else finds it either
            return True

    def _take(self, path: str) -> None:
        before, self._lock, self._lifetimes = self._lock, -1, b""
        try:
            if before >= 0:
                os.close(before)
            make_directories(self._directory, Attributes(0o755))
            self._lock = _locked(path)
        except OSError as error:
            pid = self._other()  # None for one that has not told it yet
            if pid is None and not isinstance(error, BlockingIOError):
                raise _cannot("use the runtime directory", self._directory, error) from error
            who = f"a daemon with pid {pid}" if pid else "another daemon"
            raise UnavailableError(
                "daemon-running",
                f"Cannot run: {who} holds {path}",
                "stop it first, or give this one another `[daemon] runtime_directory`",
            ) from error

    def _other(self) -> int | None:
        with suppress(InputOutputError):
            return holder(self._directory)
        return None

    def write_status(self, document: status.Document, life: Lifetime | None) -> None:
        """Replace status.json, whole, and lifetime.json before it when that has changed (both 0644), under our lock."""
        self.claim(self._directory)
        with suppress(HardwareError):  # nobody says which boot this is; readers go by status.json
            told = lifetimes.encoded(lifetimes.of_daemon(self._pid, self._boot_id(), life))
            if told != self._lifetimes:
                self._replace(lifetimes.NAME, told)
                self._lifetimes = told
        self._replace(STATUS, to_json(document))

    def _replace(self, name: str, data: bytes) -> None:
        path = f"{self._directory}/{name}"
        try:
            replace_file(path, data, Attributes(0o644), durable=False)
        except OSError as error:
            raise _cannot("write", path, error) from error


def _locked(path: str) -> int:
    """Open the lock file and take the lock; BlockingIOError when another holds it. Nothing is in the file then."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _OPEN, 0o600)
    try:
        refuse_foreign_lock(descriptor, LOCK)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        os.truncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class StatWatch:
    """Whether the vault has changed, seen by a stat of its file and one of its directory.

    `cp` writes into the file that is there, `cp -p`, `cp -a` and `tar` set its old times afterwards, `mv` and most
    editors put another file in its place. The time of the inode's change tells in all these cases; size and time of
    modification tell where a file system has no such time. A directory that is mounted, moved or given other modes
    counts as a change, too: the vault may be readable again.
    """

    def look(self, directory: str) -> object:
        """A value that differs after a change; also when there is no vault."""
        return _marks(f"{directory}/{vault.FILE}"), _marks(directory)


def _marks(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size, found.st_mtime_ns


def holder(directory: str) -> int | None:
    """The pid of the running daemon; None when no daemon holds the lock.

    Raises InputOutputError when that cannot be found out, for instance by somebody who may not read the lock.
    """
    path = f"{directory}/{LOCK}"
    try:
        descriptor = os.open(path, os.O_RDONLY | _OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from error
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_RDLCK))
        if _FLOCK.unpack(found)[0] == fcntl.F_UNLCK:
            return None
        pid, end, _ = os.pread(descriptor, 32, 0).partition(b"\n")
        return int(pid) or None if end and pid.isdigit() else None
    except OSError as error:
        raise _cannot("read", path, error) from error
    finally:
        os.close(descriptor)


def _whole_file(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def send(directory: str, number: signal.Signals) -> bool:
    """Send a signal to the running daemon; False when there is none. UnavailableError when the system refuses.

    The lock is looked at again once the pid is pinned by a descriptor: a pid that was left behind hits no stranger.
    """
    pid = holder(directory)
    if pid is None:
        return False
    try:
        pinned = os.pidfd_open(pid)
        try:
            if holder(directory) != pid:
                return False
            signal.pidfd_send_signal(pinned, number)
        finally:
            os.close(pinned)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise UnavailableError(
            "daemon-not-told",
            f"Cannot signal the daemon with pid {pid}: {error.strerror}",
            "run this as the daemon's user, or as root with CAP_KILL",
        ) from error
    return True


def read_status(directory: str) -> status.Document | None:
    """What status.json says; None when there is none."""
    path = f"{directory}/{STATUS}"
    try:
        data = read_file(path)
        return status.read(json.loads(data)) if data is not None else None
    except (OSError, ValueError, RecursionError) as error:
        raise _cannot("read", path, error) from error


def _cannot(what: str, path: str, error: Exception) -> InputOutputError:
    if not isinstance(error, OSError):
        return InputOutputError("status-unreadable", f"Cannot {what} {path}: {error}", "restart the daemon")
    code, remedy = describe(error)
    return InputOutputError(code, f"Cannot {what} {path}: {error.strerror}", remedy)
