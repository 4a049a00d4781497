"""The configuration printed: the default file that ships, and the resolved one that `check` prints."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekeeper import durations
from rolekeeper.config.load import load_settings
from rolekeeper.config.schema import ARRAYS, TABLES, Configuration
from rolekeeper.config.show import describe, resolved
from rolekeeper.errors import ConfigurationError, Problem
from rolekeeper.settings import Endpoint, Role, Settings
from rolekeeper.values import replace

SHIPPED = Path(__file__).parents[2] / "config" / "config.toml"
COMMENTED_LINE = re.compile(r"^#(\[.*\]|[a-z_]+ = .*)$")
SECONDS = st.integers(1_000, 3_600_000).map(lambda ms: f"{ms}ms")
PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=20)


def uncommented() -> str:
    return "\n".join(COMMENTED_LINE.sub(r"\1", line) for line in SHIPPED.read_text().splitlines())


def load(path: Path, text: str) -> Settings:
    path.write_text(text, encoding="utf-8")
    return whatever_the_files(load_settings(path))


def whatever_the_files(settings: Settings) -> Settings:
    """Without the digest, which names the files."""
    return replace(settings, digest="")


def keys(document: dict[str, Any]) -> dict[str, list[str]]:
    tables = {name: value[0] if isinstance(value, list) else value for name, value in document.items()}
    return {name: list(table) for name, table in tables.items()}


def test_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    assert tomllib.loads(SHIPPED.read_text()) == {}
    defaults = load_settings(None, tmp_path / "none" / "toml")
    assert whatever_the_files(load_settings(SHIPPED)) == whatever_the_files(defaults)


def test_the_shipped_file_uncommented_says_the_defaults_that_stand_in_the_code(tmp_path: Path) -> None:
    settings = load(tmp_path / "toml", uncommented())
    defaults = whatever_the_files(load_settings(None, tmp_path / "none" / "toml"))
    # A mode that is written is meant for existing files as well: the only difference between saying a default and not.
    (output,) = settings.credentials_files
    assert not output.keep_mode
    assert settings.endpoints == (Endpoint("app"),)
    assert settings.roles == (Role("app", "arn:aws:iam::123456789012:role/app"),)
    without_examples = replace(settings, credentials_files=(replace(output, keep_mode=True),), endpoints=(), roles=())
    assert without_examples == defaults


def test_the_shipped_file_names_every_key_in_the_order_of_the_code() -> None:
    known = {name: list(model.model_fields) for name, model in TABLES.items()}
    assert keys(tomllib.loads(uncommented())) == known
    assert list(Configuration.model_fields) == list(known)
    assert [name for name, one in Configuration.model_fields.items() if one.default == ()] == list(ARRAYS)


def test_every_key_in_the_shipped_file_is_explained() -> None:
    lines = SHIPPED.read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if COMMENTED_LINE.match(line):
            assert above.startswith("# ") or line.startswith("#group"), line


def test_what_is_printed_names_every_key(tmp_path: Path) -> None:
    settings = load(tmp_path / "toml", uncommented())
    assert keys(tomllib.loads(describe(settings))) == keys(tomllib.loads(uncommented()))
    assert tomllib.loads(describe(settings)) == resolved(settings)


def test_a_process_file_is_printed_without_the_keys_that_it_cannot_have(tmp_path: Path) -> None:
    text = '[[credentials_file]]\npath = "/a"\nformat = "process"\n[[credentials_file]]\npath = "/b"\nmode = "0640"\n'
    settings = load(tmp_path / "toml", text)
    printed = describe(settings)
    assert load(tmp_path / "again.toml", printed) == settings
    first, second = resolved(settings)["credentials_file"]
    assert set(second) - set(first) == {"profile", "replace_long_lived_keys"}


def test_the_password_of_a_proxy_is_never_printed(tmp_path: Path) -> None:
    settings = load(tmp_path / "toml", '[service]\nproxy_url = "http://user:s3cret@proxy:3128/x"\n')
    printed = describe(settings)
    assert "http://***@proxy:3128/x" in printed
    assert "s3cret" not in printed
    assert "user" not in printed
    assert load(tmp_path / "again.toml", printed).service.proxy_url == "http://***@proxy:3128/x"


def test_an_output_that_keeps_a_files_mode_still_does_when_it_is_printed_and_read_again(tmp_path: Path) -> None:
    text = '[[credentials_file]]\npath = "/a"\n[[credentials_file]]\npath = "/b"\nmode = "0640"\nowner = 7\n'
    settings = load(tmp_path / "toml", text)
    printed = describe(settings)
    assert load(tmp_path / "again.toml", printed) == settings
    assert '\n# for a new file; an existing one keeps its own\n#mode = "0600"\n' in printed
    assert '\nmode = "0640"\n' in printed
    assert [output["mode"] for output in resolved(settings)["credentials_file"]] == ["0600", "0640"]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations that are right, or nearly: profiles and paths of odd characters."""
    first = draw(st.integers(1, 604_800_000))
    output = st.fixed_dictionaries(
        {"path": PRINTABLE.map(lambda name: f"/srv/{name}")},
        optional={
            "profile": PRINTABLE,
            "mode": st.sampled_from(["0600", "640", "0660"]),
            "owner": st.integers(0, 9) | st.just("app"),
            "role": st.sampled_from(["", "app"]),
            "format": st.sampled_from(["shared", "process"]),
        },
    )
    role = st.fixed_dictionaries(
        {"name": st.just("app"), "arn": st.just("arn:aws:iam::123456789012:role/a")},
        optional={
            "tags": st.dictionaries(PRINTABLE, PRINTABLE, max_size=3),
            "policy_arns": st.just(["arn:aws:iam::aws:policy/A"]),
            "duration": st.sampled_from(["15min", "50min"]),
        },
    )
    return {
        "service": {"connect_timeout": draw(SECONDS), "fips": draw(st.booleans())},
        "vault": {"seal": draw(st.sampled_from(["none", "host", "tpm2", "host+tpm2"]))},
        "refresh": {"at": draw(st.floats(0.1, 0.6))},
        "hibernation": {"first_probe": f"{first}ms", "longest_probe": f"{draw(st.integers(first, 604_800_000))}ms"},
        "key": {"rotate_after": draw(st.just("never") | SECONDS)},
        "health": {"report_every": draw(st.sampled_from(["never", "5min", "1h"]))},
        "credentials_file": draw(st.lists(output, max_size=3)),
        "endpoint": draw(st.lists(st.fixed_dictionaries({"name": st.sampled_from("ab")}), max_size=2)),
        "role": draw(st.lists(role, max_size=1)),
    }


@given(documents())
def test_what_is_printed_reads_back_as_the_same_settings(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    try:
        settings = load(path, toml(document))
    except ConfigurationError:
        return
    assert load(path, describe(settings)) == settings
    assert durations.parse(resolved(settings)["hibernation"]["first_probe"]) == settings.hibernation.first_probe


# Any TOML document at all, known names mixed in, so that wrong types get to every key.
NAMES = st.sampled_from([*TABLES, *(key for model in TABLES.values() for key in model.model_fields)])
KEYS = NAMES | PRINTABLE
SCALARS = (
    st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | PRINTABLE
    | st.sampled_from(["", "never", "10s", "0600", "/a", "info", "http://h", "us-east-1", "default"])
    | st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
TABLE = st.dictionaries(KEYS, VALUES, max_size=6)


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # names are few, and those drawn twice are filtered out
@given(st.dictionaries(NAMES, TABLE | VALUES | st.lists(TABLE, max_size=3), max_size=8))
def test_any_document_gives_settings_or_a_configuration_error(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    text = toml(document)
    tomllib.loads(text)
    path.write_text(text, encoding="utf-8")
    assert all(problem.where == str(path) and problem.message for problem in problems(path))


@given(st.binary(max_size=200))
def test_any_bytes_give_settings_or_a_configuration_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(content)
    assert all(problem.where == str(path) and problem.message for problem in problems(path))


def problems(path: Path) -> tuple[Problem, ...]:
    """What is wrong with the file, which may be nothing; any error but ConfigurationError gets out."""
    try:
        settings = load_settings(path)
    except ConfigurationError as error:
        return error.problems
    return () if isinstance(settings, Settings) else (Problem("", "", "no settings"),)


def toml(document: dict[str, Any]) -> str:
    return "".join(f"{quoted(key)} = {written(value)}\n" for key, value in document.items())


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {written(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(member) for member in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
