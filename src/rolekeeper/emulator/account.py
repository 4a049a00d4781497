"""The emulated AWS account, as values: roles, activations, nodes, issued credentials and the administrator's key.

Nothing here is changed in place. A handler returns a new `Account`, which the service writes to disk before it answers:
no answer mentions anything that a restart would lose. Every collection keeps the order of creation.
"""

import base64
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

Tags = tuple[tuple[str, str], ...]
Item = TypeVar("Item")

ACCOUNT_ID = "123456789012"  # AWS's own placeholder in its documentation
REGION = "us-east-1"
TOKEN_MEMORY = timedelta(days=1)  # an expired token is remembered this long, and refused as expired, not as unknown
ANY_ROLE = "*"

_KEY_ID_LETTERS = string.ascii_uppercase + "234567"
_SECRET_LETTERS = string.ascii_letters + string.digits + "+/"
_SESSION_TOKEN_START = "IQoJb3JpZ2luX2Vj"  # noqa: S105 - how AWS's tokens begin: a length and "origin_ec"
_SESSION_TOKEN_BYTES = 660

# The partition of a region, by how the region's name begins; every other region is in the partition aws.
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


@dataclass(frozen=True, slots=True)
class Role:
    """A role that can be assumed. `name` includes the path, as in `service-role/Web`.

    `trusts` names the roles that may assume it, without their paths (`administrator` is the administrator, `*` is every
    caller). With an `external_id`, they must send it.
    """

    name: str
    trusts: tuple[str, ...] = (ANY_ROLE,)
    external_id: str = ""
    longest_session: timedelta = timedelta(hours=1)


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
    """A managed node. `public_key` is the base64 SubjectPublicKeyInfo; `report` holds what its health reports said."""

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
    """Temporary credentials of a role; they stay valid after their node is deregistered, as in AWS.

    A node's own token has the node id as its session name. `assumed` credentials come from AssumeRole; their `node_id`
    is the node whose credentials assumed the role, empty for the administrator.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    node_id: str
    role: str
    session_name: str
    assumed: bool
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
    roles: Mapping[str, Role] = field(default_factory=dict)
    activations: Mapping[str, Activation] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """The second field of every ARN in the account's region."""
        return next((name for start, name in _PARTITIONS.items() if self.region.startswith(start)), "aws")

    def role_arn(self, name: str) -> str:
        """The ARN of a role, which need not exist."""
        return f"arn:{self.partition}:iam::{self.account_id}:role/{name}"

    def with_role(self, role: Role) -> "Account":
        """The account with a role added or replaced."""
        return replace(self, roles={**self.roles, role.name: role})

    def without_role(self, name: str) -> "Account":
        """The account without a role; KeyError when it does not exist."""
        return replace(self, roles=_without(self.roles, name))

    def with_activation(self, activation: Activation) -> "Account":
        """The account with an activation added or replaced."""
        return replace(self, activations={**self.activations, activation.activation_id: activation})

    def without_activation(self, activation_id: str) -> "Account":
        """The account without an activation; the nodes that it registered stay."""
        return replace(self, activations=_without(self.activations, activation_id))

    def with_node(self, node: Node) -> "Account":
        """The account with a node added or replaced."""
        return replace(self, nodes={**self.nodes, node.node_id: node})

    def without_node(self, node_id: str) -> "Account":
        """The account without a node; its tokens stay valid until they expire, as in AWS."""
        return replace(self, nodes=_without(self.nodes, node_id))

    def with_token(self, token: Token) -> "Account":
        """The account with a token added, and without tokens that expired long ago."""
        kept = {key: old for key, old in self.tokens.items() if old.expires_at > token.issued_at - TOKEN_MEMORY}
        return replace(self, tokens={**kept, token.access_key_id: token})


def _without(items: Mapping[str, Item], key: str) -> dict[str, Item]:
    rest = dict(items)
    del rest[key]
    return rest


def new_account(account_id: str, region: str) -> Account:
    """An unused account with a new administrator key and two roles for programs."""
    roles = {name: Role(name) for name in ("Backup", "Metrics")}
    return Account(account_id, region, Administrator(_new_key_id("AKIA"), _new_secret()), roles)


def new_token(
    role: str, session_name: str, node_id: str, issued_at: datetime, expires_at: datetime, *, assumed: bool
) -> Token:
    """New credentials for a session of a role."""
    session_token = _SESSION_TOKEN_START + base64.b64encode(secrets.token_bytes(_SESSION_TOKEN_BYTES)).decode()
    return Token(
        access_key_id=_new_key_id("ASIA"),
        secret_access_key=_new_secret(),
        session_token=session_token,
        node_id=node_id,
        role=role,
        session_name=session_name,
        assumed=assumed,
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _new_key_id(prefix: str) -> str:
    """An access key id: AKIA for long-lived keys, ASIA for temporary ones, and 16 characters."""
    return prefix + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(16))


def _new_secret() -> str:
    """A secret access key of 40 characters."""
    return "".join(secrets.choice(_SECRET_LETTERS) for _ in range(40))
