"""The JSON that `credential_process` has to print, as the content of a file (docs/protocol.md, section 6)."""

import json

from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.errors import OutputError
from rolekeeper.model import OutputContents, RoleToken

_ACCESS_KEY_ID, _EXPIRATION = "AccessKeyId", "Expiration"
_KEYS = {"Version", _ACCESS_KEY_ID, "SecretAccessKey", "SessionToken", _EXPIRATION}
_LONG_LIVED_PREFIX = "AKIA"


def values(token: RoleToken) -> dict[str, object]:
    """What a process file holds for this token."""
    return {
        "Version": 1,
        _ACCESS_KEY_ID: token.access_key_id,
        "SecretAccessKey": token.secret_access_key,
        "SessionToken": token.session_token,
        _EXPIRATION: format_expiry(token.expires_at),
    }


def edited(old: bytes, token: RoleToken, *, replace_long_lived_keys: bool, where: str) -> bytes:
    """The new file in place of `old`; OutputError when that is another file, or holds long-lived keys."""
    key_id = str(parsed(old, where=where).get(_ACCESS_KEY_ID, ""))
    if key_id.startswith(_LONG_LIVED_PREFIX) and not replace_long_lived_keys:
        hint = "publish to a file of its own, or set replace_long_lived_keys = true"
        raise OutputError("long-lived-keys", f"Cannot use {where}: it holds long-lived keys", hint)
    return f"{json.dumps(values(token))}\n".encode()


def parsed(data: bytes, *, where: str) -> dict[str, object]:
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
        raise OutputError("unparsable-file", f"Cannot use {where}: {reason}", hint)
    return found


def contents(data: bytes, *, where: str) -> OutputContents:
    """What a process file holds."""
    found = parsed(data, where=where)
    texts = {key: str(found.get(key, "")) for key in (_ACCESS_KEY_ID, _EXPIRATION)}
    return OutputContents(texts[_ACCESS_KEY_ID], texts[_EXPIRATION], is_complete=found.keys() == _KEYS)
