"""The runtime directory: `lock`, held by the running daemon, with its pid; `alive`; status.json; metrics.prom.

- The lock belongs to the open file description (fcntl(2), F_OFD_SETLK): whether a daemon holds it can be asked without
  taking it, so a command that looks never keeps a daemon from starting.
- `alive` is a listening unix socket that never accepts. A connection is refused once the daemon has ended, so any user
  sees without /proc whether it lives, and gets nothing that could keep the next daemon out.
- Another daemon that holds the lock is the only reason not to run. If the directory is full, read-only or failing, the
  daemon runs without it: credentials matter more than being seen, and vault and outputs have locks of their own, so two
  daemons that cannot see each other cost requests and nothing else. The lock is tried again with each status; then one
  of the two ends.
- Without the lock, nothing else is written here: the directory may belong to another daemon.
- The pid is for messages and signals. A stale pid is truncated as soon as we hold the lock, and a pid without its
  newline is ignored, so that no command ever signals an unrelated process.
- A daemon that executes itself anew keeps lock and socket: it passes their descriptors on.
"""

import _socket  # socket itself makes an enum of each family of constants, a third of a bare start
import fcntl
import json
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from rolekeeper.adapters import vault
from rolekeeper.adapters.files.lock import refuse_foreign_lock
from rolekeeper.adapters.files.paths import Attributes, make_directories
from rolekeeper.adapters.files.replace import describe, read_file, replace_file, translated
from rolekeeper.core.jsonvalues import to_json
from rolekeeper.core.loop import status
from rolekeeper.errors import InputOutputError, UnavailableError

ALIVE = "alive"
LOCK = "lock"
STATUS = "status.json"
SUDO = "run this as the daemon's user, or with sudo"
METRICS = "metrics.prom"
_LONGEST_ADDRESS = 107  # bytes, unix(7)
_OPEN = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length (0: all of it), pid


class FileRuntimeDirectory:
    """The daemon's side; the directory is known once the configuration was read.

    `inherited` are the descriptors of lock and socket that this process held before it executed itself anew.
    """

    def __init__(self, pid: int, inherited: tuple[int, int] | None = None) -> None:
        self._pid = pid
        self._directory = ""
        self._lock, self._alive = inherited or (-1, -1)  # held until the process ends

    @property
    def held(self) -> tuple[int, int]:
        """The descriptors of lock and socket, to be inherited; -1 for one that is not held."""
        return self._lock, self._alive

    def claim(self, directory: str) -> None:
        """Create the directory (0755) when it is missing, take the lock (0600), write our pid there, and listen.

        InputOutputError when not all of it can be done; the next status does what is left.
        """
        self._directory = directory
        path = f"{directory}/{LOCK}"
        if not self._holds(path):
            self._take(path)
        line = f"{self._pid}\n".encode()
        with translated(InputOutputError, f"use {path}"):
            if os.pread(self._lock, len(line), 0) != line:
                os.pwrite(self._lock, line, 0)
            if self._alive < 0:
                self._alive = _listening(directory)

    def _holds(self, path: str) -> bool:
        """Whether we hold the lock that others find there: it may have been deleted with its directory."""
        try:
            return self._lock >= 0 and os.path.samestat(os.lstat(path), os.fstat(self._lock))
        except FileNotFoundError:
            return False
        except OSError:  # no other process finds it either
            return True

    def _take(self, path: str) -> None:
        before, self._lock, self._alive = (self._lock, self._alive), -1, -1
        try:
            for descriptor in before:
                if descriptor >= 0:
                    os.close(descriptor)
            make_directories(self._directory, Attributes(0o755))
            self._lock = _locked(path)
        except OSError as error:
            pid = self._other()  # None before it has written it
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

    def write_status(self, new: status.Status) -> None:
        """Replace status.json (0644), whole, under our lock."""
        self._replace(STATUS, to_json(new))

    def write_metrics(self, text: str) -> None:
        """Replace metrics.prom (0644), whole, under our lock."""
        self._replace(METRICS, text.encode())

    def _replace(self, name: str, data: bytes) -> None:
        self.claim(self._directory)
        path = f"{self._directory}/{name}"
        with translated(InputOutputError, f"write {path}"):
            replace_file(path, data, Attributes(0o644), durable=False)


def _listening(directory: str) -> int:
    """The descriptor of a new socket `alive`, to which every user may connect; it replaces that of a dead daemon."""
    with _short_path(directory) as path, _unix_socket() as listener:
        with suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - to connect takes write permission, and gives nothing else
        listener.listen()
        return listener.detach()


def _unix_socket() -> "closing[_socket.socket]":
    return closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM))


@contextmanager
def _short_path(directory: str) -> Iterator[str]:
    """The socket's path, without /proc if it is short enough for unix(7), however long the directory's own is."""
    plain = f"{directory}/{ALIVE}"
    if len(os.fsencode(plain)) <= _LONGEST_ADDRESS:
        yield plain
        return
    at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{at}/{ALIVE}"
    finally:
        os.close(at)


def living(directory: str) -> int | None:
    """The pid of the running daemon, 0 when it cannot be seen from here; None when no daemon runs.

    Any user may ask. Raises InputOutputError when that cannot be found out.
    """
    try:
        with _short_path(directory) as path, _unix_socket() as connection:
            connection.settimeout(0)
            connection.connect(path)
            pid, _, _ = _PEER.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PEER.size))
            return int(pid)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except BlockingIOError:  # many have asked: it lives
        return 0
    except OSError as error:
        raise _cannot("connect to", f"{directory}/{ALIVE}", error) from error


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
    editors put another file in its place. The time of the inode's change shows all these cases; size and time of
    modification are for file systems without such a time. A directory that is mounted, moved or given other modes
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

    Raises InputOutputError when that is unknown, for instance because this user may not read the lock.
    """
    path = f"{directory}/{LOCK}"
    try:
        descriptor = os.open(path, os.O_RDONLY | _OPEN)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        code, _ = describe(error)
        raise InputOutputError(code, f"Cannot read {path}: {error.strerror}", SUDO) from error
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

    The lock is checked again once a descriptor pins the pid, so that a stale pid never hits an unrelated process.
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
            SUDO,
        ) from error
    return True


def read_status(directory: str) -> status.Status | None:
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
