"""What a managed node itself asks for: registration, role tokens, a new public key, a health report.

docs/protocol.md, sections 2.1 to 2.4. A node's accepted fingerprint is the one that it registered with. After a change
of key only the new key verifies.
"""

import base64
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rolekeeper.emulator.account import Account, Activation, Node, Token, new_key_id, new_secret
from rolekeeper.emulator.activations import ACTIVATION_ID, ROLE, TAGS, UUID
from rolekeeper.emulator.calls import Access, Call, Done, Operation, epoch, tags_in
from rolekeeper.emulator.constraints import Rule, Text
from rolekeeper.emulator.messages import AnswerError
from rolekeeper.emulator.signature import parse_public_key

_FINGERPRINT = Text(required=True, pattern=UUID)
_PUBLIC_KEY = Text(required=True, shortest=392)
_KEY_TYPE = Text(required=True, allowed=("Rsa",))
_SESSION_TOKEN_START = "IQoJb3JpZ2luX2Vj"  # noqa: S105 - how AWS's tokens begin: a length and "origin_ec"
_SESSION_TOKEN_BYTES = 660

NODE_ID = Text(required=True, shortest=20, longest=124, pattern="^mi-[0-9a-f]{17}$")

REGISTER: Mapping[str, Rule] = {
    "ActivationCode": Text(required=True, shortest=20, longest=250, sensitive=True),
    "ActivationId": ACTIVATION_ID,
    "Fingerprint": _FINGERPRINT,
    "PublicKey": _PUBLIC_KEY,
    "PublicKeyType": _KEY_TYPE,
    "IamRole": replace(ROLE, required=False),
    "Tags": TAGS,
}
REQUEST_TOKEN: Mapping[str, Rule] = {"Fingerprint": _FINGERPRINT}
UPDATE_KEY: Mapping[str, Rule] = {"NewPublicKey": _PUBLIC_KEY, "NewPublicKeyType": _KEY_TYPE}

# What a node reports of itself, in the order of docs/protocol.md, section 2.4.
REPORTED = (
    "AgentName",
    "AgentStatus",
    "AgentVersion",
    "AvailabilityZone",
    "ComputerName",
    "IPAddress",
    "PlatformName",
    "PlatformType",
    "PlatformVersion",
    "SSMConnectionChannel",
)
REPORT: Mapping[str, Rule] = {
    "InstanceId": NODE_ID,
    **{name: Text(longest=255) for name in REPORTED},
    "AgentName": Text(required=True, shortest=1, longest=255),
    "AgentVersion": Text(required=True, pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){2,3}$"),
    "ComputerName": Text(shortest=1, longest=255),
    "IPAddress": Text(shortest=1, longest=46, sensitive=True),
    "PlatformType": Text(required=True, allowed=("Windows", "Linux", "MacOS")),
}


def register(account: Account, call: Call) -> Done:
    """Make a managed node of whoever knows an activation's id and code, and count it (docs/protocol.md, section 2.1).

    The node's role is the activation's: a machine does not choose its own. The same key and fingerprint again make
    another node.
    """
    wanted = call.input
    activation = _usable_activation(account, call)
    _check_key(wanted["PublicKey"])
    node = Node(
        node_id=f"mi-{secrets.token_hex(9)[:17]}",
        activation_id=activation.activation_id,
        role=activation.role,
        fingerprint=wanted["Fingerprint"],
        public_key=wanted["PublicKey"],
        registered_at=call.now,
        name=activation.default_name,
        tags=tuple(dict(activation.tags + tags_in(wanted.get("Tags"))).items()),
    )
    counted = replace(activation, registrations=activation.registrations + 1)
    return account.with_activation(counted).with_node(node), {"InstanceId": node.node_id}


def _usable_activation(account: Account, call: Call) -> Activation:
    activation = account.activations.get(call.input["ActivationId"])
    if activation is None or not secrets.compare_digest(
        activation.code.encode(), call.input["ActivationCode"].encode("utf-8", "replace")
    ):
        reason = "The activation isn't valid. It might have been deleted, or its ID and code don't belong together."
        raise AnswerError("InvalidActivation", reason)
    if activation.expires_at <= call.now:
        raise AnswerError("ActivationExpired", "The activation has expired.")
    if activation.registrations >= activation.limit:
        raise AnswerError("RegistrationLimitExceeded", f"The activation's limit of {activation.limit} is reached.")
    return activation


def _check_key(public_key: str) -> None:
    try:
        parse_public_key(public_key)
    except ValueError as error:
        raise AnswerError("InvalidPublicKey", f"The public key isn't valid: {error}") from None


def request_token(account: Account, call: Call) -> Done:
    """Issue role credentials to a node on the machine that it was registered on (docs/protocol.md, section 2.2)."""
    node, sent = call.node, call.input["Fingerprint"]
    if sent != node.fingerprint:
        raise AnswerError("MachineFingerprintDoesNotMatch", f"Fingerprint does not match {sent}")
    token = Token(
        access_key_id=new_key_id("ASIA"),
        secret_access_key=new_secret(),
        session_token=_SESSION_TOKEN_START + base64.b64encode(secrets.token_bytes(_SESSION_TOKEN_BYTES)).decode(),
        node_id=node.node_id,
        role=node.role,
        issued_at=call.now,
        expires_at=_later(call.now, call.token_lifetime),
    )
    answer = {
        "AccessKeyId": token.access_key_id,
        "SecretAccessKey": token.secret_access_key,
        "SessionToken": token.session_token,
        "TokenExpirationDate": epoch(token.expires_at),
        "UpdateKeyPair": node.rotation_wanted,
    }
    return account.with_token(token), answer


def _later(now: datetime, lifetime: timedelta) -> datetime:
    try:
        return now + lifetime
    except OverflowError:  # a lifetime meant to be absurd: the last second that a datetime can hold
        return datetime.max.replace(microsecond=0, tzinfo=UTC)


def update_key(account: Account, call: Call) -> Done:
    """Put a new public key in place of the one that signed this request (docs/protocol.md, section 2.3)."""
    new_key = call.input["NewPublicKey"]
    _check_key(new_key)
    if any(node.public_key == new_key for node in account.nodes.values()):
        raise AnswerError("PublicKeyAlreadyRegistered", "The public key is already registered.")
    return account.with_node(replace(call.node, public_key=new_key, rotation_wanted=False)), {}


def report(account: Account, call: Call) -> Done:
    """Note that a node is there, and what it says of itself (docs/protocol.md, section 2.4)."""
    token, node = call.caller.token, account.nodes.get(call.input["InstanceId"])
    if token is not None and token.node_id != call.input["InstanceId"]:
        raise AnswerError("AccessDeniedException", f"{token.node_id} may not report for another managed node.")
    if node is None:
        raise unknown_node(call.input["InstanceId"])
    facts = tuple((name, call.input[name]) for name in REPORTED if call.input.get(name))
    return account.with_node(replace(node, last_seen_at=call.now, report=facts)), {}


def unknown_node(node_id: str) -> AnswerError:
    """InvalidInstanceId, for an id that is not or no longer registered."""
    return AnswerError("InvalidInstanceId", f"{node_id} isn't the ID of a managed node in this account and region.")


def new_fingerprint() -> str:
    """A fingerprint that no machine has."""
    return str(uuid.uuid4())


HYBRID_OPERATIONS: Mapping[str, Operation] = {
    "RegisterManagedInstance": Operation(Access.ANYBODY, REGISTER, register),
    "RequestManagedInstanceRoleToken": Operation(Access.NODE, REQUEST_TOKEN, request_token),
    "UpdateManagedInstancePublicKey": Operation(Access.NODE, UPDATE_KEY, update_key),
    "UpdateInstanceInformation": Operation(Access.CREDENTIALS, REPORT, report),
}
