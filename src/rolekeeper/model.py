"""The values that travel through rolekeeper: frozen, without behaviour, without I/O.

Units: a name ending in `_at` is an aware UTC datetime, a duration is a timedelta, a share is a float between 0 and 1.
Secrets (`NodeKey`, `RoleToken`) never show in a repr.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from rolekeeper.values import NOTHING, Value

HardwareHash = Mapping[str, str]
"""The nine components of docs/protocol.md, section 1.1; a component that could not be read is the empty string."""

SMBIOS_COMPONENTS = ("processor-hash", "memory-hash", "bios-hash", "system-hash")
COMPONENTS = ("machine-id", *SMBIOS_COMPONENTS, "hostname-info", "ipaddress-info", "macaddr-info", "disk-info")

DEFAULT_SIMILARITY_THRESHOLD = 40  # percent; docs/protocol.md, section 1.3
THRESHOLD_OFF = -1


class Instant(Value):
    """One moment on both clocks: `wall` may step, `boot` (CLOCK_BOOTTIME, since boot) only runs, also in suspend."""

    wall: datetime
    boot: timedelta


class Hardware(Value):
    """The hardware hash of this moment, and for each component that could not be read the reason why.

    `transient` names those of them that another look may find.
    """

    hash: HardwareHash
    unreadable: Mapping[str, str] = NOTHING
    transient: frozenset[str] = frozenset()


class NodeKey(Value, hidden=("private_key",)):
    """An RSA-2048 node key: base64 of the PKCS#1 DER, as in SSM Agent's vault (docs/protocol.md, section 4)."""

    private_key: str
    created_at: datetime


class Registration(Value):
    """What the service and this machine agreed on: node id (`mi-` and 17 hex digits), region, and the node key."""

    node_id: str
    region: str
    key: NodeKey


class AcceptedFingerprint(Value):
    """The last fingerprint that the service accepted, the hardware hash bound to it, and the threshold in percent."""

    fingerprint: str
    hardware_hash: HardwareHash
    threshold: int = DEFAULT_SIMILARITY_THRESHOLD


class PendingRegistration(Value):
    """A registration that was begun: stored before the service is called, so that it can be resumed after a crash."""

    activation_id: str
    region: str
    fingerprint: str
    hardware_hash: HardwareHash
    key: NodeKey


class RoleToken(Value, hidden=("secret_access_key", "session_token")):
    """Role credentials as the service issued them; `expires_at` is on the service's clock."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime
    update_key_pair: bool = False


class Lifetime(Value):
    """When credentials were issued and when they expire, on the service's clock.

    `issued_boot` is this machine's CLOCK_BOOTTIME at the issue: ages count from it, because the wall clock may step.
    It is negative for what was issued before this boot.
    """

    issued_at: datetime
    expires_at: datetime
    issued_boot: timedelta


class IssueRecord(Value):
    """The last token that was published, without its secrets. `boot_id` says whether `issued_boot` still counts."""

    node_id: str
    access_key_id: str
    life: Lifetime
    boot_id: str


class HeldToken(Value):
    """The node's role token while an output still needs it; it is kept in the vault as long as it is fresh."""

    token: RoleToken
    issue: IssueRecord


class Node(Value):
    """A registration with the fingerprint that the service accepted; there is never one without the other."""

    registration: Registration
    accepted: AcceptedFingerprint


NODE_ROLE = ""  # where credentials are named by their role, this names the node's own


class VaultContents(Value):
    """Everything in the vault at one moment. A change is a `replace` and a `Vault.save`.

    `measured` is the hardware hash at the last accepted request, `pending_key` a key that the service may know
    already, `superseded_key` one that was replaced or refused and is kept until another is accepted. `issues` holds the
    last credentials published, by role.
    """

    node: Node | None = None
    measured: HardwareHash | None = None
    pending_key: NodeKey | None = None
    superseded_key: NodeKey | None = None
    pending_registration: PendingRegistration | None = None
    issues: Mapping[str, IssueRecord] = NOTHING
    held_token: HeldToken | None = None

    @property
    def registration(self) -> Registration | None:
        """The node's registration."""
        return self.node.registration if self.node else None

    @property
    def fingerprint(self) -> AcceptedFingerprint | None:
        """The node's accepted fingerprint."""
        return self.node.accepted if self.node else None


class VaultKey(Value, hidden=("value",)):
    """A key that the vault is sealed with: 256 random bits. `name` is derived from them, and is no secret."""

    name: str
    value: bytes


class TokenAnswer(Value):
    """The service's answer to a token request.

    `received_at` is the moment on the service's clock, `received_boot` the same on this machine's CLOCK_BOOTTIME;
    `clock_difference` is service minus local, None when the answer does not show it (docs/protocol.md, section 3).
    """

    token: RoleToken
    received_at: datetime
    received_boot: timedelta
    clock_difference: timedelta | None = None
    request_id: str | None = None

    @property
    def life(self) -> Lifetime:
        """The life of the token, issued when the answer was received."""
        return Lifetime(self.received_at, self.token.expires_at, self.received_boot)


class Phase(StrEnum):
    """Where the loop is, in the words of status.json; docs/states.md draws how the phases follow each other."""

    UNREGISTERED = "unregistered"
    ATTEMPTING = "attempting"
    WAITING = "waiting"
    BACKING_OFF = "backing-off"
    HIBERNATING = "hibernating"
    STOPPING = "stopping"


class Outcome(StrEnum):
    """What an attempt came to; docs/outcomes.md lists which service code leads to which."""

    ISSUED = "issued"
    FAILED = "failed"
    REFUSED = "refused"
    FINGERPRINT_REFUSED = "fingerprint-refused"
    NODE_UNKNOWN = "node-unknown"
    HARDWARE_UNREADABLE = "hardware-unreadable"
    UNPUBLISHED = "unpublished"
    ROLE_REFUSED = "role-refused"
    VAULT_UNREADABLE = "vault-unreadable"
    UNREGISTERED = "unregistered"


class Freshness(StrEnum):
    """How much of the credentials' life is left: fresh more than a quarter, stale less, then expired.

    An output without our credentials is absent, held-by-another, or unknown when it cannot be read.
    """

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"
    HELD_BY_ANOTHER = "held-by-another"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Holding(StrEnum):
    """Whose credentials an output holds."""

    OURS = "ours"  # those that the vault's record of the last issue names
    OTHER = "other"  # those of another program, as far as is known
    ABSENT = "absent"  # none that a program could use
    UNKNOWN = "unknown"  # it was not looked at, cannot be read, or holds a key of unknown origin


class Verdict(StrEnum):
    """Whether the current hardware is the machine that the fingerprint belongs to."""

    SIMILAR = "similar"
    NOT_SIMILAR = "not-similar"
    UNREADABLE = "unreadable"  # not similar, but would be if the components that could not be read matched


class FingerprintSummary(Value):
    """How the hardware compared: `matched` of `compared` components, threshold in percent (-1: check off).

    `decided_by` names the one component that decided, whatever the others are; empty when the share decided.
    """

    verdict: Verdict
    matched: int
    compared: int
    threshold: int
    decided_by: str = ""


class LogEntry(Value):
    """Something that happened and belongs in the log: event name, level, one line, further fields."""

    event: str
    level: str
    message: str
    fields: Mapping[str, str] = NOTHING


class OutputKind(StrEnum):
    """The tables of the configuration that describe an output."""

    CREDENTIALS_FILE = "credentials_file"
    ENDPOINT = "endpoint"


class OutputName(Value):
    """What identifies an output: `name` is a path, with a profile in it, or the name of an endpoint."""

    name: str
    profile: str = ""
    kind: OutputKind = OutputKind.CREDENTIALS_FILE


class OutputProblem(Value):
    """Why an output does not hold what it should, in the words of an error.

    `is_warning`: it holds what it should, and programs may not use it.
    """

    code: str
    message: str
    hint: str = ""
    is_warning: bool = False


class OutputContents(Value):
    """What an output holds, as it is there: access key id and expiry are empty strings when it has none.

    `is_complete`: everything that a program needs is there. `warning`: why programs may still not use it.
    """

    access_key_id: str = ""
    expiry: str = ""
    is_complete: bool = False
    warning: OutputProblem | None = None


class OutputReport(Value):
    """What an output holds at the end of an attempt.

    `access_key_id` and `life` are those of our credentials, when it holds them. `is_current`: these are the newest that
    this node has for it. `is_written`: this attempt published them.
    """

    name: OutputName
    role: str = NODE_ROLE
    holding: Holding = Holding.UNKNOWN
    access_key_id: str = ""
    life: Lifetime | None = None
    is_current: bool = False
    is_written: bool = False
    problem: OutputProblem | None = None


class AttemptReport(Value):
    """What one attempt reports. `code`, `message` and `hint` are empty when all went well.

    `expires_at` is that of the node's role token at hand. `is_reused`: every output held fresh credentials, and no
    token was requested. `clock_difference` is the service's clock minus this machine's, None when no answer showed it;
    `key_created_at` is that of the node key in use. `outputs` is what the outputs hold after the attempt, also when
    it brought no token; empty when the attempt did not look at them. `roles_refused` are the roles that were
    requested in this attempt and refused, each with the reason.
    """

    outcome: Outcome
    code: str = ""
    message: str = ""
    hint: str = ""
    request_id: str | None = None
    expires_at: datetime | None = None
    is_reused: bool = False
    fingerprint: FingerprintSummary | None = None
    node_id: str | None = None
    region: str | None = None
    clock_difference: timedelta | None = None
    key_created_at: datetime | None = None
    outputs: tuple[OutputReport, ...] = ()
    roles_refused: Mapping[str, OutputProblem] = NOTHING
    entries: tuple[LogEntry, ...] = ()


class HealthFacts(Value):
    """What a health report says of this machine; empty: unknown (docs/protocol.md, section 2.4)."""

    agent_version: str
    computer_name: str = ""
    ip_address: str = ""
    platform_name: str = ""
    platform_version: str = ""


class HealthReported(Value):
    """What came of a health report. `code`, `message` and `hint` are empty when the service took it.

    `is_due`: False when there was nothing to report with, such as before the first token.
    """

    node_id: str | None = None
    is_due: bool = True
    code: str = ""
    message: str = ""
    hint: str = ""


class RegistrationFound(Value):
    """The attempt has read the vault and looked at the outputs; the service has not answered yet."""

    node_id: str
    region: str
    outputs: tuple[OutputReport, ...]
