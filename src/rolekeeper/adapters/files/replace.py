"""The only place that replaces files: whole or not at all, whatever is killed and whatever disk is full.

A reader who opens a file by its name must find the old content or the new, complete, at every instant. rename(2) gives
that for the name; the rest of this module makes sure that what takes the name deserves it. In reading order:

1. The old file is read, if it is a regular file of a bounded size, without ever waiting (no FIFO, no device).
2. The new content goes to a temporary file beside it, 0600 from its first instant, under a random name and exclusively
   created, so that no other user can put something in its way. What was written is read back and can be checked.
3. It gets group, mode, ACL, other attributes and owner, and is flushed to disk. Until now, nothing has changed for a
   reader, and on any error the temporary file goes away.
4. It takes the target's name (`Staged.commit`). Where other users may write, the file of that name can be exchanged on
   the way: then the new file is not reported as written.
5. The directory is flushed, so that a power failure does not bring the old file back.

The next writer removes what a crash left behind, so writers that share a target hold its lock (lock.py). Symlinks are
resolved as in paths.py: the link stays, its target is replaced. Libraries for atomic writes cover neither owner, ACL,
the directory's flush nor open directories; hence our own.

OSErrors leave this module as they are; `translated` turns them into rolekeeper's errors, with the code and the remedy
that `describe` has for them.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rolekeeper.adapters.files.paths import (
    Attributes,
    Place,
    RefusedFileError,
    apply_attributes,
    flush_directory,
    place,
    read_attributes,
    temporary_name,
    temporary_names,
)
from rolekeeper.errors import InputOutputError
from rolekeeper.values import Value

LIMIT_BYTES = 1024 * 1024

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DISTANT = ("nfs4", "cifs", "smb3")  # they refuse leases even when no process writes

_REMEDIES = {
    errno.ENOSPC: ("no-space", "free some space on that file system"),
    errno.EDQUOT: ("quota-exceeded", "raise the owner's quota, or free some of it"),
    errno.EFBIG: ("file-size-limit", "raise the limit on file sizes (ulimit -f, LimitFSIZE=)"),
    errno.EROFS: (
        "read-only",
        "mount that file system for writing; under systemd, allow the directory with ReadWritePaths= in a drop-in",
    ),
    errno.EACCES: (
        "permission-denied",
        "run this with sudo, or let the user that runs rolekeeper write there; under systemd, the sandbox may hide it",
    ),
    errno.EPERM: (
        "not-permitted",
        "look for an immutable file (lsattr), and check whether rolekeeper may give files to that owner and group",
    ),
    errno.EBUSY: (
        "mounted-file",
        "the file is a mount of its own (a container's bind mount): mount the directory that holds it instead",
    ),
    errno.EMFILE: ("too-many-open-files", "raise the limit on open files (ulimit -n, LimitNOFILE=)"),
    errno.ENFILE: ("too-many-open-files", "raise the system's limit on open files (sysctl fs.file-max)"),
    errno.EIO: ("disk-error", "see the kernel's log: the disk or its file system is failing"),
    errno.ENOENT: ("no-such-directory", "create the directory that is to hold the file"),
    errno.ENOTDIR: ("no-such-directory", "one of the directories in the path is a file: correct the path"),
    errno.EISDIR: ("not-a-file", "name a file, not a directory"),
    errno.ELOOP: ("symlink-loop", "the symlinks in the path lead in a circle: correct them"),
    errno.ENAMETOOLONG: ("name-too-long", "choose a name of at most 200 bytes: our temporary file's is longer"),
}
_UNKNOWN = ("file-error", "see the kernel's log, and try again")


def describe(error: OSError) -> tuple[str, str]:
    """A kebab-case code for the error, and what to do about it."""
    if isinstance(error, RefusedFileError):
        return error.code, error.remedy
    return _REMEDIES.get(error.errno or 0, _UNKNOWN)


@contextmanager
def translated(kind: type[InputOutputError], action: str, prefix: str = "") -> Iterator[None]:
    """Raise `kind` for an OSError: "Cannot `action`", with the code after `prefix`, and the remedy."""
    try:
        yield
    except OSError as error:
        code, remedy = describe(error)
        raise kind(f"{prefix}{code}", f"Cannot {action}: {error.strerror}", remedy) from error


class Contents(Value):
    """A file at one moment: its bytes, its attributes, and how many names it has.

    `is_written`: another process has it open for writing; None when the kernel cannot tell.
    """

    data: bytes
    attributes: Attributes
    links: int = 1
    is_written: bool | None = None


def read_file(path: str, limit_bytes: int = LIMIT_BYTES, owner: int | None = None) -> bytes | None:
    """The bytes of a file of `owner` (see `place`); None when it, or the directory it would be in, does not exist."""
    try:
        with place(path, owner=owner) as target:
            contents = read_at(target, limit_bytes)
    except FileNotFoundError:
        return None
    return contents.data if contents else None


def read_at(target: Place, limit_bytes: int = LIMIT_BYTES) -> Contents | None:
    """The file at this moment; None when it does not exist."""
    if not _exists(target):
        return None
    try:
        descriptor = os.open(target.name, _READ, dir_fd=target.directory)
    except FileNotFoundError:  # removed just now
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _refuse_special(status)
        is_written = _is_being_written(descriptor, target.directory)
        data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            remedy = "publish to a file of its own, or remove what the file no longer needs"
            raise RefusedFileError("file-too-large", f"it holds more than {limit_bytes} bytes", remedy)
        if is_written is False and not _is_lease_held(descriptor):
            is_written = True  # since then
        return Contents(data, read_attributes(descriptor), status.st_nlink, is_written)


def is_mounted(target: Place) -> bool:
    """Whether the file is a mount of its own, as a container's bind mount of one file is: it cannot be renamed over."""
    try:
        descriptor = os.open(target.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target.directory)
    except FileNotFoundError:
        return False
    try:
        return _mount(descriptor) != _mount(target.directory)
    finally:
        os.close(descriptor)


def _is_being_written(descriptor: int, directory: int) -> bool | None:
    """Whether another process has the file open for writing; None when the kernel cannot tell.

    It grants no read lease (fcntl(2), F_SETLEASE) on such a file. Our lease ends with its descriptor. On the file of
    another user a lease takes CAP_LEASE, and some file systems have none, or only what their server grants.
    """
    try:
        # A process that opens the file now makes the kernel send us a signal: SIGIO would kill, this one is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return None if _file_system(directory) in _DISTANT else True
    except OSError:
        return None
    return False


def _is_lease_held(descriptor: int) -> bool:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK
    except OSError:
        return False


def _exists(target: Place) -> bool:
    try:
        status = os.stat(target.name, dir_fd=target.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    _refuse_special(status)
    return True


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFileError("not-a-file", "it is not a regular file", "correct the path, or move it away")


def replace_file(
    path: str, data: bytes, attributes: Attributes, *, missing: Attributes | None = None, durable: bool = True
) -> None:
    """Make the file hold `data`; when not `durable`, a power failure (but no crash) may undo it.

    With `missing`, directories on the way are created with these attributes.
    """
    with place(path, missing) as target, staged(target, data, attributes, durable=durable) as new:
        new.commit()


def remove_file(path: str) -> None:
    """Remove the file, durably; neither it nor its directory need exist."""
    with suppress(FileNotFoundError), place(path) as target:
        os.unlink(target.name, dir_fd=target.directory)
        flush_directory(target.directory)


class Staged:
    """Content that waits under the name `temporary` beside its target, complete and flushed, to take its name."""

    def __init__(self, target: Place, temporary: str, descriptor: int, *, durable: bool) -> None:
        self.target = target
        self.temporary = temporary
        self.descriptor = descriptor
        self.durable = durable
        self.committed = False

    def commit(self) -> None:
        """Take the target's name; RefusedFileError `file-replaced` when another file has it then, or none."""
        at = self.target.directory
        try:
            os.rename(self.temporary, self.target.name, src_dir_fd=at, dst_dir_fd=at)
            self.committed = True
            found = os.stat(self.target.name, dir_fd=at, follow_symlinks=False)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _replaced() from error
        if not os.path.samestat(found, os.fstat(self.descriptor)):
            raise _replaced()
        if self.durable:
            flush_directory(at)


@contextmanager
def staged(
    target: Place,
    data: bytes,
    attributes: Attributes,
    *,
    check: Callable[[bytes], None] | None = None,
    durable: bool = True,
) -> Iterator[Staged]:
    """Write `data` to the temporary file; it goes away again unless it is committed.

    `check` is called with what was written, as it is read back, while the file still belongs to us.
    """
    _exists(target)  # and is replaceable
    remove_leftovers(target)
    temporary = temporary_name(target.name)
    descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=target.directory)
    new = Staged(target, temporary, descriptor, durable=durable)
    try:
        _write(descriptor, data)
        if check:
            check(_read_back(descriptor, data))
        apply_attributes(descriptor, attributes)
        if durable:
            os.fsync(descriptor)
        yield new
    finally:
        os.close(descriptor)
        if not new.committed:
            # Where other users may write, it need not be there any more, nor be ours.
            with suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(temporary, dir_fd=target.directory)


def _read_back(descriptor: int, data: bytes) -> bytes:
    found = os.pread(descriptor, len(data) + 1, 0)
    if found != data:
        raise OSError(errno.EIO, "what was written cannot be read back")
    return found


def _replaced() -> RefusedFileError:
    remedy = "check who may write in that directory, and whether another program cleans it up"
    return RefusedFileError("file-replaced", "another user exchanged or removed the new file", remedy)


def remove_leftovers(target: Place) -> None:
    """Remove the temporary files of this target that a crash left behind; its lock must be held."""
    for leftover in temporary_names(target.directory, target.name):
        with suppress(FileNotFoundError, IsADirectoryError):  # a directory of such a name disturbs nothing
            os.unlink(leftover, dir_fd=target.directory)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _mount(descriptor: int) -> str:
    """The number of the mount that it is in; empty where there is no /proc to tell."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as info:
            return next(line for line in info if line.startswith("mnt_id:")).split()[1]
    except FileNotFoundError:
        return ""


def _file_system(descriptor: int) -> str:
    """The type of the file system, such as ext4; empty when it is mounted out of our sight, as in a chroot."""
    number = _mount(descriptor)
    if not number:
        return ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        mount = next((line for line in mounts if line.startswith(f"{number} ")), "")
    return mount.partition(" - ")[2].partition(" ")[0]
