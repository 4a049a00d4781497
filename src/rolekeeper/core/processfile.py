"""The JSON that `credential_process` has to print, as the content of a file (docs/protocol.md, section 6)."""

import json

from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.errors import OutputError
from rolekeeper.model import OutputContents, RoleToken

_KEYS = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")


def rendered(token: RoleToken) -> bytes:
    """The content of a process file with these credentials."""
    values = (token.access_key_id, token.secret_access_key, token.session_token, format_expiry(token.expires_at))
    return json.dumps({"Version": 1, **dict(zip(_KEYS, values, strict=True))}, indent=2).encode() + b"\n"


def contents(data: bytes) -> OutputContents:
    """What a process file holds; nothing, when it is empty or no such JSON."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return OutputContents()
    if not isinstance(found, dict):
        return OutputContents()
    values = {key: found[key] for key in _KEYS if isinstance(found.get(key), str)}
    return OutputContents(
        values.get("AccessKeyId", ""), values.get("Expiration", ""), is_complete=len(values) == len(_KEYS)
    )


def check_replaceable(data: bytes, *, where: str) -> None:
    """Refuse to replace a file that is not one of these: the path may be a mistake."""
    if data.strip() and not contents(data).access_key_id:
        raise OutputError(
            "not-a-process-file",
            f"Cannot publish to {where}: it holds something else than the JSON of credential_process",
            "correct the path, or move the file away",
        )
