"""The files of the vault: which one holds which part of VaultContents, and how (docs/protocol.md, section 4, and ours).

| file below the vault directory | holds | when damaged |
|---|---|---|
| `Manifest` | the paths of the next two, for SSM Agent's readers | an error |
| `Store/RegistrationKey` | node id, region, node key | an error |
| `Store/InstanceFingerprint` | the accepted fingerprint, its hardware hash, the threshold | an error |
| `PendingKey` | the node key that the service was, or will be, told of | an error |
| `SupersededKey` | the node key before this one, until this one was accepted | an error |
| `PendingRegistration` | a registration begun: activation id, region, fingerprint, hardware hash, key | an error |
| `MeasuredHash` | the hardware hash at the last accepted request | absent |
| `TrialFingerprints` | the fingerprints tried on other hardware, by digest of its hash | absent |
| `IssueRecord` | the last token published, without its secrets | absent |
| `HeldToken` | a token received and not yet published everywhere | absent |
| `Journal` | the change under way (vault.py) | an error |

Beside them lie the writers' lock file and, after a crash, temporary files (atomicfile.py).

All but the first three and `PendingRegistration` carry the id of their node ("" before there is one): beside another
node's registration they are leftovers, and count as absent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.adapters.vault.agentformat import (
    Fields,
    MalformedError,
    dump,
    encode_fingerprint,
    encode_registration,
    fingerprint,
    key_fields,
    node_key,
    parse_fingerprint,
    parse_object,
    parse_registration,
    region,
    sorted_hash,
    text,
    text_map,
    whole_number,
)
from rolekeeper.model import HardwareHash, HeldToken, IssueRecord, Lifetime, PendingRegistration, RoleToken

MANIFEST = "Manifest"
REGISTRATION = "Store/RegistrationKey"
FINGERPRINT = "Store/InstanceFingerprint"
JOURNAL = "Journal"

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Record:
    """One file: its path below the vault directory, the part of VaultContents it holds, and how.

    `encode` and `parse` take the id of the node that the vault is for. `parse` returns None for "nothing", and raises
    MalformedError; a file that is not `essential` counts as absent then.
    """

    path: str
    part: str
    encode: Callable[[Any, str], bytes]
    parse: Callable[[bytes, str], Any]
    essential: bool


def _own(
    path: str, part: str, fields_of: Callable[[Any], Fields], value_of: Callable[[Fields], Any], *, essential: bool
) -> Record:
    """A file of our own, which names its node."""

    def encode(value: Any, node_id: str) -> bytes:
        return dump({"nodeID": node_id, **fields_of(value)})

    def parse(data: bytes, node_id: str) -> Any:
        fields = parse_object(data)
        return value_of(fields) if text(fields, "nodeID") == node_id else None

    return Record(path, part, encode, parse, essential)


def _measured_fields(measured: HardwareHash) -> Fields:
    return {"hardwareHash": sorted_hash(measured)}


def _measured(fields: Fields) -> HardwareHash:
    return text_map(fields, "hardwareHash")


def _trial_fields(trials: HardwareHash) -> Fields:
    return {"fingerprints": dict(trials)}  # in the order in which they were tried


def _trials(fields: Fields) -> dict[str, str] | None:
    trials = text_map(fields, "fingerprints")
    return {name: fingerprint(trials, name) for name in trials} or None


def _pending_registration_bytes(pending: PendingRegistration, _node_id: str) -> bytes:
    return dump(
        {
            "activationID": pending.activation_id,
            "region": pending.region,
            "fingerprint": pending.fingerprint,
            "hardwareHash": sorted_hash(pending.hardware_hash),
            **key_fields(pending.key),
        }
    )


def _pending_registration(data: bytes, _node_id: str) -> PendingRegistration:
    fields = parse_object(data)
    return PendingRegistration(
        activation_id=text(fields, "activationID"),
        region=region(fields, "region"),
        fingerprint=fingerprint(fields, "fingerprint"),
        hardware_hash=text_map(fields, "hardwareHash"),
        key=node_key(fields),
    )


def _issue_fields(issue: IssueRecord) -> dict[str, object]:
    return {
        "nodeID": issue.node_id,
        "accessKeyID": issue.access_key_id,
        "issuedAt": _time_text(issue.life.issued_at),
        "expiresAt": _time_text(issue.life.expires_at),
        "bootID": issue.boot_id,
        "issuedBootMicroseconds": issue.life.issued_boot // _MICROSECOND,
    }


def _issue(fields: Fields) -> IssueRecord:
    life = Lifetime(
        issued_at=_time(fields, "issuedAt"),
        expires_at=_time(fields, "expiresAt"),
        issued_boot=_duration(fields, "issuedBootMicroseconds"),
    )
    return IssueRecord(text(fields, "nodeID"), text(fields, "accessKeyID"), life, text(fields, "bootID"))


def _held_fields(held: HeldToken) -> Fields:
    token = held.token
    return {
        **_issue_fields(held.issue),
        "tokenAccessKeyID": token.access_key_id,
        "secretAccessKey": token.secret_access_key,
        "sessionToken": token.session_token,
        "tokenExpiresAt": _time_text(token.expires_at),
        "updateKeyPair": token.update_key_pair,
    }


def _held(fields: Fields) -> HeldToken:
    token = RoleToken(
        access_key_id=text(fields, "tokenAccessKeyID"),
        secret_access_key=text(fields, "secretAccessKey"),
        session_token=text(fields, "sessionToken"),
        expires_at=_time(fields, "tokenExpiresAt"),
        update_key_pair=fields.get("updateKeyPair") is True,
    )
    return HeldToken(token, _issue(fields))


def _time_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _time(fields: Fields, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(text(fields, name))
    except ValueError:
        at = datetime.min  # noqa: DTZ901 - without a zone, which is what the next line refuses
    if at.utcoffset() != timedelta():
        raise MalformedError(f"{name} is not a time in UTC")
    return at.astimezone(UTC)


def _duration(fields: Fields, name: str) -> timedelta:
    try:
        return whole_number(fields, name) * _MICROSECOND
    except OverflowError:
        raise MalformedError(f"{name} is no duration") from None


RECORDS = (
    Record(
        REGISTRATION,
        "registration",
        lambda value, _: encode_registration(value),
        lambda data, _: parse_registration(data),
        essential=True,
    ),
    Record(
        FINGERPRINT,
        "fingerprint",
        lambda value, _: encode_fingerprint(value),
        lambda data, _: parse_fingerprint(data),
        essential=True,
    ),
    _own("PendingKey", "pending_key", key_fields, node_key, essential=True),
    _own("SupersededKey", "superseded_key", key_fields, node_key, essential=True),
    Record(
        "PendingRegistration",
        "pending_registration",
        _pending_registration_bytes,
        _pending_registration,
        essential=True,
    ),
    _own("MeasuredHash", "measured", _measured_fields, _measured, essential=False),
    _own("TrialFingerprints", "trials", _trial_fields, _trials, essential=False),
    _own("IssueRecord", "issue", _issue_fields, _issue, essential=False),
    _own("HeldToken", "held_token", _held_fields, _held, essential=False),
)
"""Every file but the manifest and the journal; the registration comes first, for the others belong to its node."""
