"""The terms in which operations are written: who calls, with what input, and with what result.

A handler takes the account and a call, and returns the changed account and the answer, or raises AnswerError. It is a
pure function except for the random identifiers that it creates.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

from rolekeeper.emulator.account import Account, Node, Tags, Token
from rolekeeper.emulator.constraints import Rule
from rolekeeper.emulator.messages import AnswerError

Item = TypeVar("Item")


class Access(Enum):
    """Who may call an operation."""

    ANYBODY = "unsigned"
    NODE = "signed with the node key"
    ADMINISTRATOR = "signed with the administrator's key"
    CREDENTIALS = "signed with the administrator's key or with role credentials"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed: a node (with its key), a role (with a token), or the administrator (neither is set)."""

    key_id: str
    node: Node | None = None
    token: Token | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One verified and validated request. `token_lifetime` is that of a token issued now."""

    input: Mapping[str, Any]
    caller: Caller
    now: datetime
    token_lifetime: timedelta

    @property
    def node(self) -> Node:
        """The node that signed; only for operations that a node key signs."""
        if self.caller.node is None:
            raise AnswerError("UnrecognizedClientException", INVALID_TOKEN)
        return self.caller.node


Done = tuple[Account, Mapping[str, Any]]  # the account after the call, and the answer
Handler = Callable[[Account, Call], Done]


@dataclass(frozen=True, slots=True)
class Operation:
    """Who may call it, what its input must look like, and what it does."""

    access: Access
    members: Mapping[str, Rule]
    handler: Handler


INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - AWS's message
EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105 - AWS's message

# Everything that is not listed is in the first partition (docs/protocol.md, section 2, names the regions' domains).
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition(region: str) -> str:
    """The second field of every ARN in a region."""
    return next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def arn(account: Account, caller: Caller) -> str:
    """Who somebody is, in STS's words."""
    start = f"arn:{partition(account.region)}"
    if caller.token is None:
        return f"{start}:iam::{account.account_id}:user/administrator"
    role = role_name(caller.token.role)
    return f"{start}:sts::{account.account_id}:assumed-role/{role}/{caller.token.node_id}"


def role_name(role: str) -> str:
    """A role without its path: `service-role/Name` is `Name` in the ARN of a session."""
    return role.rpartition("/")[2]


def epoch(moment: datetime) -> float:
    """Epoch seconds with milliseconds, as JSON 1.1 writes a timestamp."""
    return round(moment.timestamp(), 3)


def from_epoch(seconds: float) -> datetime:
    """The moment that a client wrote as epoch seconds."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise AnswerError("SerializationException", f"{seconds} can not be converted to a Timestamp") from None


def tags_in(document: Sequence[Mapping[str, str]] | None) -> Tags:
    """Tags as a request holds them."""
    return tuple((tag["Key"], tag["Value"]) for tag in document or ())


def page(items: Sequence[Item], call: Call, largest: int) -> tuple[Sequence[Item], Mapping[str, str]]:
    """One page of a list, and the NextToken that leads to the next one (empty at the end)."""
    token = call.input.get("NextToken") or "0"
    if not re.fullmatch("[0-9]{1,9}", token):
        raise AnswerError("InvalidNextToken", "The specified token isn't valid.")
    start = int(token)
    end = start + (call.input.get("MaxResults") or largest)
    return items[start:end], {"NextToken": str(end)} if end < len(items) else {}
