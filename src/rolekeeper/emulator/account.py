"""The emulated AWS account, as values: activations, nodes, tokens and the administrator's key.

Nothing here is changed in place. A handler returns a new `Account`, which the service writes to disk before it answers:
no answer mentions anything that a restart would lose. Activations, nodes and tokens keep the order of their creation.
"""

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

Tags = tuple[tuple[str, str], ...]

ACCOUNT_ID = "123456789012"  # AWS's own placeholder in its documentation
REGION = "us-east-1"
TOKEN_MEMORY = timedelta(days=1)  # an expired token is remembered this long, and refused as expired, not as unknown

_KEY_ID_LETTERS = string.ascii_uppercase + "234567"
_SECRET_LETTERS = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class Activation:
    """The permission to register up to `limit` nodes until `expires_at`."""

    activation_id: str
    code: str = field(repr=False)
    role: str
    limit: int
    registrations: int
    created_at: datetime
    expires_at: datetime
    default_name: str = ""
    description: str = ""
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A managed node. `public_key` is the base64 SubjectPublicKeyInfo; `report` is its last health report."""

    node_id: str
    activation_id: str
    role: str
    fingerprint: str
    public_key: str = field(repr=False)
    registered_at: datetime
    name: str = ""
    tags: Tags = ()
    rotation_wanted: bool = False
    last_seen_at: datetime | None = None
    report: Tags = ()


@dataclass(frozen=True, slots=True)
class Token:
    """Role credentials that a node received; they stay valid after the node is deregistered, as in AWS."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    node_id: str
    role: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Administrator:
    """The one long-lived key; it may call every operation that needs no node key."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that the state file keeps over a restart."""

    account_id: str
    region: str
    administrator: Administrator
    activations: Mapping[str, Activation] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)

    def with_activation(self, activation: Activation) -> "Account":
        """The account with an activation added or replaced."""
        return replace(self, activations={**self.activations, activation.activation_id: activation})

    def without_activation(self, activation_id: str) -> "Account":
        """The account without an activation; the nodes that it registered stay."""
        kept = {key: value for key, value in self.activations.items() if key != activation_id}
        return replace(self, activations=kept)

    def with_node(self, node: Node) -> "Account":
        """The account with a node added or replaced."""
        return replace(self, nodes={**self.nodes, node.node_id: node})

    def without_node(self, node_id: str) -> "Account":
        """The account without a node; its tokens stay valid until they expire, as in AWS."""
        return replace(self, nodes={key: value for key, value in self.nodes.items() if key != node_id})

    def with_token(self, token: Token) -> "Account":
        """The account with a token added, and without tokens that expired long ago."""
        kept = {k: v for k, v in self.tokens.items() if v.expires_at > token.issued_at - TOKEN_MEMORY}
        return replace(self, tokens={**kept, token.access_key_id: token})


def new_account(account_id: str, region: str) -> Account:
    """An unused account with a new administrator key."""
    return Account(account_id, region, Administrator(new_key_id("AKIA"), new_secret()))


def new_key_id(prefix: str) -> str:
    """An access key id: AKIA for long-lived keys, ASIA for temporary ones, and 16 characters."""
    return prefix + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(16))


def new_secret() -> str:
    """A secret access key of 40 characters."""
    return "".join(secrets.choice(_SECRET_LETTERS) for _ in range(40))
