"""Where a file really is: an open directory and a name in it, found so that no other user can redirect what we write.

Root publishes in directories of other users. If it handed a whole path to the kernel, a user who owns one of the
directories on the way could replace it by a symlink at the right moment, and root would write where that user could
not. So a path is walked here, one open directory at a time: each name is looked up in the directory that is already
open, and what was opened cannot be exchanged any more. At the end there is an open directory and a last name, and
everything else (locks, temporary files, the rename) happens in that directory.

Symlinks are the difficult part, because administrators need them. A link, on the way or at the end, is followed only if
root or we own it, and only if no user but root, us and the file's owner can put names into the directories that lead to
it: a user who can could also move one of root's links there. The link is read through its own descriptor.

A missing directory is created 0700 under a random name, exclusively, and gets group, mode and owner before it gets its
own name. A user who may write in the parent could exchange it meanwhile for any directory of root's, even an empty one,
and would be given that. There, it is made inside another new directory: whichever that is by then, only what this very
call has made inside, where no other user can put names, is given away.

The walk remembers who may put names into the directories on the way (`Place.is_left_to`): a file found there may be any
file that such a user could move or link to that name.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from rolekeeper.values import NOTHING, Value

_ACL = "system.posix_acl_access"
_LABEL = "security.selinux"
_USER = "user."
_NO_ACL = (errno.ENODATA, errno.ENOTSUP)
_OTHERS_WRITE = 0o022  # the group's bit is that of an ACL's mask too
_MOST_LINKS = 40  # as in the kernel
_RENAME_NOREPLACE = 1  # linux/fs.h
_MOST_TRIES = 10  # to create a directory
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER = _WALK | os.O_DIRECTORY  # a directory asked for as such is mounted when it is to be (autofs)
_TEMPORARY = ".rolekeeper-new"  # the end of every temporary name
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # only such a descriptor can be flushed


class RefusedFileError(OSError):
    """We leave this file alone, although the kernel would let us."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        super().__init__(errno.EPERM, reason)
        self.code = code
        self.remedy = remedy


class Attributes(Value):
    """Mode, owner and group (None: as the kernel gives them to us), POSIX ACL (None: none), and what else is kept.

    `extended` are the SELinux label and the user's extended attributes, by name.
    """

    mode: int
    uid: int | None = None
    gid: int | None = None
    acl: bytes | None = None
    extended: Mapping[str, bytes] = NOTHING


class Place(Value):
    """A file's place: an open directory and a name in it, symlinks resolved. The file need not exist.

    `owners` are those of the directories on the way; `shared`: other users may write in one of them.
    """

    directory: int
    name: str
    owners: frozenset[int] = frozenset()
    shared: bool = False

    def is_left_to(self, *users: int) -> bool:
        """Whether nobody but root, us and `users` could have put the file there."""
        return not self.shared and self.owners <= {0, os.geteuid(), *users}


@contextmanager
def place(path: str, missing: Attributes | None = None, owner: int | None = None) -> Iterator[Place]:
    """Open the place of a file of the user `owner` (None: ours); create directories on the way only with `missing`."""
    walked, rest, on_the_way = _walk(path, 1, missing, owner)
    try:
        if not rest or rest[0] == "..":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        directory = os.open(".", _LIST, dir_fd=walked)
    finally:
        os.close(walked)
    try:
        here = os.fstat(directory)
        shared = bool(here.st_mode & _OTHERS_WRITE) or any(map(_lets_others_replace, on_the_way))
        yield Place(directory, rest[0], frozenset(one.st_uid for one in (*on_the_way, here)), shared)
    finally:
        os.close(directory)


def make_directories(path: str, attributes: Attributes) -> None:
    """Create the directory and its missing parents, each with these attributes; what exists stays as it is."""
    walked, _, _ = _walk(path, 0, attributes, None)
    os.close(walked)


def _lets_others_replace(directory: os.stat_result) -> bool:
    """Whether others may move what lies in it; with the sticky bit they may not."""
    return bool(directory.st_mode & _OTHERS_WRITE) and not directory.st_mode & stat.S_ISVTX


def _walk(
    path: str, keep: int, missing: Attributes | None, owner: int | None
) -> tuple[int, list[str], list[os.stat_result]]:
    """Walk all but the last `keep` names, and these too where they are symlinks.

    Returns the open directory at the end, the names that are left, and what was seen of each directory on the way.
    """
    at = os.open("/" if path.startswith("/") else ".", _ENTER)
    todo, links = _names(path), 0
    passed: list[os.stat_result] = []
    try:
        while todo:
            passed.append(os.fstat(at))
            target = _link_target(at, todo[0])
            if target is not None:
                _refuse_moved_link(todo[0], passed, owner)
                links = _counted(links, path)
                todo[:1] = _names(target)
                at = _moved(at, os.open("/" if target.startswith("/") else ".", _ENTER, dir_fd=at))
            elif len(todo) == keep:
                break
            else:
                at = _moved(at, _enter(at, todo.pop(0), missing))
    except BaseException:
        os.close(at)
        raise
    return at, todo, passed


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _counted(links: int, path: str) -> int:
    if links == _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return links + 1


def _moved(at: int, to: int) -> int:
    os.close(at)
    return to


def _link_target(at: int, name: str) -> str | None:
    """Where the symlink points to; None when the name is no symlink, or not there.

    What is no symlink now may be one in the next moment: whatever opens it later does not follow links.
    """
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            return None
        descriptor = os.open(name, _WALK, dir_fd=at)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid not in (0, os.geteuid()):
            raise _untrusted_link(name, f"belongs to user {status.st_uid}", "make the link belong to root")
        return os.readlink("", dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _refuse_moved_link(name: str, passed: list[os.stat_result], owner: int | None) -> None:
    """Refuse a link if another user could have moved it here, or could exchange one of the directories before it."""
    for directory in passed:
        if directory.st_uid not in (0, os.geteuid(), owner) or _lets_others_replace(directory):
            raise _untrusted_link(name, "others may have put there", "let none but root write in its directories")


def _untrusted_link(name: str, why: str, remedy: str) -> RefusedFileError:
    reason = f"its path holds a symlink, {name}, that {why}"
    return RefusedFileError("untrusted-symlink", reason, f"name the real path, or {remedy}")


def _enter(at: int, name: str, missing: Attributes | None) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=at)
    except FileNotFoundError:
        if missing is None:
            raise
    _create(at, name, missing)
    return os.open(name, _ENTER, dir_fd=at)


def temporary_name(name: str) -> str:
    """An unpredictable new name beside `name`; see `temporary_names` for what a crash leaves behind."""
    return f".{name}.{os.urandom(8).hex()}{_TEMPORARY}"


def temporary_names(at: int, name: str) -> list[str]:
    """The temporary names for `name` that exist in the directory `at`."""
    return [found for found in os.listdir(at) if found.startswith(f".{name}.") and found.endswith(_TEMPORARY)]


def _create(at: int, name: str, attributes: Attributes) -> None:
    """Create a directory that has its attributes before it has its name, so that one that is found is complete.

    A directory that a killed process left incomplete is removed. A concurrent process may be making it: that process
    then tries again, unless the directory is there by now.
    """
    directory = os.open(".", _LIST, dir_fd=at)
    try:
        for incomplete in temporary_names(directory, name):
            with suppress(OSError), _entered(at, incomplete) as outer:
                os.rmdir(incomplete, dir_fd=outer)
            with suppress(OSError):  # rmdir removes nothing but empty directories
                os.rmdir(incomplete, dir_fd=at)
        for _ in range(_MOST_TRIES):
            if _is_there(at, name):
                break
            with suppress(FileNotFoundError):
                _try_create(at, name, attributes)
        _fsync_directory(directory)
    finally:
        os.close(directory)


def _try_create(at: int, name: str, attributes: Attributes) -> None:
    """Create it once; FileNotFoundError when a concurrent process removed it incomplete."""
    new = temporary_name(name)
    try:
        if _is_ours_alone(os.fstat(at)):
            _make(at, new, at, name, attributes)
            return
        os.mkdir(new, 0o700, dir_fd=at)
        try:
            with _entered(at, new) as outer:
                _make(outer, new, at, name, attributes)
        finally:
            with suppress(OSError):
                os.rmdir(new, dir_fd=at)
    except OSError:
        if not _is_there(at, name):  # else another process was first
            raise


def _is_ours_alone(directory: os.stat_result) -> bool:
    """Whether nobody but root and us can exchange what we make there."""
    return directory.st_uid in (0, os.geteuid()) and not _lets_others_replace(directory)


def _make(outer: int, new: str, at: int, name: str, attributes: Attributes) -> None:
    """Make the directory `new` in `outer`, give it its attributes, and move it to its own name."""
    os.mkdir(new, 0o700, dir_fd=outer)
    try:
        _dress(outer, new, attributes)
        _rename_to_free_name(outer, new, at, name)
    except BaseException:
        with suppress(OSError):
            os.rmdir(new, dir_fd=outer)
        raise


@contextmanager
def _entered(at: int, new: str) -> Iterator[int]:
    """A directory in which nobody but us can put names; it need not be the one that we made under this name."""
    outer = os.open(new, _LIST, dir_fd=at)
    try:
        status = os.fstat(outer)
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
            remedy = "see who may write in the directory above it"
            raise RefusedFileError("foreign-directory", "another user put a directory in the place of ours", remedy)
        yield outer
    finally:
        os.close(outer)


def _rename_to_free_name(old_at: int, old: str, at: int, new: str) -> None:
    """Rename a directory unless the name is taken: rename(2) would replace an empty one that a reader has open."""
    import ctypes  # noqa: PLC0415 - directories are seldom created, and it takes a while to load

    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    if renameat2(old_at, os.fsencode(old), at, os.fsencode(new), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        if number != errno.EINVAL:  # a file system that does not know the flag, such as some FUSE
            raise OSError(number, os.strerror(number), new)
        os.rename(old, new, src_dir_fd=old_at, dst_dir_fd=at)


def _dress(outer: int, new: str, attributes: Attributes) -> None:
    """Give the directory that was just created its attributes, durably."""
    directory = os.open(new, _LIST, dir_fd=outer)
    try:
        apply_attributes(directory, attributes)
        _fsync_directory(directory)
    finally:
        os.close(directory)


def _is_there(at: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def flush_directory(at: int) -> None:
    """Flush a directory's names to disk; `at` may be any descriptor of it."""
    directory = os.open(".", _LIST, dir_fd=at)
    try:
        _fsync_directory(directory)
    finally:
        os.close(directory)


def _fsync_directory(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system (9p, some FUSE) that cannot flush directories
            raise


def apply_attributes(descriptor: int, attributes: Attributes) -> None:
    """Group, ACL, mode and extended attributes first, the owner last: after that, they would take CAP_FOWNER.

    The ACL before the mode: without it, the mode's middle bits, which are its mask, would let the whole group in.
    Without an ACL in `attributes`, one that a new file inherited from its directory's default is removed: the mode
    decides.
    """
    status = os.fstat(descriptor)
    if attributes.gid not in (None, status.st_gid):
        os.fchown(descriptor, -1, attributes.gid)
    _remove_acl(descriptor)
    if attributes.acl is not None:
        os.setxattr(descriptor, _ACL, attributes.acl)
    os.fchmod(descriptor, attributes.mode)
    for name, value in attributes.extended.items():
        _set_extended(descriptor, name, value)
    if attributes.uid not in (None, status.st_uid):
        os.fchown(descriptor, attributes.uid, -1)


def _set_extended(descriptor: int, name: str, value: bytes) -> None:
    """Set it; the SELinux label only where the policy lets us, because a new file has a label of its own already."""
    try:
        os.setxattr(descriptor, name, value)
    except OSError:
        if name != _LABEL:
            raise


def _remove_acl(descriptor: int) -> None:
    try:
        os.removexattr(descriptor, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise


def read_attributes(descriptor: int) -> Attributes:
    """The attributes of an open file."""
    status = os.fstat(descriptor)
    names = _extended_names(descriptor)
    found = {name: _extended(descriptor, name) for name in names if name in (_ACL, _LABEL) or name.startswith(_USER)}
    present = {name: value for name, value in found.items() if value is not None}
    acl = present.pop(_ACL, None)
    return Attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, acl, present)


def _extended_names(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return []


def _extended(descriptor: int, name: str) -> bytes | None:
    try:
        return os.getxattr(descriptor, name)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return None
