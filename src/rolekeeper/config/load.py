"""The configuration: TOML in, plain settings out.

Each file is checked on its own (schema.py), so that every problem has the key path as it is written there. What is
right in a file is taken over: a later file wins key by key, and arrays of tables add up. Then the merged document is
judged as a whole: keys that exclude each other, outputs and roles of one name, roles that do not exist.

- All problems of all files are reported together. A problem of two keys is reported for the file that set a key last.
- A key or table that is already reported is left out, and nothing is reported because it is missing then.
- What lies outside these files is not looked at here: a policy file, a user or a group may be missing, and may come
  later. The daemon then has a fault of that role or that output only. `rolekeeper check` looks (check.py).
- pydantic stays in this folder: the result is the values of model.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rolekeeper.config.files import DEFAULT_PATH, SourceFile, read_files
from rolekeeper.config.problems import nearest, problem
from rolekeeper.config.schema import (
    ARRAYS,
    TABLES,
    Configuration,
    CredentialsFileTable,
    EndpointTable,
    RoleTable,
    Table,
)
from rolekeeper.errors import ConfigurationError, Problem
from rolekeeper.settings import (
    CredentialsFile,
    DaemonSettings,
    Endpoint,
    FileFormat,
    HibernationSettings,
    NodeSettings,
    Role,
    ServiceSettings,
    Settings,
)
from rolekeeper.values import Value

FILES, ENDPOINTS, ROLES = ARRAYS  # the names of the arrays
PROCESS = FileFormat.PROCESS.value
NO_MEANING_IN_A_PROCESS_FILE = ("profile", "replace_long_lived_keys")


class Location(Value):
    """Where something is written: the file, and the key path in it."""

    where: str
    key: str

    def __str__(self) -> str:
        return f"{self.key} in {self.where}"

    def problem(self, key: str, message: str, hint: str) -> Problem:
        """A problem of one key of the table that is written here, or of the table as a whole."""
        return Problem(self.where, f"{self.key}.{key}" if key else self.key, message, hint)


class Loaded(Value):
    """What the files say: the settings, from everything that is right in them, and every problem.

    `locations` has that of each element of settings.credentials_files, .endpoints and .roles, under the name of its
    array and in the same order; the default credentials file has none.
    """

    settings: Settings
    locations: Mapping[str, tuple[Location, ...]]
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Merged:
    """Everything that is right in the files so far, as one TOML document, and where it is written."""

    content: dict[str, Any] = field(default_factory=dict)
    locations: dict[tuple[str, str | int], Location] = field(default_factory=dict)  # by table, and key or number
    wrong: set[tuple[str, str]] = field(default_factory=set)  # tables and keys, or arrays and names, with a problem

    def add(self, file: SourceFile, table: str, key: str | int, value: Any) -> None:
        """Take over one key of a table, or one table of an array."""
        if table in ARRAYS:
            tables = self.content.setdefault(table, [])
            self.locations[table, len(tables)] = Location(file.where, f"{table}[{key}]")
            tables.append(value)
        else:
            self.content.setdefault(table, {})[key] = value
            self.locations[table, key] = Location(file.where, f"{table}.{key}")

    def located(self, tables: tuple[Table, ...], array: str) -> list[tuple[Any, Location]]:
        """Each table of an array, with its location."""
        return [(table, self.locations[array, number]) for number, table in enumerate(tables)]


def load_settings(path: Path | None, default: Path | str = DEFAULT_PATH) -> Settings:
    """The settings from the file `path`, or from `default`, which may be missing, and from conf.d beside it.

    Raises ConfigurationError with every problem of every file, InputOutputError when a file cannot be read just now.
    """
    loaded = load(path, default)
    if loaded.problems:
        raise ConfigurationError(loaded.problems)
    return loaded.settings


def load(path: Path | None, default: Path | str = DEFAULT_PATH, fragment: SourceFile | Problem | None = None) -> Loaded:
    """As `load_settings`, but problems are part of the result. `fragment` replaces the file of its name.

    With a fragment, the digest is that of the files as they are. A fragment that cannot be read is its problem.
    """
    files, problems, digest = read_files(path or default, must_exist=path is not None)
    if fragment is not None:
        problems = [problem for problem in problems if problem.where != fragment.where]
        files = [file for file in files if file.where != fragment.where]
    if isinstance(fragment, Problem):
        problems.append(fragment)
    elif fragment is not None:
        files = _with(fragment, files, str(path or default))
    merged = _Merged()
    for file in files:
        problems += _take_in(merged, file)
    configuration = Configuration.model_validate(merged.content)  # it cannot fail: every part of it has passed
    problems += _contradictions(configuration, merged)
    tables = {array: merged.located(getattr(configuration, array), array) for array in ARRAYS}
    locations = {array: tuple(location for _, location in found) for array, found in tables.items()}
    return Loaded(_settings(configuration, digest), locations, tuple(problems))


def _with(fragment: SourceFile, files: list[SourceFile], main: str) -> list[SourceFile]:
    """The files with the fragment in its place: behind the main file, by its name."""
    return sorted([*files, fragment], key=lambda file: (file.where != main, file.where))


def _take_in(merged: _Merged, file: SourceFile) -> list[Problem]:
    """Add what is right in `file` to `merged`; return what is not."""
    try:
        Configuration.model_validate(file.content)
        errors = []
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    wrong = {error["loc"][:2] for error in errors}
    for table, content in file.content.items():
        if (table,) in wrong:
            merged.wrong.add((table, ""))
            continue
        members: Iterable[tuple[str | int, Any]] = enumerate(content) if table in ARRAYS else content.items()
        for key, value in members:
            if (table, key) not in wrong:
                merged.add(file, table, key, value)
            else:
                merged.wrong.add((table, key if isinstance(key, str) else _name(value)))
    return [problem(file.where, error, TABLES) for error in errors]


def _name(table: Any) -> str:
    """What a wrong table of an array calls itself; empty when it has no name."""
    return str(table.get("name", "")) if isinstance(table, dict) else ""


def _contradictions(configuration: Configuration, merged: _Merged) -> list[Problem]:
    """What is wrong between keys and tables that are right by themselves."""
    files = merged.located(configuration.credentials_file, FILES)
    endpoints = merged.located(configuration.endpoint, ENDPOINTS)
    roles = merged.located(configuration.role, ROLES)
    return [
        *_clashes(configuration, merged),
        *_misfits(files),
        *_repeated(files, _identity, "the same file and profile", "give it another profile"),
        *_repeated(endpoints, lambda table: table.name, "the same name", "give it another name"),
        *_repeated(roles, lambda table: table.name, "the same name", "give it another name"),
        *_torn_files(files),
        *_unknown_roles([*files, *endpoints], configuration.role, merged),
    ]


def _clashes(configuration: Configuration, merged: _Merged) -> list[Problem]:
    """Keys of single tables that exclude each other."""
    service, hibernation = configuration.service, configuration.hibernation
    found = [
        _clash(merged, "service", variant, url, f"cannot be used together with {url}")
        for url in ("endpoint_url", "sts_endpoint_url")
        for variant in ("fips", "dual_stack")
        if getattr(service, url) and getattr(service, variant)
    ]
    if hibernation.first_probe > hibernation.longest_probe:
        found.append(_clash(merged, "hibernation", "longest_probe", "first_probe", "is shorter than first_probe"))
    return [problem for problem in found if problem]


def _clash(merged: _Merged, table: str, key: str, other: str, message: str) -> Problem | None:
    if {(table, key), (table, other)} & merged.wrong:
        return None
    written = {name: merged.locations[table, name].where for name in (key, other) if (table, name) in merged.locations}
    both = " and ".join(f"{name} in {where}" for name, where in written.items())
    missing = [name for name in (key, other) if name not in written]  # its default excludes the other key
    hint = f"set {missing[0]} as well, or change {both}" if missing else f"change or remove one of the two: {both}"
    return Problem(next(iter(written.values())), f"{table}.{key}", message, hint)


def _misfits(files: list[tuple[CredentialsFileTable, Location]]) -> list[Problem]:
    """Keys that a process file cannot have, and the path that it needs: the default one is a shared file's."""
    hint = f'remove it: a file with format = "{PROCESS}" holds the credentials of one role and no profile'
    process_files = [(table.model_fields_set, location) for table, location in files if table.format == PROCESS]
    return [
        location.problem(key, "has no meaning in a process file", hint)
        for written, location in process_files
        for key in NO_MEANING_IN_A_PROCESS_FILE
        if key in written
    ] + [
        location.problem("path", "is missing", "name a file that nothing else uses")
        for written, location in process_files
        if "path" not in written
    ]


def _identity(table: CredentialsFileTable) -> tuple[str, str]:
    return table.path, "" if table.format == PROCESS else table.profile


def _repeated(
    tables: list[tuple[Any, Location]], identity: Callable[[Any], object], what: str, remedy: str
) -> list[Problem]:
    first: dict[object, Location] = {}
    problems = []
    for table, location in tables:
        earlier = first.setdefault(identity(table), location)
        if earlier is not location:
            problems.append(location.problem("", f"has {what} as {earlier}", f"remove one of the two, or {remedy}"))
    return problems


def _torn_files(files: list[tuple[CredentialsFileTable, Location]]) -> list[Problem]:
    """Tables of one file that contradict each other: each publication would undo what the one before it did.

    Owner and group are compared as they are written. An owner that is left out is root, because no other user can give
    files away. A mode or a group that is left out changes nothing.
    """
    first: dict[tuple[str, str], tuple[Any, Location]] = {}
    problems = []
    for table, location in files:
        mode = table.mode if "mode" in table.model_fields_set else None
        of_the_file = {"owner": table.owner or "root", "group": table.group, "mode": mode, "format": table.format}
        for key, value in of_the_file.items():
            if value is None:
                continue
            earlier, location_of_earlier = first.setdefault((table.path, key), (value, location))
            if earlier != value:
                message = f"is not that of {location_of_earlier}, which is in the same file"
                problems.append(location.problem(key, message, "a file has one: write the same for both"))
    return problems


def _unknown_roles(
    outputs: list[tuple[CredentialsFileTable | EndpointTable, Location]], roles: tuple[RoleTable, ...], merged: _Merged
) -> list[Problem]:
    known = [role.name for role in roles]
    reported = {name for array, name in merged.wrong if array == ROLES}
    if "" in reported:  # no name of these is known
        return []
    hint = "write a [[role]] table with that name, or leave the key out for the node's own role"
    return [
        location.problem("role", f"names no [[role]]: {output.role}", nearest(output.role, known) or hint)
        for output, location in outputs
        if output.role is not None and output.role not in {*known, *reported}
    ]


def _settings(configuration: Configuration, digest: str) -> Settings:
    files = configuration.credentials_file
    if not files and not configuration.endpoint:  # no output is configured: the default one
        files = (CredentialsFileTable(),)
    return Settings(
        node=NodeSettings(**dict(configuration.node)),
        service=ServiceSettings(**dict(configuration.service)),
        vault_directory=configuration.vault.directory,
        daemon=DaemonSettings(**dict(configuration.daemon)),
        refresh_share=configuration.refresh.at,
        hibernation=HibernationSettings(**dict(configuration.hibernation)),
        rotate_key_after=configuration.key.rotate_after,
        credentials_files=tuple(_credentials_file(table) for table in files),
        endpoints=tuple(Endpoint(**dict(table)) for table in configuration.endpoint),
        roles=tuple(Role(**dict(table)) for table in configuration.role),
        vault_seal=configuration.vault.seal,
        report_health_every=configuration.health.report_every,
        digest=digest,
    )


def _credentials_file(table: CredentialsFileTable) -> CredentialsFile:
    keys = {**dict(table), "profile": _identity(table)[1], "format": FileFormat(table.format)}
    return CredentialsFile(**keys, keep_mode="mode" not in table.model_fields_set)
