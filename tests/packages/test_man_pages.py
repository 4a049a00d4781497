"""The man pages against the command line and the configuration, and against a reader of man pages."""

import argparse
import importlib
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from tests.packages.conftest import need

from rolekeeper import durations
from rolekeeper.cli import parser
from rolekeeper.config.schema import TABLES

MAN = Path(__file__).parents[2] / "packaging" / "man"
COMMAND = (MAN / "rolekeeper.8").read_text()
FILE = (MAN / "rolekeeper.toml.5").read_text()
UNSET = (None, (), PydanticUndefined)


def options_of(verb: str) -> set[str]:
    """The options that --help shows, but for --help itself."""
    verbs_parser = parser.verb_parser(verb)
    importlib.import_module(f"rolekeeper.cli.{verb.replace('-', '_')}").configure(verbs_parser)
    shown = [action for action in verbs_parser._actions if action.help != argparse.SUPPRESS]
    return {name for action in shown for name in action.option_strings if name not in ("-h", "--help")}


def sections() -> Iterator[tuple[str, str]]:
    """Each verb on the page, with its line of options and its text."""
    verbs = COMMAND[COMMAND.index(".Sh VERBS") : COMMAND.index(".Sh FILES")]
    for part in re.split(r"^\.It Cm ", verbs, flags=re.MULTILINE)[1:]:
        yield part.split()[0], part


def flags(text: str) -> set[str]:
    return {f"--{name}" for name in re.findall(r"\bFl -([a-z-]+)", text)}


def test_every_verb_is_on_the_page_in_the_order_of_the_help() -> None:
    assert [verb for verb, _ in sections()] == list(parser.VERBS)


@pytest.mark.parametrize("verb", parser.VERBS)
def test_a_verb_has_the_options_of_its_help(verb: str) -> None:
    heading = dict(sections())[verb].splitlines()[0]
    assert flags(heading) == options_of(verb)


@pytest.mark.parametrize("verb", parser.VERBS)
def test_the_text_about_a_verb_speaks_of_no_other_option(verb: str) -> None:
    assert flags(dict(sections())[verb]) <= options_of(verb)


def test_every_exit_code_of_the_help_is_on_the_page() -> None:
    told = set(re.findall(r"^\.It (\d+)$", COMMAND, re.MULTILINE))
    assert told == set(re.findall(r"\b(?:0|64|69|74|77|78)\b", parser.EXIT_CODES))


def keys() -> dict[str, dict[str, str]]:
    """Each table on the page, with the text about each of its keys."""
    found = {}
    for part in re.split(r"^\.Ss ", FILE, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        items = re.split(r"^\.It Li ", rest.partition("\n.El")[0], flags=re.MULTILINE)[1:]
        found[name.strip("[]")] = {item.split()[0]: item for item in items}
    return found


def test_every_table_and_key_is_on_the_page_in_the_order_of_the_code() -> None:
    expected = {name: list(table.model_fields) for name, table in TABLES.items()}
    assert {name: list(items) for name, items in keys().items()} == expected


@pytest.mark.parametrize("table", TABLES)
def test_the_defaults_on_the_page_are_those_of_the_code(table: str) -> None:
    told = {key: re.search(r"^Default:\n\.Li (.+)$", text, re.MULTILINE) for key, text in keys()[table].items()}
    fields = TABLES[table].model_fields
    assert {key: found and found[1].replace(r"\(dq", '"') for key, found in told.items()} == {
        key: toml(key, field.default) for key, field in fields.items()
    }


def toml(key: str, value: object) -> str | None:
    """A default as it would stand in a file; None when there is nothing to write."""
    if key in ("rotate_after", "report_every") and value is None:
        return '"never"'
    if value in UNSET:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f'"{durations.text(value)}"'
    if key == "mode":
        return f'"{value:04o}"'
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("page", sorted(MAN.iterdir()), ids=lambda page: page.name)
def test_a_reader_of_man_pages_has_nothing_to_complain_of(page: Path) -> None:
    need("groff", "groff-base")
    done = subprocess.run(["groff", "-mdoc", "-ww", "-Tutf8", "-z", page], check=True, capture_output=True, text=True)
    assert done.stderr == ""
