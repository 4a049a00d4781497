"""Role credentials into credentials files: the CredentialSink port (design promises 1, 2 and 4).

The rules of a publication, in order:
- the directory is found, and created when missing, with the output's owner and group; a sibling lock keeps other
  writers of ours out;
- the file is read, once nobody has it open for writing (SSM Agent rewrites it in place: what is there meanwhile is not
  the whole of it), and core.profile edits its text; while somebody keeps it open, nothing is published;
- an existing file keeps its mode, ACL and (unless one is configured) group, but only when it has the output's owner,
  and nobody else may write in the directories on its path: he could have put one there that lets him read;
- where somebody else may, what else the file holds is shown to nobody who could not read it before: it may be another
  file of root's, moved or linked to that name;
- the new file is written beside it and read back by botocore's own parser: what an SDK would read must be the token;
- the old one is read again: when somebody else changed it meanwhile, all starts over, so that no change is lost;
- only then it takes the name.
`prepare` does all of this with a token of its own making, up to the last two steps.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from os import getegid, geteuid

from rolekeeper.adapters.files.lock import lock_at
from rolekeeper.adapters.files.paths import Attributes, Place, RefusedFileError, place
from rolekeeper.adapters.files.replace import (
    Contents,
    Staged,
    describe,
    is_being_written,
    read_at,
    read_file,
    staged,
)
from rolekeeper.adapters.outputs import accounts, sandbox
from rolekeeper.adapters.outputs.accounts import Kind
from rolekeeper.core import credentialsfile
from rolekeeper.errors import OutputError
from rolekeeper.model import CredentialsFile, RoleToken

LOCK_WAIT = timedelta(seconds=10)
_MOST_TRIES = 5
_NAP = timedelta(milliseconds=100)  # for who writes the file in place
_MOST_NAPS = 20
_GROUP_READS, _OTHERS_READ = 0o040, 0o004
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PREPARED = credentialsfile.token_values(
    RoleToken("ASIA" + "0" * 16, "0" * 40, "0" * 4096, datetime(2000, 1, 1, tzinfo=UTC))  # as large as they come
)


class FileSink:
    """Publishes into credentials files; `sleep` is the clock's, `unit` the systemd unit that we run in, if any."""

    def __init__(
        self, sleep: Callable[[timedelta], None], lock_wait: timedelta = LOCK_WAIT, *, unit: str | None = None
    ) -> None:
        self._sleep = sleep
        self._unit = unit
        self._lock_wait = lock_wait

    def prepare(self, output: CredentialsFile) -> None:
        """Find out whether `publish` would succeed; a missing directory is created, the file is left as it is."""
        with self._opened(output) as target:
            old = self._settled(target)
            with _staged(target, output, _PREPARED, old):
                """Everything was tried that can be."""

    def publish(self, output: CredentialsFile, token: RoleToken) -> None:
        """Put the token's credentials into the output's profile, whole or not at all."""
        values = credentialsfile.token_values(token)
        with self._opened(output) as target:
            for _ in range(_MOST_TRIES):
                if self._try_publish(target, output, values):
                    return
        hint = "find the program that keeps writing it, or publish to a file of its own"
        raise OutputError("file-keeps-changing", f"Cannot publish to {output.path}: others keep changing it", hint)

    def holds(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        """Whether the output's profile holds just these credentials already."""
        found = self._found(output)
        wanted = {
            credentialsfile.ACCESS_KEY_ID: access_key_id,
            credentialsfile.EXPIRES: credentialsfile.format_expiry(expires_at),
        }
        complete = all(found.get(key) for key in credentialsfile.OUR_KEYS) and credentialsfile.STALE_TOKEN not in found
        return complete and wanted.items() <= found.items()

    def overwritten(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        """Whether another program has put credentials where these were published, or may have been.

        Rolekeeper writes no key without its expiry: another key with none, or beside the old one, is not of its making.
        """
        found, ours = self._found(output), credentialsfile.format_expiry(expires_at)
        other = found.get(credentialsfile.ACCESS_KEY_ID) or access_key_id
        return other != access_key_id and found.get(credentialsfile.EXPIRES, ours) == ours

    def _found(self, output: CredentialsFile) -> Mapping[str, str]:
        """What the output's profile holds now."""
        with self._translated(output):
            data = read_file(output.path, owner=_owner(output))
        if data is None:
            return {}
        return credentialsfile.read_profile(_decode(output, data), output.profile, where=output.path) or {}

    def _try_publish(self, target: Place, output: CredentialsFile, values: Mapping[str, str]) -> bool:
        """Publish once; False when somebody else changed the file meanwhile."""
        old = self._settled(target)
        with _staged(target, output, values, old) as new:
            if self._settled(target) != old:
                return False
            new.commit()
        return True

    def _settled(self, target: Place) -> Contents | None:
        """The file while nobody writes into it or, where nobody tells, once it is as it was a nap ago."""
        before: Contents | None = None
        for _ in range(_MOST_NAPS):
            found = read_at(target)
            written = is_being_written(target)
            if written is False or (written is None and found == before):
                return found
            before = None if written else found
            self._sleep(_NAP)
        remedy = "find the program that keeps it open (fuser, lsof), and end it or publish to a file of its own"
        raise RefusedFileError("file-being-written", "another program is writing it", remedy)

    @contextmanager
    def _opened(self, output: CredentialsFile) -> Iterator[Place]:
        """The file's place, with its lock held."""
        uid, gid = _owner(output), _group(output)
        missing = Attributes(_directory_mode(output.mode), uid, getegid() if gid is None else gid)
        with (
            self._translated(output),
            place(output.path, missing, uid) as target,
            lock_at(target, self._lock_wait, self._sleep),
        ):
            yield target

    @contextmanager
    def _translated(self, output: CredentialsFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.EINVAL:
                _refuse_unmapped(output)
            code, remedy = describe(error)
            if self._unit is not None:
                remedy = sandbox.remedy(self._unit, output.path, _owner(output), error) or remedy
            raise OutputError(code, f"Cannot publish to {output.path}: {error.strerror}", remedy) from error


@contextmanager
def _staged(
    target: Place, output: CredentialsFile, values: Mapping[str, str], old: Contents | None
) -> Iterator[Staged]:
    text = _decode(output, old.data if old else b"")
    edited = credentialsfile.replace_profile(
        text, output.profile, values, replace_long_lived_keys=output.replace_long_lived_keys, where=output.path
    )
    attributes = _attributes(output, old, target)
    if old and not target.is_left_to() and _shows(old.attributes, attributes):
        _refuse_all_but_ours(text, output)

    def check(written: str) -> None:
        _check_as_an_sdk(written, output, values)

    with staged(target, edited.encode(), attributes, check=check) as new:
        yield new


def _decode(output: CredentialsFile, data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    else:
        if not text.startswith(_BOM):
            return text
        reason = "it begins with a byte order mark, which SDKs take for a part of the first line"
    hint = "save it as UTF-8 without a byte order mark"
    raise OutputError("file-not-utf8", f"Cannot publish to {output.path}: {reason}", hint)


def _shows(old: Attributes, new: Attributes) -> bool:
    """Whether somebody could read the new file who could not read the old one."""
    if old == new or old.mode & _OTHERS_READ:
        return False
    to_the_same_group = old.mode & _GROUP_READS and old.acl is None and old.gid == new.gid
    to_a_group = new.mode & _GROUP_READS and not to_the_same_group
    to_a_user = new.uid not in (0, geteuid(), old.uid)
    return bool(new.mode & _OTHERS_READ or to_a_group or to_a_user)


def _refuse_all_but_ours(text: str, output: CredentialsFile) -> None:
    """Nothing when the file holds our profile's own keys alone, which are for its new readers anyway."""
    if credentialsfile.holds_only(text, output.profile, where=output.path):
        return
    reason = "others may write in its directories, and more people could read what else is in it"
    hint = "give the file the owner, group and mode that the configuration names, or move it away"
    raise OutputError("file-untrusted", f"Cannot publish to {output.path}: {reason}", hint)


def _attributes(output: CredentialsFile, old: Contents | None, target: Place) -> Attributes:
    uid, gid = _owner(output), _group(output)
    own = getegid() if gid is None else gid
    if old is None or not output.keep_mode or old.attributes.uid != uid or not target.is_left_to(uid):
        return Attributes(output.mode, uid, own)
    kept = old.attributes
    return Attributes(kept.mode, uid, kept.gid if gid is None else own, kept.acl)


def _directory_mode(mode: int) -> int:
    """0700, and search for each class that the file's mode lets read."""
    return 0o700 | (0o010 if mode & _GROUP_READS else 0) | (0o001 if mode & _OTHERS_READ else 0)


def _owner(output: CredentialsFile) -> int:
    return geteuid() if output.owner is None else _number(output, Kind.USER, output.owner)


def _group(output: CredentialsFile) -> int | None:
    return None if output.group is None else _number(output, Kind.GROUP, output.group)


def _number(output: CredentialsFile, kind: Kind, name: str | int) -> int:
    found = accounts.number(kind, name)
    if found is None:
        raise _unusable_account(output, f"unknown-{kind.value}", accounts.unknown(kind, name))
    return found


def _refuse_unmapped(output: CredentialsFile) -> None:
    """Raise OutputError when the user namespace does not have the output's owner or group."""
    for kind, number in ((Kind.USER, _owner(output)), (Kind.GROUP, _group(output))):
        why = None if number is None else accounts.unmapped(kind, number)
        if why:
            raise _unusable_account(output, f"unmapped-{kind.value}", why)


def _unusable_account(output: CredentialsFile, code: str, why: tuple[str, str]) -> OutputError:
    reason, hint = why
    return OutputError(code, f"Cannot publish to {output.path}: {reason}", hint)


def _check_as_an_sdk(written: str, output: CredentialsFile, values: Mapping[str, str]) -> None:
    """Read the file as botocore will, and hold what it sees against the token."""
    # Imported here: it costs more than the rest of this module, and an attempt has loaded it long before.
    from botocore.configloader import raw_config_parse  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    hint = "mend the file by hand: until then SDKs cannot read it either"
    reason = "botocore's parser does not accept it"
    try:
        seen = raw_config_parse(written).get(output.profile, {})
    except BotoCoreError:  # its text, and its cause, quote the file's lines, secrets among them
        raise OutputError("unparsable-file", f"Cannot publish to {output.path}: {reason}", hint) from None
    except AttributeError:  # the parser beneath swallows an error of reading, and hands on what is half parsed
        raise OSError(errno.EIO, "what was written cannot be read back") from None
    if credentialsfile.STALE_TOKEN in seen or any(seen.get(key) != value for key, value in values.items()):
        reason = "botocore's parser reads other credentials out of it than we wrote"
        raise OutputError("unparsable-file", f"Cannot publish to {output.path}: {reason}", hint)
