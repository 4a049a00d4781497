"""systemd/rolekeeper.catalog against the table of events, and against systemd's own reader."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.packages.conftest import need

from rolekeeper.adapters.supervision.journal import IDENTIFIER, MESSAGE_IDS

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "systemd" / "rolekeeper.catalog"
NAME = {message_id: event for event, message_id in MESSAGE_IDS.items()}
# The fields that every entry of an event has; journalctl leaves the name of any other as it stands.
FIELDS = {
    "registered": {"NODE_ID", "REGION"},
    "backing_off": {"ATTEMPT", "OUTCOME"},
    "hardware_changed": {"COMPONENTS", "COMPARED", "MATCHED"},
    "overwritten_by_another": {"PATH", "PROFILE"},
}


@dataclass
class Entry:
    """What the catalog says of one MESSAGE_ID."""

    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


def entries(text: str) -> list[tuple[str, Entry]]:
    """Every entry, in order: comments left out, headers up to the first empty line, then the body."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found = []
    for part in re.split(r"^-- ", lines, flags=re.MULTILINE)[1:]:
        message_id, _, rest = part.partition("\n")
        head, _, body = rest.partition("\n\n")
        found.append((message_id, Entry(dict(line.split(": ", 1) for line in head.splitlines()), body.strip())))
    return found


ENTRIES = entries(CATALOG.read_text())
BY_EVENT = {NAME.get(message_id, message_id): entry for message_id, entry in ENTRIES}


def test_every_event_and_nothing_else_is_explained_once() -> None:
    assert sorted(message_id for message_id, _ in ENTRIES) == sorted(MESSAGE_IDS.values())


def test_the_comment_above_an_entry_names_its_event() -> None:
    named = re.findall(r"^# (\w+)\n-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)
    assert named == [(NAME[message_id], message_id) for message_id, _ in ENTRIES]


@pytest.mark.parametrize("event", MESSAGE_IDS)
def test_an_entry_says_what_happened_and_what_to_do(event: str) -> None:
    entry = BY_EVENT[event]
    assert entry.headers["Subject"]
    assert entry.headers["Defined-By"] == IDENTIFIER
    assert re.match(r"man:rolekeeper(\.toml)?\([58]\)$", entry.headers["Documentation"])
    happened, _, to_do = entry.body.partition("\n\n")
    assert happened
    assert re.match(r"What to do[,:]|There is nothing to do\.", to_do)


@pytest.mark.parametrize("event", MESSAGE_IDS)
def test_an_entry_names_only_fields_that_the_event_always_has(event: str) -> None:
    entry = BY_EVENT[event]
    named = set(re.findall(r"@ROLEKEEPER_(\w+)@", entry.headers["Subject"] + entry.body))
    assert named == FIELDS.get(event, set())


@pytest.mark.parametrize("event", MESSAGE_IDS)
def test_an_entry_fits_a_terminal(event: str) -> None:
    filled = re.sub(r"@\w+@", "a value", BY_EVENT[event].body)
    assert max(map(len, filled.splitlines())) <= 80


def test_journalctl_reads_the_catalog_as_we_do(tmp_path: Path) -> None:
    need("journalctl", "systemd")
    (tmp_path / "usr/lib/systemd/catalog").mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, tmp_path / "usr/lib/systemd/catalog")
    journalctl(tmp_path, "--update-catalog")
    read = dict(entries(journalctl(tmp_path, "--dump-catalog")))
    assert read == dict(ENTRIES)


def journalctl(root: Path, option: str) -> str:
    """Run journalctl; what it does not understand it tells on standard error, and goes on."""
    done = subprocess.run(["journalctl", f"--root={root}", option], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout
