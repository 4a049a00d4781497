"""The configuration: TOML in, plain settings out; every default stands here, once.

Rules:
- Later files win key by key; `[[credentials_file]]` tables add up; when none is given there is one with the defaults.
- Everything that is wrong in any of the files is told at once, each with its file and the key path as written there.
- What two keys say together is judged after the merge, and told of the file that had the last word on it.
- pydantic stays in here: what comes out are the values of model.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from rolekeeper.config import values
from rolekeeper.config.files import SourceFile, read_files
from rolekeeper.config.problems import OUTPUTS, problem
from rolekeeper.errors import ConfigurationError, Problem
from rolekeeper.model import (
    CredentialsFile,
    DaemonSettings,
    HibernationSettings,
    NodeSettings,
    ServiceSettings,
    Settings,
)

DEFAULT_PATH = Path("/etc/rolekeeper/config.toml")

_MILLISECOND = timedelta(milliseconds=1)
_HOUR = timedelta(hours=1)

OptionalFile = Annotated[str | None, PlainValidator(values.optional(values.absolute_file))]
Directory = Annotated[str, PlainValidator(values.absolute_path)]
ShortDuration = Annotated[timedelta, PlainValidator(values.duration(_MILLISECOND, _HOUR))]
AttemptDuration = Annotated[timedelta, PlainValidator(values.duration(timedelta(seconds=1), _HOUR))]
ProbeInterval = Annotated[timedelta, PlainValidator(values.duration(_MILLISECOND, timedelta(days=7)))]
Account = Annotated[str | int | None, PlainValidator(values.optional(values.account))]


class Table(BaseModel):
    """What all tables have in common: unknown keys and wrong types are errors, and nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeTable(Table):
    """[node]: what a registration without a person needs."""

    region: Annotated[str | None, PlainValidator(values.optional(values.region))] = None
    activation_id: Annotated[str | None, PlainValidator(values.optional(values.activation_id))] = None
    activation_code_file: OptionalFile = None


class ServiceTable(Table):
    """[service]: how the service is reached."""

    endpoint_url: Annotated[str | None, PlainValidator(values.optional(values.endpoint_url))] = None
    proxy_url: Annotated[str | None, PlainValidator(values.optional(values.proxy_url))] = None
    ca_bundle: OptionalFile = None
    fips: bool = False
    dual_stack: bool = False
    connect_timeout: ShortDuration = timedelta(seconds=10)
    read_timeout: ShortDuration = timedelta(seconds=30)


class VaultTable(Table):
    """[vault]: where the registration is kept."""

    directory: Directory = "/var/lib/rolekeeper/vault"


class DaemonTable(Table):
    """[daemon]: the running service."""

    runtime_directory: Directory = "/run/rolekeeper"
    attempt_timeout: AttemptDuration = timedelta(minutes=2)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class RefreshTable(Table):
    """[refresh]: when new credentials are asked for, as a share of the token's life."""

    at: float = Field(default=0.5, ge=0.1, le=0.9)


class HibernationTable(Table):
    """[hibernation]: how often a node that was refused asks again."""

    first_probe: ProbeInterval = timedelta(minutes=5)
    longest_probe: ProbeInterval = timedelta(hours=1)


class KeyTable(Table):
    """[key]: the node key's age; None is never."""

    rotate_after: Annotated[timedelta | None, PlainValidator(values.rotation_age)] = None


class OutputTable(Table):
    """[[credentials_file]]: one profile in one file."""

    path: Annotated[str, PlainValidator(values.absolute_file)] = "/root/.aws/credentials"
    profile: Annotated[str, PlainValidator(values.profile)] = "default"
    mode: Annotated[int, PlainValidator(values.mode)] = 0o600
    owner: Account = None
    group: Account = None
    replace_long_lived_keys: bool = False


class Document(Table):
    """A whole file, or all of them merged."""

    node: NodeTable = NodeTable()
    service: ServiceTable = ServiceTable()
    vault: VaultTable = VaultTable()
    daemon: DaemonTable = DaemonTable()
    refresh: RefreshTable = RefreshTable()
    hibernation: HibernationTable = HibernationTable()
    key: KeyTable = KeyTable()
    credentials_file: tuple[OutputTable, ...] = Field(default=(), strict=False)  # TOML's arrays are lists


TABLES: Mapping[str, type[Table]] = {
    "node": NodeTable,
    "service": ServiceTable,
    "vault": VaultTable,
    "daemon": DaemonTable,
    "refresh": RefreshTable,
    "hibernation": HibernationTable,
    "key": KeyTable,
    OUTPUTS: OutputTable,
}


@dataclass(slots=True)
class _Merged:
    """What all files say together: for each key the value and the file that had the last word; outputs with places."""

    values: dict[tuple[str, str], tuple[Any, str]] = field(default_factory=dict)
    outputs: list[tuple[OutputTable, str, str]] = field(default_factory=list)  # table, file, key path
    wrong: set[tuple[str, str]] = field(default_factory=set)  # keys with a problem already told

    def document(self) -> Document:
        tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES if name != OUTPUTS}
        for (table, key), (value, _) in self.values.items():
            tables[table][key] = value
        outputs = tuple(output for output, _, _ in self.outputs) or (OutputTable(),)
        built = {name: TABLES[name].model_construct(**keys) for name, keys in tables.items()}
        return Document.model_construct(None, credentials_file=outputs, **built)


def load_settings(path: Path | None, default: Path = DEFAULT_PATH) -> Settings:
    """The settings from the file `path`, or from `default`, which may be missing, and from conf.d beside it.

    Raises ConfigurationError with every problem of every file, InputOutputError when a file cannot be read just now.
    """
    files, problems = read_files(path or default, must_exist=path is not None)
    merged = _Merged()
    for file in files:
        problems += _take_in(merged, file)
    document = merged.document()
    problems += _contradictions(document, merged)
    if problems:
        raise ConfigurationError(tuple(problems))
    return _settings(document)


def _take_in(merged: _Merged, file: SourceFile) -> list[Problem]:
    """Add what is right in `file` to `merged`; return what is not."""
    content = file.content
    places = list(range(len(content.get(OUTPUTS, ())))) if isinstance(content.get(OUTPUTS), list) else []
    problems = []
    try:
        document = Document.model_validate(content)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        problems = [problem(file.where, error, TABLES) for error in errors]
        locations = [error["loc"] for error in errors]
        merged.wrong |= {(str(location[0]), str(location[1])) for location in locations if len(location) > 1}
        places = [place for place in places if (OUTPUTS, place) not in {location[:2] for location in locations}]
        document = Document.model_validate(_without(content, locations))
    for table, key, value in _written(document):
        merged.values[table, key] = (value, file.where)
    for output, place in zip(document.credentials_file, places, strict=True):
        merged.outputs.append((output, file.where, f"{OUTPUTS}[{place}]"))
    return problems


def _without(content: Mapping[str, Any], locations: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """`content` less every table, key or array element that one of `locations` lies in."""
    wrong = {location[:2] for location in locations}
    kept: dict[str, Any] = {}
    for name, value in content.items():
        if (name,) not in wrong:
            kept[name] = _members(value, {location[1] for location in wrong if location[0] == name})
    return kept


def _members(value: Any, wrong: set[int | str]) -> Any:
    if isinstance(value, dict):
        return {key: member for key, member in value.items() if key not in wrong}
    return [member for place, member in enumerate(value) if place not in wrong]


def _written(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Table, key and value of all that stands in a file, other than its outputs."""
    for name in sorted(document.model_fields_set - {OUTPUTS}):
        table: Table = getattr(document, name)
        yield from ((name, key, getattr(table, key)) for key in sorted(table.model_fields_set))


def _contradictions(document: Document, merged: _Merged) -> list[Problem]:
    """What cannot stand together; a key that was found wrong already is not held against another one."""
    found = []
    service, hibernation = document.service, document.hibernation
    if service.endpoint_url and service.fips:
        found.append(_clash(merged, "service", "fips", "endpoint_url", "cannot stand together with endpoint_url"))
    if service.endpoint_url and service.dual_stack:
        found.append(_clash(merged, "service", "dual_stack", "endpoint_url", "cannot stand together with endpoint_url"))
    if hibernation.first_probe > hibernation.longest_probe:
        found.append(_clash(merged, "hibernation", "longest_probe", "first_probe", "is shorter than first_probe"))
    return [problem for problem in found if problem] + _repeated_outputs(merged) + _torn_files(merged)


def _clash(merged: _Merged, table: str, key: str, other: str, message: str) -> Problem | None:
    if {(table, key), (table, other)} & merged.wrong:
        return None
    written = [name for name in (key, other) if (table, name) in merged.values]
    places = " and ".join(f"{name} in {merged.values[table, name][1]}" for name in written)
    where = merged.values[table, written[0]][1]
    missing = [name for name in (key, other) if name not in written]  # its default stands against the one
    hint = (
        f"set {missing[0]} as well, or change {places}" if missing else f"change or take out one of the two: {places}"
    )
    return Problem(where, f"{table}.{key}", message, hint)


def _repeated_outputs(merged: _Merged) -> list[Problem]:
    first: dict[tuple[str, str], str] = {}
    problems = []
    for output, where, key in merged.outputs:
        place = first.setdefault((output.path, output.profile), f"{key} in {where}")
        if place != f"{key} in {where}":
            hint = "take one of the two out, or give it another profile"
            problems.append(Problem(where, key, f"is the same file and profile as {place}", hint))
    return problems


def _torn_files(merged: _Merged) -> list[Problem]:
    """Files that one output gives to somebody and the next one, in the same file, takes away at every publication.

    Owner and group are compared as they are written. An owner that is left out is root: nobody else gives files away.
    """
    first: dict[tuple[str, str], tuple[Any, str]] = {}
    problems = []
    for output, where, key in merged.outputs:
        mode = output.mode if "mode" in output.model_fields_set else None  # as the group, left out it changes nothing
        for name, value in (("owner", output.owner or "root"), ("group", output.group), ("mode", mode)):
            if value is None:
                continue
            earlier, where_earlier = first.setdefault((output.path, name), (value, f"{key} in {where}"))
            if earlier != value:
                message = f"is not that of {where_earlier}, which is in the same file"
                problems.append(Problem(where, f"{key}.{name}", message, "a file has one: write the same for both"))
    return problems


def _settings(document: Document) -> Settings:
    return Settings(
        node=NodeSettings(**dict(document.node)),
        service=ServiceSettings(**dict(document.service)),
        vault_directory=document.vault.directory,
        daemon=DaemonSettings(**dict(document.daemon)),
        refresh_share=document.refresh.at,
        hibernation=HibernationSettings(**dict(document.hibernation)),
        rotate_key_after=document.key.rotate_after,
        credentials_files=tuple(_output(table) for table in document.credentials_file),
    )


def _output(table: OutputTable) -> CredentialsFile:
    return CredentialsFile(**dict(table), keep_mode="mode" not in table.model_fields_set)
