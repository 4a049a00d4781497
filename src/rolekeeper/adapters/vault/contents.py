"""vault.json as bytes and as VaultContents; no I/O.

The file is one JSON object. `RegistrationKey` and `InstanceFingerprint` are what SSM Agent keeps in its files of the
same names (docs/protocol.md, section 4), field by field. The members in lower case are our own. A member that has
nothing to say is left out.

| member | holds |
|---|---|
| `format` | 1; a change that an older version would misread takes another number |
| `RegistrationKey` | node id, region, node key |
| `InstanceFingerprint` | the accepted fingerprint, its hardware hash, the similarity threshold |
| `measuredHash` | the hardware hash at the last accepted request |
| `pendingKey` | the next node key, which the service may know already |
| `supersededKey` | the previous node key, until the service has accepted the current one |
| `pendingRegistration` | a registration that was begun: activation id, region, fingerprint, hardware hash, key |
| `issues` | the last published token of each role, without its secrets; `""` is the node's own |
| `heldToken` | a token that could not be published everywhere yet |

A sealed vault is the same bytes in a box (`box.py`), and that is a JSON object of format 2.

Reading is strict, because a vault that is misread costs the registration: a field of another type or form is an error
that names the field and never its value. A member that this version does not know is an error, too, because the next
save would lose it. What is written is read back first, so that no vault is written that the next start cannot read.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from rolekeeper.adapters.vault.agentformat import (
    Fields,
    MalformedError,
    accepted_fields,
    accepted_of,
    fingerprint,
    key_fields,
    node_key,
    parse_object,
    region,
    registration_fields,
    registration_of,
    text,
    text_map,
    whole_number,
)
from rolekeeper.core.jsonvalues import to_json
from rolekeeper.model import HeldToken, IssueRecord, Lifetime, Node, PendingRegistration, RoleToken, VaultContents

T = TypeVar("T")

FORMAT = 1
MEMBERS = frozenset(
    [
        *("format", "RegistrationKey", "InstanceFingerprint", "measuredHash", "pendingKey", "supersededKey"),
        *("pendingRegistration", "issues", "heldToken"),
    ]
)
_MICROSECOND = timedelta(microseconds=1)


class UnknownFormatError(ValueError):
    """Another version of rolekeeper wrote the file; the text says how that shows."""


def decode(data: bytes) -> VaultContents:
    """What a plain vault.json holds; raises MalformedError and UnknownFormatError."""
    return contents_of(parse_object(data))


def contents_of(members: Fields) -> VaultContents:
    """What the members of a plain vault.json mean; raises MalformedError and UnknownFormatError."""
    found = whole_number(members, "format")
    if found != FORMAT:
        raise UnknownFormatError(f"it has format {found}, and this version of rolekeeper reads format {FORMAT}")
    if unknown := sorted(members.keys() - MEMBERS):
        raise UnknownFormatError(f"it has a member that this version of rolekeeper does not know: {unknown[0]}")
    return VaultContents(
        node=_node(members),
        measured=text_map(members, "measuredHash") if "measuredHash" in members else None,
        pending_key=_member(members, "pendingKey", node_key),
        superseded_key=_member(members, "supersededKey", node_key),
        pending_registration=_member(members, "pendingRegistration", _pending),
        issues=_member(members, "issues", _issues) or {},
        held_token=_member(members, "heldToken", _held),
    )


def encode(contents: VaultContents) -> bytes:
    """vault.json that holds `contents`; raises MalformedError for contents that could not be read back."""
    node, pending, held = contents.node, contents.pending_registration, contents.held_token
    members = {
        "format": FORMAT,
        "RegistrationKey": registration_fields(node.registration) if node else None,
        "InstanceFingerprint": accepted_fields(node.accepted) if node else None,
        "measuredHash": contents.measured,
        "pendingKey": key_fields(contents.pending_key) if contents.pending_key else None,
        "supersededKey": key_fields(contents.superseded_key) if contents.superseded_key else None,
        "pendingRegistration": _pending_fields(pending) if pending else None,
        "issues": {role: _issue_fields(issue) for role, issue in contents.issues.items()} or None,
        "heldToken": _held_fields(held) if held else None,
    }
    data = to_json({name: value for name, value in members.items() if value is not None})
    if decode(data) != contents:
        raise MalformedError("it would not be read back as it was meant")
    return data


def _member(fields: Fields, name: str, read: Callable[[Fields], T]) -> T | None:
    """What `read` makes of an object; None when there is none of that name."""
    if name not in fields:
        return None
    value = fields[name]
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not a JSON object")
    try:
        return read(value)
    except MalformedError as error:
        raise MalformedError(f"{name}: {error}") from None


def _node(members: Fields) -> Node | None:
    registration = _member(members, "RegistrationKey", registration_of)
    accepted = _member(members, "InstanceFingerprint", accepted_of)
    if registration is None and accepted is None:
        return None
    if registration is None or accepted is None:
        missing = "RegistrationKey" if registration is None else "InstanceFingerprint"
        raise MalformedError(f"{missing} is missing, and the other half of the registration is there")
    return Node(registration, accepted)


def _pending_fields(pending: PendingRegistration) -> dict[str, object]:
    return {
        "activationID": pending.activation_id,
        "region": pending.region,
        "fingerprint": pending.fingerprint,
        "hardwareHash": pending.hardware_hash,
        **key_fields(pending.key),
    }


def _pending(fields: Fields) -> PendingRegistration:
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
        "issuedAt": issue.life.issued_at,
        "expiresAt": issue.life.expires_at,
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


def _issues(fields: Fields) -> dict[str, IssueRecord]:
    issues = {role: _member(fields, role, _issue) for role in fields}
    return {role: issue for role, issue in issues.items() if issue is not None}


def _held_fields(held: HeldToken) -> dict[str, object]:
    token = held.token
    return {
        "accessKeyID": token.access_key_id,
        "secretAccessKey": token.secret_access_key,
        "sessionToken": token.session_token,
        "expiresAt": token.expires_at,
        "updateKeyPair": token.update_key_pair,
        "issue": _issue_fields(held.issue),
    }


def _held(fields: Fields) -> HeldToken:
    issue = _member(fields, "issue", _issue)
    if issue is None:
        raise MalformedError("issue is missing")
    token = RoleToken(
        access_key_id=text(fields, "accessKeyID"),
        secret_access_key=text(fields, "secretAccessKey"),
        session_token=text(fields, "sessionToken"),
        expires_at=_time(fields, "expiresAt"),
        update_key_pair=_flag(fields, "updateKeyPair"),
    )
    return HeldToken(token, issue)


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise MalformedError(f"{name} is neither true nor false")
    return value


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
        raise MalformedError(f"{name} is not a duration") from None
