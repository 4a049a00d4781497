"""What an attempt sees, what it may do next, and what comes back: values only, core/attempt.py holds the rules."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from rolekeeper.core.similarity import Comparison
from rolekeeper.errors import OutputError, RolekeeperError
from rolekeeper.model import (
    NODE_ROLE,
    AttemptReport,
    Hardware,
    Instant,
    IssueRecord,
    LogEntry,
    Node,
    OutputContents,
    Registration,
    RoleToken,
    TokenAnswer,
    VaultContents,
)
from rolekeeper.settings import Output, Role
from rolekeeper.values import NOTHING, Value


class SeenOutput(Value):
    """One output before the attempt: what it holds (None: it cannot be read), and why it cannot be written, if so."""

    output: Output
    contents: OutputContents | None
    problem: OutputError | None = None

    @property
    def role(self) -> str:
        """The role whose credentials it is for."""
        return self.output.role or NODE_ROLE


class Seen(Value):
    """Everything that an attempt looked at, once. `contents` holds `node`; `comparison` judges `hardware`.

    `refresh_share` is the share of a token's life after which another is requested. `rotate_after` None: the node key
    is never rotated for its age alone. `keeps_token`: the vault keeps the node's token, for health reports.
    `passed_over` are the roles that were refused and are not to be requested again yet.
    """

    contents: VaultContents
    node: Node
    hardware: Hardware
    comparison: Comparison
    outputs: tuple[SeenOutput, ...]
    now: Instant
    boot_id: str
    roles: Mapping[str, Role] = NOTHING
    refresh_share: float = 0.5
    reuse: bool = False
    rotate_after: timedelta | None = None
    keeps_token: bool = False
    passed_over: frozenset[str] = frozenset()


class RequestToken(Value):
    """Request the node's role token, signed with the registration's key. Answer: TokenAnswer or an error."""

    registration: Registration
    fingerprint: str


class Assume(Value):
    """Assume a role with the node's role token. Answer: TokenAnswer or an error."""

    role: Role
    registration: Registration
    token: RoleToken


class Publish(Value):
    """Put credentials, issued at `issue`, into an output. Answer: None or an error."""

    output: Output
    token: RoleToken
    issue: IssueRecord


class Save(Value):
    """Make the vault hold this. Answer: None or an error."""

    contents: VaultContents


class Rotate(Value):
    """Replace the node key with the service's consent. Answer: the vault's contents then, and what to log."""

    contents: VaultContents
    registration: Registration
    fingerprint: str
    now: datetime  # the service's time


class Report(Value):
    """The attempt is over."""

    report: AttemptReport


Step = RequestToken | Assume | Publish | Save | Rotate | Report
Answer = TokenAnswer | RolekeeperError | tuple[VaultContents, LogEntry] | None
