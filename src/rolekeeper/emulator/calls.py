"""The terms in which operations are written: who calls, with what input, and with what result.

A handler takes the account and a call, and returns the changed account and the answer, or raises AnswerError. It is a
pure function except for the random identifiers that it creates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from rolekeeper.emulator.account import Account, Node, Tags, Token
from rolekeeper.emulator.constraints import Rule
from rolekeeper.emulator.messages import AnswerError

INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - AWS's message
EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105 - AWS's message

SHORTEST_SESSION = timedelta(minutes=15)


class Access(Enum):
    """Who may call an operation."""

    ANYBODY = "unsigned, or signed by any caller"
    NODE = "signed with the node key"
    ADMINISTRATOR = "signed with the administrator's key"
    CREDENTIALS = "signed with the administrator's key or with role credentials"
    NOBODY = "signed with the administrator's key or with role credentials, and denied"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed: a node (with its key), a role (with a token), or the administrator (neither is set)."""

    key_id: str
    node: Node | None = None
    token: Token | None = None

    @property
    def session_of(self) -> str:
        """The node whose own role token signed; empty for every other caller."""
        return "" if self.token is None or self.token.assumed else self.token.node_id


@dataclass(frozen=True, slots=True)
class Call:
    """One verified and validated request.

    `token_lifetime` is that of a token issued now; `forced_lifetime` is a fault's, and overrides every other.
    """

    input: Mapping[str, Any]
    caller: Caller
    now: datetime
    token_lifetime: timedelta
    forced_lifetime: timedelta | None = None

    @property
    def node(self) -> Node:
        """The node that signed; only for operations that a node key signs."""
        if self.caller.node is None:
            raise AnswerError("UnrecognizedClientException", INVALID_TOKEN)
        return self.caller.node

    def expires_at(self, requested: timedelta | None = None) -> datetime:
        """When credentials that are issued now expire.

        A session lives as long as requested, unless `token_lifetime` is shorter than any session in AWS.
        """
        lifetime = self.token_lifetime
        if requested is not None and lifetime >= SHORTEST_SESSION:
            lifetime = requested
        if self.forced_lifetime is not None:
            lifetime = self.forced_lifetime
        try:
            return self.now + lifetime
        except OverflowError:  # a fault's absurd lifetime: the last second that a datetime can hold
            return datetime.max.replace(microsecond=0, tzinfo=UTC)


Done = tuple[Account, Mapping[str, Any]]  # the account after the call, and the answer
Handler = Callable[[Account, Call], Done]


def do_nothing(account: Account, _call: Call) -> Done:
    """The handler of an operation that nobody may call."""
    return account, {}


@dataclass(frozen=True, slots=True)
class Operation:
    """Who may call it, the constraints on its input, and what it does."""

    access: Access
    members: Mapping[str, Rule] = field(default_factory=dict)
    handler: Handler = do_nothing


def arn(account: Account, caller: Caller) -> str:
    """The caller's ARN, as STS reports it."""
    if caller.token is None:
        return f"arn:{account.partition}:iam::{account.account_id}:user/administrator"
    return session_arn(account, caller.token)


def session_arn(account: Account, token: Token) -> str:
    """The ARN of a role session."""
    start = f"arn:{account.partition}:sts::{account.account_id}:assumed-role"
    return f"{start}/{role_name(token.role)}/{token.session_name}"


def role_name(role: str) -> str:
    """A role without its path: `service-role/Name` is `Name` in the ARN of a session."""
    return role.rpartition("/")[2]


def denied(account: Account, caller: Caller, action: str, resource: str, reason: str = "") -> AnswerError:
    """AccessDeniedException in AWS's words."""
    text = f"User: {arn(account, caller)} is not authorized to perform: {action} on resource: {resource} {reason}"
    return AnswerError("AccessDeniedException", text.rstrip())


def unknown_node(node_id: str) -> AnswerError:
    """InvalidInstanceId, for an id that is not or no longer registered."""
    return AnswerError("InvalidInstanceId", f"Not existing InstanceId {node_id}")


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
