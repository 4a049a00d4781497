"""How a file of any format is published: what is the same for all of them (design promises 1, 2 and 4).

A publication reads the old file, has its format make the new text of it, writes that beside the old file, and lets it
take the name. The rules, in order:
- the directory is found, and created when it is missing, with the output's owner and group; a lock beside the file
  keeps rolekeeper's other processes out;
- the file is read while no process has it open for writing: SSM Agent rewrites it in place, so what is there meanwhile
  is not the whole file. While a process keeps it open, nothing is published;
- an existing file keeps its SELinux label and user attributes, and what is not configured of mode, ACL and group. It
  keeps them only if it has the output's owner and no other user may write in the directories on its path: that user
  could have put it there, with attributes that let the user read;
- if another user may write there, nothing in the file but our own keys is shown to a user who could not read it
  before: it may be another file of root's, moved or linked to that name;
- the format compares what was written, as it lies on the disk, with the old file and the credentials;
- the old file is read again: if another program has changed it meanwhile, all starts over, so that no change is lost;
- only then does the new file take the name.
`look` does all of this with credentials of its own making, except for the last two steps.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from os import getegid, geteuid, strerror
from typing import Protocol

from rolekeeper.adapters.files.lock import lock_at
from rolekeeper.adapters.files.paths import Attributes, Place, RefusedFileError, place
from rolekeeper.adapters.files.replace import Contents, Staged, describe, is_mounted, read_at, staged
from rolekeeper.adapters.outputs import accounts, sandbox
from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile
from rolekeeper.values import Value

SAMPLE = RoleToken(  # as large as role tokens come
    "ASIA" + "0" * 16, "0" * 40, "0" * 4096, datetime(2000, 1, 1, tzinfo=UTC)
)
LARGEST_FILE = 4 * 1024 * 1024  # bytes
_MOST_TRIES = 5
_NAP = timedelta(milliseconds=100)  # while another program writes the file in place
_LONGEST_NAPS = timedelta(seconds=2)
_GROUP_READS, _OTHERS_READ = 0o040, 0o004


class Format(Protocol):
    """What a format makes of one output and one token. Methods raise OutputError."""

    def edited(self, old: bytes) -> bytes:
        """The new file's bytes, from those of the old one."""

    def holds_only_ours(self, old: bytes) -> bool:
        """Whether the old file holds nothing but what rolekeeper publishes for this output."""

    def check(self, old: bytes, written: bytes) -> None:
        """Read what was written as SDKs will; raises unless it is the old file with the token in it."""


class SeenFile(Value):
    """What a file holds, and why it cannot be published to, if so; `data` None: it cannot be read."""

    data: bytes | None
    problem: OutputError | None = None
    links: int = 1  # names that the file has


class PublishedFiles:
    """Publishes into files; `sleep` is the clock's, `unit` the systemd unit that we run in, if any."""

    def __init__(self, sleep: Callable[[timedelta], None], unit: str | None = None) -> None:
        self._sleep = sleep
        self._unit = unit

    def look(self, output: CredentialsFile, content: Format, longest: timedelta) -> SeenFile:
        """What the file holds, and whether `publish` would succeed.

        A missing directory is created, the file is left as it is.
        """
        old: Contents | None = None
        try:
            with self._opened(output, longest) as target:
                old = self._settled(target, longest)
                if is_mounted(target):
                    raise OSError(errno.EBUSY, strerror(errno.EBUSY))  # as the kernel would
                with _staged(target, output, content, old):
                    """Everything that can be tried was tried."""
        except OutputError as error:
            return self._unwritable(output, old, error)
        return SeenFile(old.data, links=old.links) if old else SeenFile(b"")

    def publish(self, output: CredentialsFile, content: Format, longest: timedelta) -> None:
        """Make the file hold what `content` says, whole or not at all."""
        with self._opened(output, longest) as target:
            for _ in range(_MOST_TRIES):
                if self._try_publish(target, output, content, longest):
                    return
        hint = "find the program that keeps writing it, or publish to a file of its own"
        raise OutputError("file-keeps-changing", f"Cannot publish to {output.path}: others keep changing it", hint)

    def _unwritable(self, output: CredentialsFile, old: Contents | None, error: OutputError) -> SeenFile:
        """What can be seen of a file that cannot be written; a file or directory that is missing holds nothing."""
        try:
            found = old or self._read(output)
        except OutputError:
            return SeenFile(None, error)
        return SeenFile(found.data, error, found.links) if found else SeenFile(b"", error)

    def read(self, output: CredentialsFile) -> bytes | None:
        """What the file holds now; None when there is none."""
        found = self._read(output)
        return found.data if found else None

    def _read(self, output: CredentialsFile) -> Contents | None:
        with self._translated(output):
            try:
                with place(output.path, owner=_owner(output)) as target:
                    return read_at(target, LARGEST_FILE)
            except FileNotFoundError:
                return None

    @contextmanager
    def _translated(self, output: CredentialsFile) -> Iterator[None]:
        """Turn an OSError into an OutputError, with the drop-in that opens the unit's sandbox if that is in the way."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EINVAL:
                accounts.refuse_unmapped(_owner(output), _group(output), output.path)
            code, remedy = describe(error)
            if self._unit is not None:
                remedy = sandbox.remedy(self._unit, output.path, _owner(output), error) or remedy
            raise OutputError(code, f"Cannot publish to {output.path}: {error.strerror}", remedy) from error

    def _try_publish(self, target: Place, output: CredentialsFile, content: Format, longest: timedelta) -> bool:
        """Publish once; False when another program changed the file meanwhile."""
        old = self._settled(target, longest)
        with _staged(target, output, content, old) as new:
            if self._settled(target, longest) != old:
                return False
            new.commit()
        return True

    def _settled(self, target: Place, longest: timedelta) -> Contents | None:
        """The file while no process writes it; where the kernel cannot tell, once a nap has not changed it."""
        before: Contents | None = None
        for _ in range(max(2, min(longest, _LONGEST_NAPS) // _NAP)):
            found = read_at(target, LARGEST_FILE)
            if found is None or found.is_written is False or (found.is_written is None and found == before):
                return found
            before = None if found.is_written else found
            self._sleep(_NAP)
        remedy = "find the program that keeps it open (fuser, lsof), and end it or publish to a file of its own"
        raise RefusedFileError("file-being-written", "another program is writing it", remedy)

    @contextmanager
    def _opened(self, output: CredentialsFile, longest: timedelta) -> Iterator[Place]:
        """The file's place, with its lock held."""
        uid, gid = _owner(output), _group(output)
        missing = Attributes(_directory_mode(output.mode), uid, getegid() if gid is None else gid)
        with (
            self._translated(output),
            place(output.path, missing, uid) as target,
            lock_at(target, longest / 2, self._sleep),
        ):
            yield target


@contextmanager
def _staged(target: Place, output: CredentialsFile, content: Format, old: Contents | None) -> Iterator[Staged]:
    before = old.data if old else b""
    edited = content.edited(before)
    attributes = _attributes(output, old, target)
    if old and not target.is_left_to() and _shows(old.attributes, attributes):
        _refuse_all_but_ours(before, output, content)
    with staged(target, edited, attributes, check=lambda written: content.check(before, written)) as new:
        yield new


def _shows(old: Attributes, new: Attributes) -> bool:
    """Whether a user could read the new file who could not read the old one."""
    if old == new or old.mode & _OTHERS_READ:
        return False
    to_the_same_group = old.mode & _GROUP_READS and old.acl is None and old.gid == new.gid
    to_a_group = new.mode & _GROUP_READS and not to_the_same_group
    to_a_user = new.uid not in (0, geteuid(), old.uid)
    return bool(new.mode & _OTHERS_READ or to_a_group or to_a_user)


def _refuse_all_but_ours(old: bytes, output: CredentialsFile, content: Format) -> None:
    """Let a file pass that holds only what rolekeeper publishes there, which is for its new readers anyway."""
    if content.holds_only_ours(old):
        return
    reason = "others may write in its directories, and more people could read what else is in it"
    hint = "give the file the owner, group and mode that the configuration names, or move it away"
    raise OutputError("file-untrusted", f"Cannot publish to {output.path}: {reason}", hint)


def _attributes(output: CredentialsFile, old: Contents | None, target: Place) -> Attributes:
    uid, gid = _owner(output), _group(output)
    own = getegid() if gid is None else gid
    if old is None or old.attributes.uid != uid or not target.is_left_to(uid):
        return Attributes(output.mode, uid, own)
    kept = old.attributes
    if not output.keep_mode:
        return Attributes(output.mode, uid, own, extended=kept.extended)
    return Attributes(kept.mode, uid, kept.gid if gid is None else own, kept.acl, kept.extended)


def _directory_mode(mode: int) -> int:
    """0700, and search for each class that the file's mode lets read."""
    return 0o700 | (0o010 if mode & _GROUP_READS else 0) | (0o001 if mode & _OTHERS_READ else 0)


def _owner(output: CredentialsFile) -> int:
    return accounts.user_number(output.owner, output.path)


def _group(output: CredentialsFile) -> int | None:
    return accounts.group_number(output.group, output.path)
