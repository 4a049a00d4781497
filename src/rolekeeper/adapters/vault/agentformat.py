"""SSM Agent's vault files, as bytes and as values (docs/protocol.md, section 4); no I/O.

`contents` keeps two of them as members of vault.json, so each has two forms here: the fields of its JSON object
(`registration_of`, `registration_fields`) and the whole file (`parse_registration`, `encode_registration`).

- `Manifest` names the absolute path of each file. A file that it does not name does not exist.
- `InstanceFingerprint` and `RegistrationKey` are encoded with every key that SSM Agent writes, in its order, as compact
  JSON with Go's escapes and no trailing newline.
- A file whose essential field is "" was cleared, or belongs to a registration that failed. It parses as None, which
  differs from a file that cannot be read. A half cleared file is an error.
- `privateKeyCreatedDate` is Go's default form of a local time. A key without a date counts as older than any limit, as
  it does for SSM Agent.
- Everything else is strict: another type, another key type, a malformed node id, region, fingerprint or key.

The errors name the field and never its value.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from rolekeeper.adapters.der import integers
from rolekeeper.identifiers import NODE_ID, REGION, UUID
from rolekeeper.model import THRESHOLD_OFF, AcceptedFingerprint, NodeKey, Registration

Fields = Mapping[str, object]
"""One JSON object, its values still unchecked."""

KEY_TYPE = "Rsa"
NEVER_DATED = datetime(1970, 1, 1, tzinfo=UTC)

_GO_TIME = (
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}) (?P<time>[0-9:]{8})(\.(?P<fraction>[0-9]{1,9}))?"
    r" (?P<offset>[+-][0-9]{4})( \S+)?( m=\S+)?"
)
_GO_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_MICROSECOND_DIGITS = 6
_HIGHEST_THRESHOLD = 100  # percent
_PKCS1_INTEGERS = 9  # version 0, modulus, exponents, primes and what is derived from them


class MalformedError(ValueError):
    """A file is not what it should be; the text names the field. Adapters add the file and the remedy."""


def parse_object(data: bytes) -> Fields:
    """The JSON object that a file holds."""
    if not data:
        raise MalformedError("it is empty")
    try:
        parsed = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        # Not chained: the error of the parser carries the whole text, and with it the key.
        raise MalformedError("it is not JSON, or was cut short") from None
    if not isinstance(parsed, dict):
        raise MalformedError("it is not a JSON object")
    return parsed


def dump(fields: Fields) -> bytes:
    """Compact JSON as Go writes it."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).translate(_GO_ESCAPES).encode("utf-8")


def text(fields: Fields, name: str) -> str:
    """A string, which has to be there."""
    value = fields.get(name)
    if not _is_text(value):
        raise MalformedError(f"{name} is not text")
    return str(value)


def whole_number(fields: Fields, name: str) -> int:
    """An integer."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{name} is not a whole number")
    return value


def text_map(fields: Fields, name: str) -> dict[str, str]:
    """An object whose values are strings."""
    return _texts(fields.get(name), name)


def node_id(fields: Fields, name: str) -> str:
    """A managed node's id."""
    return _matching(NODE_ID, fields, name, "`mi-` and 17 hex digits")


def region(fields: Fields, name: str) -> str:
    """A region's name."""
    return _matching(REGION, fields, name, "a region such as eu-central-1")


def fingerprint(fields: Fields, name: str) -> str:
    """A fingerprint's UUID."""
    return _matching(UUID, fields, name, "a UUID in lower case")


def node_key(fields: Fields) -> NodeKey:
    """The node key, from `privateKey` and `privateKeyCreatedDate`."""
    private_key = text(fields, "privateKey")
    try:
        parts = integers(base64.b64decode(private_key, validate=True))
    except ValueError:
        parts = []
    if len(parts) != _PKCS1_INTEGERS or any(parts[0]):
        raise MalformedError("privateKey is not the base64 of an RSA key (PKCS#1 DER)")
    created = text({"privateKeyCreatedDate": "", **fields}, "privateKeyCreatedDate")
    return NodeKey(private_key, parse_go_time(created) if created else NEVER_DATED)


def key_fields(key: NodeKey) -> dict[str, object]:
    """The fields that `node_key` reads."""
    return {"privateKey": key.private_key, "privateKeyCreatedDate": format_go_time(key.created_at)}


def parse_manifest(data: bytes) -> dict[str, str]:
    """The absolute path of each file, by its name."""
    return _texts(parse_object(data), "the manifest")


def encode_manifest(paths: Mapping[str, str]) -> bytes:
    """The manifest of these paths, by name."""
    return dump(dict(sorted(paths.items())))


def accepted_of(fields: Fields) -> AcceptedFingerprint:
    """The accepted pair, from the fields of `InstanceFingerprint`."""
    threshold = whole_number(fields, "similarityThreshold")
    if not THRESHOLD_OFF <= threshold <= _HIGHEST_THRESHOLD:
        raise MalformedError("similarityThreshold is neither -1 nor a percentage")
    return AcceptedFingerprint(fingerprint(fields, "fingerprint"), text_map(fields, "hardwareHash"), threshold)


def accepted_fields(accepted: AcceptedFingerprint) -> dict[str, object]:
    """The fields that `accepted_of` reads; the hardware hash is sorted, as Go writes a map."""
    return {
        "fingerprint": accepted.fingerprint,
        "hardwareHash": dict(sorted(accepted.hardware_hash.items())),
        "similarityThreshold": accepted.threshold,
    }


def parse_fingerprint(data: bytes) -> AcceptedFingerprint | None:
    """The accepted pair; None when the file was cleared."""
    fields = parse_object(data)
    if text(fields, "fingerprint") == "" and not fields.get("hardwareHash"):
        return None
    return accepted_of(fields)


def encode_fingerprint(accepted: AcceptedFingerprint) -> bytes:
    """The accepted pair as SSM Agent writes it."""
    return dump(accepted_fields(accepted))


def registration_of(fields: Fields) -> Registration:
    """The registration, from the fields of `RegistrationKey`."""
    if text(fields, "privateKeyType") != KEY_TYPE:
        raise MalformedError(f'privateKeyType is not "{KEY_TYPE}"')
    return Registration(node_id(fields, "instanceID"), region(fields, "region"), node_key(fields))


def registration_fields(registration: Registration) -> dict[str, object]:
    """Every field that SSM Agent writes, in its order."""
    return {
        "instanceID": registration.node_id,
        "region": registration.region,
        "instanceType": "",
        "availabilityZone": "",
        "privateKey": registration.key.private_key,
        "publicKey": "",
        "privateKeyType": KEY_TYPE,
        "privateKeyCreatedDate": format_go_time(registration.key.created_at),
    }


def parse_registration(data: bytes) -> Registration | None:
    """The registration; None when it was cleared, or when registering failed."""
    fields = parse_object(data)
    if text(fields, "instanceID") == "" and text(fields, "region") == "":
        return None
    return registration_of(fields)


def encode_registration(registration: Registration) -> bytes:
    """The registration as SSM Agent writes it."""
    return dump(registration_fields(registration))


def parse_go_time(value: str) -> datetime:
    """A time as Go's time.String() prints it, to the microsecond; zone name and monotonic part do not count."""
    found = re.fullmatch(_GO_TIME, value)
    if not found:
        raise MalformedError("privateKeyCreatedDate is not a date in Go's form")
    microseconds = (found["fraction"] or "").ljust(_MICROSECOND_DIGITS, "0")[:_MICROSECOND_DIGITS]
    try:
        return datetime.fromisoformat(f"{found['date']}T{found['time']}.{microseconds}{found['offset']}").astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        raise MalformedError("privateKeyCreatedDate is no date of the calendar") from None


def format_go_time(at: datetime) -> str:
    """The time as Go prints it, in UTC."""
    printed = at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    return (printed.rstrip("0") if "." in printed else printed) + " +0000 UTC"


def _texts(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(_is_text(key) and _is_text(entry) for key, entry in value.items()):
        raise MalformedError(f"{name} is not a map of texts")
    return value


def _matching(pattern: re.Pattern[str], fields: Fields, name: str, meaning: str) -> str:
    value = text(fields, name)
    if not pattern.fullmatch(value):
        raise MalformedError(f"{name} is not {meaning}")
    return value


def _is_text(value: object) -> bool:
    """Half of a surrogate pair is a string in JSON, and cannot be written again."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
