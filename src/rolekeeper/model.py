"""The values that travel through rolekeeper: frozen, without behaviour, without I/O.

Units: a name ending in `_at` is an aware UTC datetime, a duration is a timedelta, a share is a float between 0 and 1.
Secrets (`NodeKey`, `RoleToken`) never show in a repr.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

HardwareHash = Mapping[str, str]
"""The nine components of docs/protocol.md, section 1.1; a component that could not be read is the empty string."""

SMBIOS_COMPONENTS = ("processor-hash", "memory-hash", "bios-hash", "system-hash")
COMPONENTS = ("machine-id", *SMBIOS_COMPONENTS, "hostname-info", "ipaddress-info", "macaddr-info", "disk-info")

DEFAULT_SIMILARITY_THRESHOLD = 40  # percent; docs/protocol.md, section 1.3
THRESHOLD_OFF = -1


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks: `wall` may step, `boot` (CLOCK_BOOTTIME, since boot) only runs, also in suspend."""

    wall: datetime
    boot: timedelta


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware hash of this moment, and for each component that could not be read the reason why.

    `transient` names those of them that another look may find.
    """

    hash: HardwareHash
    unreadable: Mapping[str, str] = field(default_factory=dict)
    transient: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeKey:
    """An RSA-2048 node key: base64 of the PKCS#1 DER, as in SSM Agent's vault (docs/protocol.md, section 4)."""

    private_key: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Registration:
    """What the service and this machine agreed on: node id (`mi-` and 17 hex digits), region, and the node key."""

    node_id: str
    region: str
    key: NodeKey


@dataclass(frozen=True, slots=True)
class AcceptedFingerprint:
    """The last fingerprint that the service accepted, the hardware hash bound to it, and the threshold in percent."""

    fingerprint: str
    hardware_hash: HardwareHash
    threshold: int = DEFAULT_SIMILARITY_THRESHOLD


@dataclass(frozen=True, slots=True)
class PendingRegistration:
    """A registration that was begun: stored before the service is called, so that a crash can be taken up again."""

    activation_id: str
    region: str
    fingerprint: str
    hardware_hash: HardwareHash
    key: NodeKey


@dataclass(frozen=True, slots=True)
class RoleToken:
    """Role credentials as the service issued them; `expires_at` is on the service's clock."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime
    update_key_pair: bool = False


@dataclass(frozen=True, slots=True)
class Lifetime:
    """From when until when credentials are good, on the service's clock.

    `issued_boot` is this machine's CLOCK_BOOTTIME at the issue: ages are reckoned from it, for the wall clock may step.
    It is negative for what was issued before this boot.
    """

    issued_at: datetime
    expires_at: datetime
    issued_boot: timedelta


@dataclass(frozen=True, slots=True)
class IssueRecord:
    """The last token that was published, without its secrets. `boot_id` tells whether `issued_boot` still counts."""

    node_id: str
    access_key_id: str
    life: Lifetime
    boot_id: str


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A token that was received and could not be published everywhere; kept in the vault while it is fresh."""

    token: RoleToken
    issue: IssueRecord


@dataclass(frozen=True, slots=True)
class VaultContents:
    """Everything in the vault at one moment. A change is a `dataclasses.replace` and a `Vault.save`."""

    registration: Registration | None = None
    fingerprint: AcceptedFingerprint | None = None
    measured: HardwareHash | None = None  # at the last accepted request
    # The fingerprint that was tried with a hardware hash, by the hash's digest.
    trials: Mapping[str, str] = field(default_factory=dict)
    pending_key: NodeKey | None = None  # the service may know it already
    superseded_key: NodeKey | None = None  # replaced or refused, kept until the other was accepted
    pending_registration: PendingRegistration | None = None
    issue: IssueRecord | None = None
    held_token: HeldToken | None = None
    damaged: tuple[str, ...] = ()  # files of no great worth that could not be read and count as absent


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The service's answer to a token request.

    `received_at` is the moment on the service's clock, `received_boot` the same on this machine's CLOCK_BOOTTIME;
    `clock_difference` is service minus local, None when the answer did not tell (docs/protocol.md, section 3).
    """

    token: RoleToken
    received_at: datetime
    received_boot: timedelta
    clock_difference: timedelta | None = None
    request_id: str | None = None


class Outcome(StrEnum):
    """What an attempt came to; docs/outcomes.md lists which service code leads to which."""

    ISSUED = "issued"
    FAILED = "failed"
    REFUSED = "refused"
    FINGERPRINT_REFUSED = "fingerprint-refused"
    NODE_UNKNOWN = "node-unknown"
    HARDWARE_UNREADABLE = "hardware-unreadable"
    UNPUBLISHED = "unpublished"
    VAULT_UNREADABLE = "vault-unreadable"
    UNREGISTERED = "unregistered"


class Freshness(StrEnum):
    """How much of the credentials' life is left: fresh more than a quarter, stale less, then expired; or none."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"
    ABSENT = "absent"


class Verdict(StrEnum):
    """Whether the current hardware is the machine that the fingerprint belongs to."""

    SIMILAR = "similar"
    NOT_SIMILAR = "not-similar"
    UNREADABLE = "unreadable"  # not similar, but would be if the components that could not be read matched


@dataclass(frozen=True, slots=True)
class FingerprintSummary:
    """How the hardware compared: `matched` of `compared` components, threshold in percent (-1: check off).

    `decided_by` names the one component that decided, whatever the others are; empty when the share decided.
    """

    verdict: Verdict
    matched: int
    compared: int
    threshold: int
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened in an attempt and belongs in the log: event name, level, one line, further fields."""

    event: str
    level: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)


class OutputKind(StrEnum):
    """The tables of the configuration that describe an output."""

    CREDENTIALS_FILE = "credentials_file"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class OutputName:
    """What tells one output from another: `name` is a path, with a profile in it, or the name of an endpoint."""

    name: str
    profile: str = ""
    kind: OutputKind = OutputKind.CREDENTIALS_FILE


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """What one attempt tells whoever started it. `code`, `message` and `hint` are empty when all went well.

    `expires_at` is that of the token at hand, `published` the outputs that hold it now, `written` those of them that
    this attempt wrote; `spared`: all held it before, and none was asked for. `standing` is what the outputs hold after
    the attempt, also after one that brought no token; None when that is not known.
    """

    outcome: Outcome
    code: str = ""
    message: str = ""
    hint: str = ""
    request_id: str | None = None
    expires_at: datetime | None = None
    published: tuple[OutputName, ...] = ()
    written: tuple[OutputName, ...] = ()
    spared: bool = False
    fingerprint: FingerprintSummary | None = None
    node_id: str | None = None
    region: str | None = None
    standing: Lifetime | None = None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrationFound:
    """The attempt that runs has read the vault; `standing` is what the outputs hold, None when that is not known."""

    node_id: str
    region: str
    standing: Lifetime | None


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a registration without a person needs."""

    region: str | None
    activation_id: str | None
    activation_code_file: str | None


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How the service is reached."""

    endpoint_url: str | None
    proxy_url: str | None = field(repr=False)  # it may hold a password
    ca_bundle: str | None
    fips: bool
    dual_stack: bool
    connect_timeout: timedelta
    read_timeout: timedelta
    sts_endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Where the running daemon keeps its lock and status, and how long an attempt may take."""

    runtime_directory: str
    attempt_timeout: timedelta
    log_level: str


@dataclass(frozen=True, slots=True)
class HibernationSettings:
    """The first and the longest interval between two probes."""

    first_probe: timedelta
    longest_probe: timedelta


class FileFormat(StrEnum):
    """What a credentials file holds: profiles, as SDKs share them, or the JSON that `credential_process` prints."""

    SHARED = "shared"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class CredentialsFile:
    """An output: one profile in one credentials file, or a file with the JSON of `credential_process`.

    `mode` is for a new file; an existing one keeps its own unless `keep_mode` is false. `owner` and `group` are names
    or numbers, None for the user that runs rolekeeper. `role` names a Role; None is the node's own. A process file has
    no profile: `profile` is empty.
    """

    path: str
    profile: str
    mode: int
    keep_mode: bool
    owner: str | int | None
    group: str | int | None
    replace_long_lived_keys: bool
    role: str | None = None
    format: FileFormat = FileFormat.SHARED

    @property
    def output_name(self) -> OutputName:
        """What tells it from other outputs."""
        return OutputName(self.path, self.profile)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An output: credentials behind the container credentials endpoint, under `name`.

    `owner` and `group` may read its authorization token; None: root. `role` names a Role; None is the node's own.
    """

    name: str
    owner: str | int | None = None
    group: str | int | None = None
    role: str | None = None

    @property
    def output_name(self) -> OutputName:
        """What tells it from other outputs."""
        return OutputName(self.name, kind=OutputKind.ENDPOINT)


Output = CredentialsFile | Endpoint


@dataclass(frozen=True, slots=True)
class Role:
    """A role that is assumed with the node's role token (sts:AssumeRole).

    `session_name` None: the node id. `policy_file` holds a session policy; `policy_arns` are those of managed ones.
    """

    name: str
    arn: str
    session_name: str | None = None
    external_id: str | None = None
    duration: timedelta = timedelta(hours=1)
    policy_file: str | None = None
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The accepted configuration, resolved; config/schema.py holds every default.

    `report_health_every` None: never. `digest` names the bytes of the files that this was read from (config/files.py);
    two texts that mean the same are equal settings.
    """

    node: NodeSettings
    service: ServiceSettings
    vault_directory: str
    daemon: DaemonSettings
    refresh_share: float  # of a token's life
    hibernation: HibernationSettings
    rotate_key_after: timedelta | None  # None: never for age alone
    credentials_files: tuple[CredentialsFile, ...]
    endpoints: tuple[Endpoint, ...] = ()
    roles: tuple[Role, ...] = ()
    vault_seal: str = "none"
    report_health_every: timedelta | None = None
    digest: str = field(default="", compare=False)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Everything that credentials are published in."""
        return (*self.credentials_files, *self.endpoints)
