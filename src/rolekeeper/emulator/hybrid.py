"""The operations that a managed node calls: registration, role tokens, a new public key, health reports.

docs/protocol.md, sections 2.1 to 2.4. A node's accepted fingerprint is the one that it registered with. After a change
of key only the new key verifies.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace

from rolekeeper.emulator.account import Account, Activation, Node, new_token
from rolekeeper.emulator.administration import ACTIVATION_ID, ROLE, TAGS, UUID
from rolekeeper.emulator.calls import Access, Call, Done, Operation, denied, epoch, tags_in, unknown_node
from rolekeeper.emulator.constraints import Rule, Text
from rolekeeper.emulator.messages import AnswerError
from rolekeeper.emulator.signature import parse_public_key

_FINGERPRINT = Text(required=True, pattern=UUID)
_PUBLIC_KEY = Text(required=True, shortest=392)
_KEY_TYPE = Text(allowed=("Rsa",))

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
UPDATE_KEY: Mapping[str, Rule] = {"NewPublicKey": _PUBLIC_KEY, "NewPublicKeyType": replace(_KEY_TYPE, required=True)}

# A health report (docs/protocol.md, section 2.4). Only InstanceId is required; SSM Agent's first report is short.
REPORT: Mapping[str, Rule] = {
    "AgentName": Text(shortest=1, longest=255),
    "AgentStatus": Text(longest=255),
    "AgentVersion": Text(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){2,3}$"),
    "AvailabilityZone": Text(longest=255),
    "AvailabilityZoneId": Text(longest=255),
    "ComputerName": Text(shortest=1, longest=255),
    "InstanceId": NODE_ID,
    "IPAddress": Text(shortest=1, longest=46, sensitive=True),
    "PlatformName": Text(longest=255),
    "PlatformType": Text(allowed=("Windows", "Linux", "MacOS")),
    "PlatformVersion": Text(longest=255),
    "SSMConnectionChannel": Text(longest=255),
}
DEREGISTER: Mapping[str, Rule] = {"InstanceId": NODE_ID}


def register(account: Account, call: Call) -> Done:
    """Create a managed node for a caller who knows an activation's id and code (docs/protocol.md, section 2.1).

    The node's role is the activation's, whatever the caller requests. The same key and fingerprint create another node.
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
    """Issue role credentials to a node that sends the accepted fingerprint (docs/protocol.md, section 2.2)."""
    node, sent = call.node, call.input["Fingerprint"]
    if sent != node.fingerprint:
        raise AnswerError("MachineFingerprintDoesNotMatch", f"Fingerprint does not match {sent}")
    token = new_token(node.role, node.node_id, node.node_id, call.now, call.expires_at(), assumed=False)
    answer = {
        "AccessKeyId": token.access_key_id,
        "SecretAccessKey": token.secret_access_key,
        "SessionToken": token.session_token,
        "TokenExpirationDate": epoch(token.expires_at),
        "UpdateKeyPair": node.rotation_wanted,
    }
    return account.with_token(token), answer


def update_key(account: Account, call: Call) -> Done:
    """Replace the public key whose private half signed this request (docs/protocol.md, section 2.3)."""
    new_key = call.input["NewPublicKey"]
    _check_key(new_key)
    if any(node.public_key == new_key for node in account.nodes.values()):
        raise AnswerError("PublicKeyAlreadyRegistered", "The public key is already registered.")
    return account.with_node(replace(call.node, public_key=new_key, rotation_wanted=False)), {}


def report(account: Account, call: Call) -> Done:
    """Store a health report (docs/protocol.md, section 2.4). What it leaves out, or leaves empty, keeps its value."""
    node = _own_node(account, call, "ssm:UpdateInstanceInformation")
    facts = dict(node.report) | {name: call.input[name] for name in REPORT if call.input.get(name)}
    del facts["InstanceId"]
    return account.with_node(replace(node, last_seen_at=call.now, report=tuple(facts.items()))), {}


def deregister(account: Account, call: Call) -> Done:
    """Remove a node; its tokens stay valid until they expire, as in AWS."""
    return account.without_node(_own_node(account, call, "ssm:DeregisterManagedInstance").node_id), {}


def _own_node(account: Account, call: Call, action: str) -> Node:
    """The node that the input names. A role may act on its own node only, and only with the node's own token."""
    node_id, node = call.input["InstanceId"], account.nodes.get(call.input["InstanceId"])
    if call.caller.token is not None and call.caller.session_of != node_id:
        resource = f"arn:{account.partition}:ssm:{account.region}:{account.account_id}:managed-instance/{node_id}"
        raise denied(account, call.caller, action, resource)
    if node is None:
        raise unknown_node(node_id)
    return node


def new_fingerprint() -> str:
    """A fingerprint that no machine has."""
    return str(uuid.uuid4())


HYBRID_OPERATIONS: Mapping[str, Operation] = {
    "RegisterManagedInstance": Operation(Access.ANYBODY, REGISTER, register),
    "RequestManagedInstanceRoleToken": Operation(Access.NODE, REQUEST_TOKEN, request_token),
    "UpdateManagedInstancePublicKey": Operation(Access.NODE, UPDATE_KEY, update_key),
    "UpdateInstanceInformation": Operation(Access.CREDENTIALS, REPORT, report),
    "DeregisterManagedInstance": Operation(Access.CREDENTIALS, DEREGISTER, deregister),
}
