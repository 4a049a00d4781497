"""Activations: CreateActivation, DescribeActivations, DeleteActivation (docs/protocol.md, section 2.5)."""

import secrets
import string
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import Account, Activation
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
DESCRIBE: Mapping[str, Rule] = {"Filters": Several(Members(), longest=0)}  # the emulator knows no filters here
DELETE: Mapping[str, Rule] = {"ActivationId": ACTIVATION_ID}


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


def describe(account: Account, call: Call) -> Done:
    """List activations, without their codes."""
    return account, {"ActivationList": [_described(activation, call) for activation in account.activations.values()]}


def _described(activation: Activation, call: Call) -> dict[str, Any]:
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


ACTIVATION_OPERATIONS: Mapping[str, Operation] = {
    "CreateActivation": Operation(Access.ADMINISTRATOR, CREATE, create),
    "DescribeActivations": Operation(Access.ADMINISTRATOR, DESCRIBE, describe),
    "DeleteActivation": Operation(Access.ADMINISTRATOR, DELETE, delete),
}
