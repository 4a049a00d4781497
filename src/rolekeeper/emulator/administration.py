"""What an administrator calls: activations, and the list of managed nodes (docs/protocol.md, section 2.5)."""

import secrets
import string
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import Account, Activation, Node
from rolekeeper.emulator.calls import Access, Call, Done, Operation, epoch, from_epoch, tags_in
from rolekeeper.emulator.constraints import Members, Moment, Rule, Several, Text, Whole
from rolekeeper.emulator.messages import AnswerError

DEFAULT_LIFETIME = timedelta(hours=24)
LONGEST_LIFETIME = timedelta(days=30)
DEFAULT_LIMIT = 1
CODE_LENGTH = 20

_NAME = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"
UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

ACTIVATION_ID = Text(required=True, pattern=UUID)
ROLE = Text(required=True, shortest=1, longest=64, pattern=r"^[\w+=,.@/-]+$")
TAGS = Several(
    Members(
        {
            "Key": Text(required=True, shortest=1, longest=128, pattern=_NAME),
            "Value": Text(required=True, longest=256, pattern=_NAME),
        }
    ),
    longest=1000,
)

CREATE: Mapping[str, Rule] = {
    "Description": Text(longest=256),
    "DefaultInstanceName": Text(longest=256, pattern=_NAME),
    "IamRole": ROLE,
    "RegistrationLimit": Whole(1, 1000),
    "ExpirationDate": Moment(),
    "Tags": TAGS,
}
DESCRIBE_ACTIVATIONS: Mapping[str, Rule] = {"Filters": Several(Members(), longest=0)}  # there are none to filter by
DELETE: Mapping[str, Rule] = {"ActivationId": ACTIVATION_ID}

ONLINE_FOR = timedelta(minutes=10)  # SSM Agent reports every five minutes; one report may be lost

DESCRIBE_NODES: Mapping[str, Rule] = {
    "Filters": Several(
        Members(
            {
                "Key": Text(required=True, shortest=1),
                "Values": Several(Text(shortest=1), shortest=1, longest=100, required=True),
            }
        )
    ),
    "InstanceInformationFilterList": Several(Members(), longest=0),  # the older form, which the emulator does not know
}
# The filters, by the member that each compares.
_FILTERS: Mapping[str, str] = {
    "InstanceIds": "InstanceId",
    "ActivationIds": "ActivationId",
    "IamRole": "IamRole",
    "PingStatus": "PingStatus",
    "PlatformTypes": "PlatformType",
}
_REPORTED = ("AgentVersion", "PlatformType", "PlatformName", "PlatformVersion", "IPAddress", "ComputerName")


def create(account: Account, call: Call) -> Done:
    """Create an activation. Only this answer contains its code."""
    wanted = call.input
    expiry = wanted.get("ExpirationDate")
    expires_at = call.now + DEFAULT_LIFETIME if expiry is None else from_epoch(expiry)
    if not call.now < expires_at <= call.now + LONGEST_LIFETIME:
        reason = "The expiration date must be in the future and at most 30 days ahead."
        raise AnswerError("InvalidParameters", reason)
    activation = Activation(
        activation_id=str(uuid.uuid4()),
        code="".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(CODE_LENGTH)),
        role=wanted["IamRole"],
        limit=wanted.get("RegistrationLimit") or DEFAULT_LIMIT,
        registrations=0,
        created_at=call.now,
        expires_at=expires_at,
        default_name=wanted.get("DefaultInstanceName") or "",
        description=wanted.get("Description") or "",
        tags=tags_in(wanted.get("Tags")),
    )
    answer = {"ActivationId": activation.activation_id, "ActivationCode": activation.code}
    return account.with_activation(activation), answer


def describe_activations(account: Account, call: Call) -> Done:
    """List activations, without their codes."""
    return account, {"ActivationList": [_described_activation(one, call) for one in account.activations.values()]}


def _described_activation(activation: Activation, call: Call) -> dict[str, Any]:
    facts = {
        "ActivationId": activation.activation_id,
        "Description": activation.description,
        "DefaultInstanceName": activation.default_name,
        "IamRole": activation.role,
        "RegistrationLimit": activation.limit,
        "RegistrationsCount": activation.registrations,
        "ExpirationDate": epoch(activation.expires_at),
        "Expired": activation.expires_at <= call.now,
        "CreatedDate": epoch(activation.created_at),
        "Tags": [{"Key": key, "Value": value} for key, value in activation.tags],
    }
    return {name: value for name, value in facts.items() if value not in ("", [])}


def delete(account: Account, call: Call) -> Done:
    """Delete an activation; the nodes that it registered stay."""
    activation_id = call.input["ActivationId"]
    if activation_id not in account.activations:
        raise AnswerError(
            "InvalidActivationId", "The activation ID isn't valid. Verify that you entered the correct ID."
        )
    return account.without_activation(activation_id), {}


def describe_nodes(account: Account, call: Call) -> Done:
    """List nodes. A node without a recent health report is ConnectionLost."""
    found = [_described_node(node, call) for node in account.nodes.values()]
    for one in call.input.get("Filters") or ():
        key, values = one["Key"], one["Values"]
        if key not in _FILTERS:
            raise AnswerError("InvalidFilterKey", f"The filter key {key} isn't valid.")
        found = [facts for facts in found if facts.get(_FILTERS[key]) in values]
    return account, {"InstanceInformationList": found}


def _described_node(node: Node, call: Call) -> dict[str, Any]:
    online = node.last_seen_at is not None and call.now - node.last_seen_at < ONLINE_FOR
    report = dict(node.report)
    facts = {
        "InstanceId": node.node_id,
        "PingStatus": "Online" if online else "ConnectionLost",
        "LastPingDateTime": node.last_seen_at and epoch(node.last_seen_at),
        "ActivationId": node.activation_id,
        "IamRole": node.role,
        "RegistrationDate": epoch(node.registered_at),
        "ResourceType": "ManagedInstance",
        "Name": node.name,
        **{name: report.get(name) for name in _REPORTED},
    }
    return {name: value for name, value in facts.items() if value}


ADMINISTRATION_OPERATIONS: Mapping[str, Operation] = {
    "CreateActivation": Operation(Access.ADMINISTRATOR, CREATE, create),
    "DescribeActivations": Operation(Access.ADMINISTRATOR, DESCRIBE_ACTIVATIONS, describe_activations),
    "DeleteActivation": Operation(Access.ADMINISTRATOR, DELETE, delete),
    "DescribeInstanceInformation": Operation(Access.ADMINISTRATOR, DESCRIBE_NODES, describe_nodes),
}
