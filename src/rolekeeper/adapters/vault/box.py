"""The sealed form of vault.json: one box of authenticated encryption (AES-256-GCM) around the bytes of the plain form.

    {"format": 2, "sealed": {"key": "0123456789abcdef", "nonce": "...", "box": "..."}}

`key` names the key and is derived from it, so that a key of another vault and a damaged box are different errors. The
format and that name are associated data: they are in clear, and a change of either breaks the box. The nonce is 96
random bits, new for each save. Random nonces are safe for 2^32 saves with one key: 8,000 years at a save a minute.

Vault keys have a text form too, one line of 64 hexadecimal digits for each: it is what systemd encrypts, and what a
recovery key's file holds. The errors never repeat a value.

Only a vault that is sealed loads this module.
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rolekeeper.adapters.vault.agentformat import Fields, MalformedError, text, whole_number
from rolekeeper.adapters.vault.contents import UnknownFormatError
from rolekeeper.core.jsonvalues import to_json
from rolekeeper.model import VaultKey

FORMAT = 2
KEY_BYTES = 32
_NONCE_BYTES = 12
_NAME_DIGITS = 16
_MOST_KEYS = 2  # during a change of the key
_LINE = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(rf"[0-9a-f]{{{_NAME_DIGITS}}}")


def new_key() -> VaultKey:
    """A new random key."""
    return _key(os.urandom(KEY_BYTES))


def encode_keys(keys: Iterable[VaultKey]) -> bytes:
    """The text form of these keys."""
    return "".join(f"{key.value.hex()}\n" for key in keys).encode("ascii")


def decode_keys(data: bytes) -> tuple[VaultKey, ...]:
    """The keys of a text form; raises MalformedError."""
    lines = data.decode("ascii", errors="replace").split()
    if not 1 <= len(lines) <= _MOST_KEYS or not all(map(_LINE.fullmatch, lines)):
        raise MalformedError("it is not a key of 64 hexadecimal digits")
    return tuple(_key(bytes.fromhex(line)) for line in lines)


def seal(plain: bytes, key: VaultKey) -> bytes:
    """The sealed form of `plain`, with a new nonce."""
    nonce = os.urandom(_NONCE_BYTES)
    box = AESGCM(key.value).encrypt(nonce, plain, _associated(key.name))
    return to_json({"format": FORMAT, "sealed": {"key": key.name, "nonce": _base64(nonce), "box": _base64(box)}})


def key_name(members: Fields) -> str:
    """The name of the key that opens this sealed form; raises MalformedError and UnknownFormatError."""
    found = whole_number(members, "format")
    if found != FORMAT:
        raise UnknownFormatError(f"it has format {found}, and this version of rolekeeper reads sealed format {FORMAT}")
    name = text(_sealed(members), "key")
    if not _NAME.fullmatch(name):
        raise MalformedError("sealed: key is not the name of a key")
    return name


def unseal(members: Fields, key: VaultKey) -> bytes:
    """The plain form in this sealed one; raises MalformedError when it is damaged. `key` has its `key_name`."""
    fields = _sealed(members)
    try:
        nonce, box = (base64.b64decode(text(fields, name), validate=True) for name in ("nonce", "box"))
        return AESGCM(key.value).decrypt(nonce, box, _associated(key.name))
    except (InvalidTag, ValueError):
        # Not chained, like every error of what the vault holds.
        raise MalformedError("its box was changed after it was sealed, or cut short") from None


def _key(value: bytes) -> VaultKey:
    return VaultKey(hashlib.sha256(b"rolekeeper vault key\0" + value).hexdigest()[:_NAME_DIGITS], value)


def _associated(name: str) -> bytes:
    return f"rolekeeper vault, format {FORMAT}, key {name}".encode("ascii")


def _sealed(members: Fields) -> Fields:
    fields = members.get("sealed")
    if members.keys() - {"format", "sealed"} or not isinstance(fields, dict):
        raise MalformedError("sealed is not the only member beside format, or not a JSON object")
    return fields


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
