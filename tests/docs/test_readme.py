"""What README and docs/ say is so: commands, options, configuration, links, and the walk on a laptop."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from rolekeeper import errors
from rolekeeper.adapters.supervision import journal
from rolekeeper.config.load import load_settings
from rolekeeper.config.show import resolved
from rolekeeper.core.loop import status

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = Path(sys.executable).parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = r"(?:^ *|`|\b(?:sudo|then) |[|&(+=!] ?)"
COMMAND = re.compile(rf"{BEFORE}(?:/usr/bin/)?rolekeeper((?: +(?!#|&&|\|)[^\s`|&;#]+)*)", re.MULTILINE)
CODE = re.compile(r"^```\w*\n.*?^```$|^    [^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (`[^|]+`|\d+) \| ([^|]+) \|(?: ([^|]+) \|)?$", re.MULTILINE)


def fences(document: Path, language: str) -> list[str]:
    return [text for name, text in FENCE.findall(document.read_text(encoding="utf-8")) if name == language]


def every_fence(language: str) -> list[tuple[str, str]]:
    return [(document.name, text) for document in DOCUMENTS for text in fences(document, language)]


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def section(document: Path, heading: str) -> str:
    _, _, after = document.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    assert after, f"{document.name} has no {heading}"
    return re.split(r"^##? ", after, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> dict[str, str]:
    return {key.strip("`"): meaning for key, meaning, _ in ROW.findall(text)}


@cache
def help_of(*verb: str) -> str:
    done = subprocess.run([PROGRAMS / "rolekeeper", *verb, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def verbs() -> dict[str, str]:
    listed = help_of().partition("\nverbs:\n")[2].partition("\n\n")[0]
    return dict(line.strip().split(maxsplit=1) for line in listed.splitlines())


def commands(document: Path) -> Iterator[list[str]]:
    """Every command line of ours that stands in code, in words."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for code in CODE.findall(text):
        yield from (shlex.split(words, comments=True) for words in COMMAND.findall(code))


def test_the_table_of_verbs_is_that_of_the_help() -> None:
    assert table(section(README, "## Commands").partition("| exit code")[0]) == verbs()


def test_the_table_of_exit_codes_is_that_of_the_help() -> None:
    told = table(section(README, "## Commands").partition("| exit code")[2])
    helped = " ".join(help_of().partition("exit codes:")[2].split())
    kinds = (errors.UsageError, errors.UnavailableError, errors.InputOutputError, errors.RefusedError)
    assert set(map(int, told)) == {0, errors.ConfigurationError.exit_code, *(kind.exit_code for kind in kinds)}
    assert all(f"{code} " in helped for code in told)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_exists_with_its_options(document: Path) -> None:
    for words in commands(document):
        rest = words[2:] if words[:1] == ["--config"] else words
        if not rest or rest[0].startswith("["):
            continue  # the name alone, or its synopsis
        assert rest[0] in {*verbs(), "VERB"}, f"rolekeeper {' '.join(words)}"
        for option in (word.partition("=")[0] for word in rest[1:] if word.startswith("--")):
            assert rest[0] == "VERB" or re.search(rf"{option}\b", help_of(rest[0])), f"rolekeeper {' '.join(words)}"


def test_commands_are_found_at_all() -> None:
    found = {words[0] for document in DOCUMENTS for words in commands(document) if words}
    assert {"run", "register", "wait", "credential-process", "fingerprint", "adopt", "emulator"} <= found


@pytest.mark.parametrize(("document", "text"), every_fence("toml"), ids=first_line)
def test_every_piece_of_configuration_is_right(document: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"{document}.toml"
    path.write_text(text, encoding="utf-8")
    load_settings(path)


def test_the_reference_holds_every_key_with_its_default(tmp_path: Path) -> None:
    rows = ROW.findall(section(ROOT / "docs" / "configuration.md", "## Every key"))
    required = {"endpoint.name": '"a"', "role.name": '"a"', "role.arn": '"arn:aws:iam::123456789012:role/a"'}
    told = {key.strip("`").replace("[]", ""): value.strip("`") for key, value, _ in rows}
    assert {key for key, value in told.items() if value == "required"} == set(required)
    arn = required["role.arn"]
    (tmp_path / "toml").write_text(
        f'[[credentials_file]]\n[[endpoint]]\nname = "a"\n[[role]]\nname = "a"\narn = {arn}\n'
    )
    defaults = resolved(load_settings(tmp_path / "toml"))
    tables = {name: keys[0] if isinstance(keys, list) else keys for name, keys in defaults.items()}
    assert {key: tomllib.loads(f"x = {required.get(key, value)}")["x"] for key, value in told.items()} == {
        f"{name}.{key}": value for name, keys in tables.items() for key, value in keys.items()
    }


def test_the_table_of_events_holds_every_event_of_the_log() -> None:
    assert set(table(section(ROOT / "docs" / "operating.md", "## The log"))) == set(journal.MESSAGE_IDS)


def test_the_table_of_status_holds_every_field() -> None:
    document, _, output = section(ROOT / "docs" / "operating.md", "## Is it healthy?").partition("\nOf each output:\n")
    assert members(document) == sorted(status.FIELDS)
    assert members(output) == sorted(status.OutputStatus.__match_args__)


def members(text: str) -> list[str]:
    return sorted(name for cell, _, _ in ROW.findall(text) for name in re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize(("document", "text"), every_fence("json"), ids=first_line)
def test_every_piece_of_json_is_json(document: str, text: str) -> None:
    assert json.loads(text), document


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(document: Path) -> set[str]:
    """The names that a forge gives to headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_of_the_aws_cli_is_one(tmp_path: Path) -> None:
    lines = [line for text in fences(README, "sh") for line in text.replace("\\\n", " ").splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("aws ")]
    assert len(calls) >= 3
    for name, text in zip(("trust", "node-may", "program-trust"), fences(README, "json"), strict=True):
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    (tmp_path / "what-the-programs-may.json").write_text("{}", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    for call in calls:
        done = subprocess.run(
            [PROGRAMS / "aws", *call[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert "Could not connect to the endpoint" in done.stderr, f"{call}: {done.stderr}"  # so the command was right


def test_the_walk_on_a_laptop_arrives(tmp_path: Path) -> None:
    (walk,) = fences(README, "bash")
    environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    seen = tmp_path / "seen"
    with seen.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-eu", "-c", walk],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = shell.wait(timeout=100)
    finally:
        with suppress(ProcessLookupError):  # all has ended, as it should
            os.killpg(shell.pid, signal.SIGTERM)
    told = seen.read_text(encoding="utf-8")
    assert code == 0, told
    assert re.search(r"assumed-role/RackServer/mi-[0-9a-f]{17}", told)
    assert "State:        waiting" in told


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    measured = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("figures.md", "packages.md"))
    ours = re.findall(r"^\| [^|]+ \| [^|]+ \| ([^|]+) \|$", section(README, "## Beside SSM Agent"), re.MULTILINE)
    figures = re.findall(r"\d[\d.]* (?:MB|ms|s)\b", " ".join(ours))
    assert len(figures) == 6
    assert [figure for figure in figures if figure not in measured] == []
