"""Role credentials into a profile of a shared credentials file: the CredentialSink port.

`publishedfile` says how files are replaced, and `core.credentialsfile` how a profile is edited. What is left for this
module: the text is UTF-8 without a byte order mark, which SDKs would take for a part of the first line; and the new
file is read by botocore's own parser, because what an SDK would read must be the token.
"""

import errno
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from rolekeeper.adapters.outputs.publishedfile import LOCK_WAIT, SAMPLE, PublishedFiles
from rolekeeper.core import credentialsfile
from rolekeeper.errors import OutputError
from rolekeeper.model import CredentialsFile, RoleToken

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


class FileSink:
    """Publishes into credentials files; `sleep` is the clock's, `unit` the systemd unit that we run in, if any."""

    def __init__(
        self, sleep: Callable[[timedelta], None], lock_wait: timedelta = LOCK_WAIT, *, unit: str | None = None
    ) -> None:
        self._files = PublishedFiles(sleep, lock_wait, unit)

    def prepare(self, output: CredentialsFile) -> None:
        """Find out whether `publish` would succeed; a missing directory is created, the file is left as it is."""
        self._files.prepare(output, _Profile(output, SAMPLE))

    def publish(self, output: CredentialsFile, token: RoleToken) -> None:
        """Put the token's credentials into the output's profile, whole or not at all."""
        self._files.publish(output, _Profile(output, token))

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

        Rolekeeper writes no key without its expiry: it has not made another key with none, or beside the old one.
        """
        found, ours = self._found(output), credentialsfile.format_expiry(expires_at)
        other = found.get(credentialsfile.ACCESS_KEY_ID) or access_key_id
        return other != access_key_id and found.get(credentialsfile.EXPIRES, ours) == ours

    def _found(self, output: CredentialsFile) -> Mapping[str, str]:
        """What the output's profile holds now."""
        data = self._files.read(output)
        if data is None:
            return {}
        return credentialsfile.read_profile(_decode(output, data), output.profile, where=output.path) or {}


class _Profile:
    """publishedfile.Format of an output's profile that is to hold `token`."""

    def __init__(self, output: CredentialsFile, token: RoleToken) -> None:
        self._output = output
        self._values = credentialsfile.token_values(token)

    def edited(self, old: bytes) -> bytes:
        output = self._output
        return credentialsfile.replace_profile(
            _decode(output, old),
            output.profile,
            self._values,
            replace_long_lived_keys=output.replace_long_lived_keys,
            where=output.path,
        ).encode()

    def holds_only_ours(self, old: bytes) -> bool:
        text = _decode(self._output, old)
        return credentialsfile.holds_only(text, self._output.profile, where=self._output.path)

    def check(self, written: str) -> None:
        _check_as_an_sdk(written, self._output, self._values)


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


def _check_as_an_sdk(written: str, output: CredentialsFile, values: Mapping[str, str]) -> None:
    """Read the file as botocore will, and compare what it sees with the token."""
    # Imported here: it costs more than the rest of this module, and an attempt has loaded it long before.
    from botocore.configloader import raw_config_parse  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    hint = "fix the file by hand: until then SDKs cannot read it either"
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
