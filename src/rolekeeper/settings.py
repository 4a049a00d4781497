"""What the configuration says, as values; `config` reads them from TOML, and only there every default is written."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from rolekeeper.model import NODE_ROLE, OutputKind, OutputName, OutputReport
from rolekeeper.values import NOTHING, Value

UNSEALED = "none"  # of `vault_seal`


class NodeSettings(Value):
    """What a registration without a person needs."""

    region: str | None
    activation_id: str | None
    activation_code_file: str | None


class ServiceSettings(Value, hidden=("proxy_url",)):
    """How the service is reached."""

    endpoint_url: str | None
    proxy_url: str | None  # it may hold a password
    ca_bundle: str | None
    fips: bool
    dual_stack: bool
    connect_timeout: timedelta
    read_timeout: timedelta
    sts_endpoint_url: str | None = None


class DaemonSettings(Value):
    """Where the running daemon keeps its lock and status, and how long an attempt may take."""

    runtime_directory: str
    attempt_timeout: timedelta
    log_level: str


class HibernationSettings(Value):
    """The first and the longest interval between two probes."""

    first_probe: timedelta
    longest_probe: timedelta


class FileFormat(StrEnum):
    """What a credentials file holds: profiles, as SDKs share them, or the JSON that `credential_process` prints."""

    SHARED = "shared"
    PROCESS = "process"


class CredentialsFile(Value):
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
        """What identifies it."""
        return OutputName(self.path, self.profile)


class Endpoint(Value):
    """An output: credentials behind the container credentials endpoint, under `name`.

    `owner` and `group` may read its authorization token; None: root. `role` names a Role; None is the node's own.
    """

    name: str
    owner: str | int | None = None
    group: str | int | None = None
    role: str | None = None

    @property
    def output_name(self) -> OutputName:
        """What identifies it."""
        return OutputName(self.name, kind=OutputKind.ENDPOINT)


Output = CredentialsFile | Endpoint


class Role(Value):
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
    tags: Mapping[str, str] = NOTHING


class Settings(Value):
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
    vault_seal: str = UNSEALED
    report_health_every: timedelta | None = None
    digest: str = ""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Everything that credentials are published in."""
        return (*self.credentials_files, *self.endpoints)


class SupervisorSettings(Value):
    """The part of the settings that the supervisor needs; there is no secret in it.

    `outputs` are reports as they are before any look. `digest` is that of the configuration files.
    """

    vault_directory: str
    daemon: DaemonSettings
    refresh_share: float
    hibernation: HibernationSettings
    outputs: tuple[OutputReport, ...]
    digest: str
    report_health_every: timedelta | None = None


def supervisor_settings(settings: Settings) -> SupervisorSettings:
    """What the supervisor gets to know of `settings`."""
    return SupervisorSettings(
        vault_directory=settings.vault_directory,
        daemon=settings.daemon,
        refresh_share=settings.refresh_share,
        hibernation=settings.hibernation,
        outputs=tuple(OutputReport(one.output_name, one.role or NODE_ROLE) for one in settings.outputs),
        digest=settings.digest,
        report_health_every=settings.report_health_every,
    )
