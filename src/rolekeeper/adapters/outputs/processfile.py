"""Role credentials as the JSON that `credential_process` must print, and the profile that points to it.

    FILE            {"Version": 1, "AccessKeyId": ..., "Expiration": ...}
    FILE.profile    [default]
                    credential_process = /bin/cat FILE

A program that gets AWS_SHARED_CREDENTIALS_FILE=FILE.profile runs cat whenever its credentials run out, so it needs
nothing else, in a container neither (docs/protocol.md, section 6). FILE.profile holds no secret; it has the mode, owner
and group of FILE. `publishedfile` says how FILE is replaced. The rules beyond that:
- the whole of FILE is ours. A file that holds anything else than these keys is left alone, and so are long-lived keys
  unless the output says `replace_long_lived_keys`; an empty file may be filled;
- FILE.profile is written when it is missing, empty, or as rolekeeper wrote it for another path or profile. One that has
  the two lines among others may stay; any other is left alone, and is an error;
- a path with blanks or other special characters is refused: SDKs split the command in several ways (a shell, Python's
  shlex, at every blank), and their parsers of the file disagree on `#` and `;`.
"""

import errno
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.adapters.outputs.publishedfile import LOCK_WAIT, SAMPLE, PublishedFiles
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.errors import OutputError
from rolekeeper.model import CredentialsFile, RoleToken

PROFILE = ".profile"  # the end of the name of the file beside FILE
_PLAIN = re.compile(r"[A-Za-z0-9/._@+,=:-]+")
_OURS = re.compile(rb"\[[^\n]*\]\ncredential_process = /bin/cat [^\n]*\n")
_LONG_LIVED_PREFIX = "AKIA"
_ACCESS_KEY_ID, _SECRET, _SESSION_TOKEN, _EXPIRATION = "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"
_KEYS = {"Version", _ACCESS_KEY_ID, _SECRET, _SESSION_TOKEN, _EXPIRATION}


class ProcessFileSink:
    """Publishes into process files; `sleep` is the clock's, `unit` the systemd unit that we run in, if any."""

    def __init__(
        self, sleep: Callable[[timedelta], None], lock_wait: timedelta = LOCK_WAIT, *, unit: str | None = None
    ) -> None:
        self._files = PublishedFiles(sleep, lock_wait, unit)

    def prepare(self, output: CredentialsFile) -> None:
        """Find out whether `publish` would succeed; a missing directory is created, the files are left as they are."""
        self._files.prepare(output, _Json(output, SAMPLE))
        if not self._is_pointed_to(output):
            self._files.prepare(_beside(output), _Profile(output))

    def publish(self, output: CredentialsFile, token: RoleToken) -> None:
        """Make FILE hold the token's credentials and FILE.profile point to it, each whole or not at all."""
        points_to_it = self._is_pointed_to(output)
        self._files.publish(output, _Json(output, token))
        if not points_to_it:
            self._files.publish(_beside(output), _Profile(output))

    def holds(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        """Whether FILE holds just these credentials already, and FILE.profile points to it."""
        found = self._found(output)
        return (
            found.keys() == _KEYS
            and found[_ACCESS_KEY_ID] == access_key_id
            and found[_EXPIRATION] == format_expiry(expires_at)
            and self._is_pointed_to(output)
        )

    def overwritten(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        """Whether another program has put credentials where these were published, or may have been.

        Rolekeeper writes no key without its expiry: it has not made another key with none, or beside the old one.
        """
        found, ours = self._found(output), format_expiry(expires_at)
        other = found.get(_ACCESS_KEY_ID) or access_key_id
        return other != access_key_id and found.get(_EXPIRATION, ours) == ours

    def _is_pointed_to(self, output: CredentialsFile) -> bool:
        """Whether FILE.profile has the two lines already, alone or among others."""
        return _profile_text(output) in (self._files.read(_beside(output)) or b"")

    def _found(self, output: CredentialsFile) -> dict[str, object]:
        return _parsed(output, self._files.read(output) or b"")


@dataclass(frozen=True, slots=True)
class _Json:
    """publishedfile.Format of FILE."""

    output: CredentialsFile
    token: RoleToken

    def edited(self, old: bytes) -> bytes:
        key_id = str(_parsed(self.output, old).get(_ACCESS_KEY_ID, ""))
        if key_id.startswith(_LONG_LIVED_PREFIX) and not self.output.replace_long_lived_keys:
            reason = "it holds keys that are not temporary"
            hint = "publish to a file of its own, or set replace_long_lived_keys"
            raise OutputError("long-lived-keys", f"Cannot publish to {self.output.path}: {reason}", hint)
        return f"{json.dumps(_values(self.token))}\n".encode()

    def holds_only_ours(self, _old: bytes) -> bool:
        return True  # `edited` has refused everything else

    def check(self, written: str) -> None:
        with open(written, "rb") as file:
            data = file.read()
        if _parsed(self.output, data) != _values(self.token):
            raise OSError(errno.EIO, "what was written cannot be read back")


@dataclass(frozen=True, slots=True)
class _Profile:
    """publishedfile.Format of FILE.profile."""

    output: CredentialsFile

    def edited(self, old: bytes) -> bytes:
        text = _profile_text(self.output)
        if old.strip() and _OURS.fullmatch(old) is None:
            where = f"{self.output.path}{PROFILE}"
            hint = f"move that file away, or add to it: {text.decode().replace(chr(10), ' / ').rstrip(' /')}"
            raise OutputError("profile-occupied", f"Cannot publish to {where}: it holds something else", hint)
        return text

    def holds_only_ours(self, _old: bytes) -> bool:
        return True  # nothing that was in it is kept

    def check(self, written: str) -> None:
        """There is nothing to compare: the text depends on the configuration alone."""


def _values(token: RoleToken) -> dict[str, object]:
    return {
        "Version": 1,
        _ACCESS_KEY_ID: token.access_key_id,
        _SECRET: token.secret_access_key,
        _SESSION_TOKEN: token.session_token,
        _EXPIRATION: format_expiry(token.expires_at),
    }


def _parsed(output: CredentialsFile, data: bytes) -> dict[str, object]:
    """The file's values; OutputError when it is not empty, and not what rolekeeper writes."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found.keys() <= _KEYS:
        reason = "it holds something else than what credential_process prints"
        hint = "move that file away, or publish to a file of its own"
        raise OutputError("unparsable-file", f"Cannot publish to {output.path}: {reason}", hint)
    return found


def _beside(output: CredentialsFile) -> CredentialsFile:
    return replace(output, path=output.path + PROFILE)


def _profile_text(output: CredentialsFile) -> bytes:
    """What FILE.profile holds; OutputError `path-not-plain` for a path that SDKs would not take alike."""
    if _PLAIN.fullmatch(output.path) is None:
        reason = "SDKs read blanks and special characters in credential_process in different ways"
        hint = "choose a path of letters, digits and . _ - + @ , = : /"
        raise OutputError("path-not-plain", f"Cannot publish to {output.path}: {reason}", hint)
    return f"[{output.profile}]\ncredential_process = /bin/cat {output.path}\n".encode()
