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
import re
from datetime import timedelta

from rolekeeper.adapters.outputs.publishedfile import SAMPLE, PublishedFiles
from rolekeeper.core import processfile
from rolekeeper.core.steps import SeenOutput
from rolekeeper.errors import OutputError
from rolekeeper.model import IssueRecord, RoleToken
from rolekeeper.settings import CredentialsFile
from rolekeeper.values import Value, replace

DEFAULT = "default"
PROFILE = ".profile"  # the end of the name of the file beside FILE
_PLAIN = r"[A-Za-z0-9/._@+,=:-]+"
_OURS = rb"\[[^\n]*\]\ncredential_process = /bin/cat [^\n]*\n"


class ProcessFiles:
    """Looks at and publishes into process files."""

    def __init__(self, files: PublishedFiles) -> None:
        self._files = files

    def look(self, output: CredentialsFile, longest: timedelta) -> SeenOutput:
        """What FILE holds, and whether it and FILE.profile can be published to."""
        seen = self._files.look(output, _Json(output, SAMPLE), longest / 2)
        try:
            contents = None if seen.data is None else processfile.contents(seen.data, where=output.path)
            if not self._is_pointed_to(output):
                beside = self._files.look(_beside(output), _Profile(output), longest / 2)
                contents = contents and replace(contents, is_complete=False)
                return SeenOutput(output, contents, seen.problem or beside.problem)
        except OutputError as error:
            return SeenOutput(output, None, seen.problem or error)
        return SeenOutput(output, contents, seen.problem)

    def publish(self, output: CredentialsFile, token: RoleToken, _issue: IssueRecord, longest: timedelta) -> None:
        """Make FILE hold the token's credentials and FILE.profile point to it, each whole or not at all."""
        points_to_it = self._is_pointed_to(output)
        self._files.publish(output, _Json(output, token), longest / 2)
        if not points_to_it:
            self._files.publish(_beside(output), _Profile(output), longest / 2)

    def _is_pointed_to(self, output: CredentialsFile) -> bool:
        """Whether FILE.profile has the two lines already, alone or among others."""
        return points_to_it(output, self._files.read(_beside(output)) or b"")


class _Json(Value):
    """publishedfile.Format of FILE."""

    output: CredentialsFile
    token: RoleToken

    def edited(self, old: bytes) -> bytes:
        may_replace = self.output.replace_long_lived_keys
        return processfile.edited(old, self.token, replace_long_lived_keys=may_replace, where=self.output.path)

    def holds_only_ours(self, _old: bytes) -> bool:
        return True  # `edited` has refused everything else

    def check(self, _old: bytes, written: bytes) -> None:
        if processfile.parsed(written, where=self.output.path) != processfile.values(self.token):
            raise OSError(errno.EIO, "what was written cannot be read back")


class _Profile(Value):
    """publishedfile.Format of FILE.profile."""

    output: CredentialsFile

    def edited(self, old: bytes) -> bytes:
        text = _profile_text(self.output)
        if old.strip() and re.fullmatch(_OURS, old) is None:
            where = f"{self.output.path}{PROFILE}"
            hint = f"move that file away, or add to it: {text.decode().replace(chr(10), ' / ').rstrip(' /')}"
            raise OutputError("profile-occupied", f"Cannot publish to {where}: it holds something else", hint)
        return text

    def holds_only_ours(self, _old: bytes) -> bool:
        return True  # nothing that was in it is kept

    def check(self, _old: bytes, written: bytes) -> None:
        """There is nothing to compare: the text depends on the configuration alone."""


def _beside(output: CredentialsFile) -> CredentialsFile:
    return replace(output, path=output.path + PROFILE)


def points_to_it(output: CredentialsFile, profile: bytes) -> bool:
    """Whether FILE.profile, which holds `profile`, leads SDKs to FILE."""
    return _profile_text(output) in profile


def _profile_text(output: CredentialsFile) -> bytes:
    """What FILE.profile holds; OutputError `path-not-plain` for a path that SDKs would not take alike."""
    if re.fullmatch(_PLAIN, output.path) is None:
        reason = "SDKs read blanks and special characters in credential_process in different ways"
        hint = "choose a path of letters, digits and . _ - + @ , = : /"
        raise OutputError("path-not-plain", f"Cannot publish to {output.path}: {reason}", hint)
    return f"[{output.profile or DEFAULT}]\ncredential_process = /bin/cat {output.path}\n".encode()
