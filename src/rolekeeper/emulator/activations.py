"""Activations: CreateActivation, DescribeActivations, DeleteActivation (docs/protocol.md, section 2.5)."""

import secrets
import string
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import Account, Activation
from rolekeeper.emulator.calls import Access, Call, Done, Operation, epoch, from_epoch, page, tags_in
from rolekeeper.emulator.constraints import Members, Moment, Rule, Several, Text, Whole
from rolekeeper.emulator.messages import AnswerError

DEFAULT_LIFETIME = timedelta(hours=24)
LONGEST_LIFETIME = timedelta(days=30)
DEFAULT_LIMIT = 1
CODE_LENGTH = 20
PAGE = 50

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
DESCRIBE: Mapping[str, Rule] = {
    "Filters": Several(Members({"FilterKey": Text(), "FilterValues": Several(Text())})),
    "MaxResults": Whole(1, PAGE),
    "NextToken": Text(),
}
DELETE: Mapping[str, Rule] = {"ActivationId": ACTIVATION_ID}


def create(account: Account, call: Call) -> Done:
    """Make an activation; its code is shown here and never again."""
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


_FILTERS: Mapping[str, Callable[[Activation], str]] = {
    "ActivationIds": lambda activation: activation.activation_id,
    "DefaultInstanceName": lambda activation: activation.default_name,
    "IamRole": lambda activation: activation.role,
}


def describe(account: Account, call: Call) -> Done:
    """List activations, without their codes."""
    found = list(account.activations.values())
    for wanted in call.input.get("Filters") or ():
        key, values = wanted.get("FilterKey"), wanted.get("FilterValues") or ()
        if key not in _FILTERS:
            raise AnswerError("InvalidFilter", f"The filter name {key} isn't valid.")
        found = [activation for activation in found if _FILTERS[key](activation) in values]
    shown, more = page(found, call, PAGE)
    return account, {"ActivationList": [_described(activation, call) for activation in shown], **more}


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
    """Forget an activation; nodes registered with it stay."""
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
