"""Every table and key of the configuration, with its check and its default; each default is defined here, once.

The order is that of config.toml and of the man page. pydantic applies the checks of values.py and finds unknown keys.
What two keys or two tables mean together is judged in load.py, after the merge.

A `[[role]]` has no key `role`: a role is always assumed with the node's own role token. So one role cannot be assumed
through another, and no cycle of roles can be written.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from rolekeeper import durations
from rolekeeper.config import values

MOST_POLICY_ARNS = 10  # sts:AssumeRole's limits
MOST_TAGS = 50

_MILLISECOND = timedelta(milliseconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)

OptionalFile = Annotated[str | None, PlainValidator(values.optional(values.absolute_file))]
OptionalUrl = Annotated[str | None, PlainValidator(values.optional(values.endpoint_url))]
Directory = Annotated[str, PlainValidator(values.absolute_path)]
ShortDuration = Annotated[timedelta, PlainValidator(values.duration(_MILLISECOND, _HOUR))]
AttemptDuration = Annotated[timedelta, PlainValidator(values.duration(timedelta(seconds=1), _HOUR))]
ProbeInterval = Annotated[timedelta, PlainValidator(values.duration(_MILLISECOND, timedelta(days=7)))]
RotationAge = Annotated[
    timedelta | None, PlainValidator(values.never_or(values.duration(timedelta(seconds=1), durations.LONGEST)))
]
ReportInterval = Annotated[
    timedelta | None, PlainValidator(values.never_or(values.duration(5 * _MINUTE, durations.LONGEST)))
]
SessionDuration = Annotated[timedelta, PlainValidator(values.duration(15 * _MINUTE, _HOUR))]
Account = Annotated[str | int | None, PlainValidator(values.optional(values.account))]
Name = Annotated[str, PlainValidator(values.name)]
OptionalName = Annotated[str | None, PlainValidator(values.optional(values.name))]
PolicyArn = Annotated[str, PlainValidator(values.policy_arn)]
TagKey = Annotated[str, PlainValidator(values.tag_key)]
TagValue = Annotated[str, PlainValidator(values.tag_value)]


class Table(BaseModel):
    """What all tables have in common: unknown keys and wrong types are errors, and nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeTable(Table):
    """[node]: what a registration without a person needs."""

    region: Annotated[str | None, PlainValidator(values.optional(values.region))] = None
    activation_id: Annotated[str | None, PlainValidator(values.optional(values.activation_id))] = None
    activation_code_file: OptionalFile = None


class ServiceTable(Table):
    """[service]: how AWS is reached."""

    endpoint_url: OptionalUrl = None
    sts_endpoint_url: OptionalUrl = None
    proxy_url: Annotated[str | None, PlainValidator(values.optional(values.proxy_url))] = None
    ca_bundle: OptionalFile = None
    fips: bool = False
    dual_stack: bool = False
    connect_timeout: ShortDuration = timedelta(seconds=10)
    read_timeout: ShortDuration = timedelta(seconds=30)


class VaultTable(Table):
    """[vault]: where the registration is kept, and what its key is sealed with."""

    directory: Directory = "/var/lib/rolekeeper/vault"
    seal: Literal["none", "host", "tpm2", "host+tpm2"] = "none"


class DaemonTable(Table):
    """[daemon]: the running service."""

    runtime_directory: Directory = "/run/rolekeeper"
    attempt_timeout: AttemptDuration = timedelta(minutes=2)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class RefreshTable(Table):
    """[refresh]: when new credentials are requested, as a share of the token's life.

    With a tenth of jitter, more than 0.6 would reach the last quarter of the life, in which credentials are stale.
    """

    at: float = Field(default=0.5, ge=0.1, le=0.6)


class HibernationTable(Table):
    """[hibernation]: how often a refused node probes the service."""

    first_probe: ProbeInterval = timedelta(minutes=5)
    longest_probe: ProbeInterval = timedelta(hours=1)


class KeyTable(Table):
    """[key]: the node key's age; None is never."""

    rotate_after: RotationAge = None


class HealthTable(Table):
    """[health]: how often the node is reported as online; None is never."""

    report_every: ReportInterval = None


class CredentialsFileTable(Table):
    """[[credentials_file]]: one profile in one shared file, or one file of its own for `credential_process`."""

    path: Annotated[str, PlainValidator(values.absolute_file)] = "/root/.aws/credentials"
    profile: Annotated[str, PlainValidator(values.profile)] = "default"
    mode: Annotated[int, PlainValidator(values.mode)] = 0o600
    owner: Account = None
    group: Account = None
    replace_long_lived_keys: bool = False
    role: OptionalName = None
    format: Literal["shared", "process"] = "shared"


class EndpointTable(Table):
    """[[endpoint]]: credentials for programs that ask the endpoint under this name."""

    name: Name
    owner: Account = None
    group: Account = None
    role: OptionalName = None


class RoleTable(Table):
    """[[role]]: a role that the node assumes for its outputs (sts:AssumeRole)."""

    name: Name
    arn: Annotated[str, PlainValidator(values.role_arn)]
    session_name: Annotated[str | None, PlainValidator(values.optional(values.session_name))] = None
    external_id: Annotated[str | None, PlainValidator(values.optional(values.external_id))] = None
    duration: SessionDuration = _HOUR
    policy_file: OptionalFile = None
    policy_arns: tuple[PolicyArn, ...] = Field(default=(), max_length=MOST_POLICY_ARNS, strict=False)
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=MOST_TAGS)


class Configuration(Table):
    """A whole file, or all of them merged; TOML's arrays are lists, which is why those are not strict."""

    node: NodeTable = NodeTable()
    service: ServiceTable = ServiceTable()
    vault: VaultTable = VaultTable()
    daemon: DaemonTable = DaemonTable()
    refresh: RefreshTable = RefreshTable()
    hibernation: HibernationTable = HibernationTable()
    key: KeyTable = KeyTable()
    health: HealthTable = HealthTable()
    credentials_file: tuple[CredentialsFileTable, ...] = Field(default=(), strict=False)
    endpoint: tuple[EndpointTable, ...] = Field(default=(), strict=False)
    role: tuple[RoleTable, ...] = Field(default=(), strict=False)


ARRAYS: Mapping[str, type[Table]] = {
    "credentials_file": CredentialsFileTable,
    "endpoint": EndpointTable,
    "role": RoleTable,
}
"""The arrays of tables, which add up over all files."""

TABLES: Mapping[str, type[Table]] = {
    "node": NodeTable,
    "service": ServiceTable,
    "vault": VaultTable,
    "daemon": DaemonTable,
    "refresh": RefreshTable,
    "hibernation": HibernationTable,
    "key": KeyTable,
    "health": HealthTable,
    **ARRAYS,
}
