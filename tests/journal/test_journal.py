"""The daemon's log, seen from where it arrives: a journal socket, a terminal, a pipe, a file."""

import ast
import fcntl
import itertools
import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rolekeeper
from rolekeeper.adapters.supervision import journal
from rolekeeper.model import Instant

SOURCE = Path(rolekeeper.__file__).parent
LEVELS = ["debug", "info", "warning", "error"]
STAMP = "2026-11-23T18:00:00.123Z"


class StoppedClock:
    """A clock that stands at one moment."""

    def now(self) -> Instant:
        return Instant(datetime(2026, 11, 23, 18, 0, 0, 123_456, tzinfo=UTC), timedelta(0))

    def sleep(self, duration: timedelta) -> None: ...

    def boot_id(self) -> str:
        return "boot"


class Journald:
    """The receiving end of journald's socket: every record as the dict of its fields."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(5)

    def record(self) -> dict[str, str]:
        return parse_native(self.socket.recv(1 << 20))


def parse_native(datagram: bytes) -> dict[str, str]:
    """The journal's native protocol, read as its documentation says."""
    fields = {}
    while datagram:
        head, _, datagram = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + size], datagram[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path)
    with closing(receiver.socket):
        yield receiver


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[int]:
    """A file in the place of the stream that systemd connects standard error to."""
    with (tmp_path / "stream").open("w+b", buffering=0) as file:
        yield file.fileno()


def drain(listener: socket.socket) -> int:
    """Read what is there; returns how many datagrams that was."""
    listener.settimeout(0)
    received = 0
    with suppress(BlockingIOError):
        for count in itertools.count():
            listener.recv(1 << 20)
            received = count + 1
    return received


def journal_stream(descriptor: int) -> str:
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def content(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode()


def to_journal(journald: Journald, stream: int, level: str = "info") -> journal.Log:
    named = journal_stream(stream)
    return journal.configure(level, stream, clock=StoppedClock(), journal_stream=named, journal_socket=journald.address)


def to_lines(descriptor: int, level: str = "info") -> journal.Log:
    return journal.configure(level, descriptor, clock=StoppedClock(), journal_stream=None)


def test_a_record_reaches_the_journal_with_all_its_fields(journald: Journald, stream: int) -> None:
    to_journal(journald, stream).log(
        "backing_off", "warning", "Cannot get a token", node_id="mi-1", request_id=None, attempt=3
    )
    assert journald.record() == {
        "MESSAGE": "Cannot get a token",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "rolekeeper",
        "MESSAGE_ID": journal.MESSAGE_IDS["backing_off"],
        "ROLEKEEPER_EVENT": "backing_off",
        "ROLEKEEPER_NODE_ID": "mi-1",
        "ROLEKEEPER_ATTEMPT": "3",
    }
    assert content(stream) == ""


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("odd", "3")]
)
def test_levels_become_the_priorities_of_syslog(journald: Journald, stream: int, level: str, priority: str) -> None:
    to_journal(journald, stream, "debug").log("started", level, "x")
    assert journald.record()["PRIORITY"] == priority


def test_times_and_durations_are_logged_in_one_form(journald: Journald, stream: int) -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2026, 11, 23, 23, 30, 0, 123_456, tzinfo=kolkata)
    to_journal(journald, stream).log("started", "info", "x", expires_at=at, wait=timedelta(seconds=90))
    record = journald.record()
    assert record["ROLEKEEPER_EXPIRES_AT"] == STAMP
    assert record["ROLEKEEPER_WAIT"] == "1min 30s"


@given(message=st.text(), value=st.text(), name=st.from_regex(r"[a-z][a-z0-9_.-]{0,80}", fullmatch=True))
def test_no_text_breaks_out_of_its_field(tmp_path_factory: Any, message: str, value: str, name: str) -> None:
    directory = tmp_path_factory.mktemp("journal")
    receiver = Journald(directory)
    with closing(receiver.socket), (directory / "stream").open("wb") as file:
        to_journal(receiver, file.fileno()).log("odd_event", "info", message, **{f"x{name}": value})
        record = receiver.record()
    assert set(record) - {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "ROLEKEEPER_EVENT"} == {
        "ROLEKEEPER_X" + re.sub("[^A-Z0-9_]", "_", name.upper())[:52]
    }
    assert record["ROLEKEEPER_EVENT"] == "odd_event"
    if value.isprintable():
        assert value in record.values()


def test_a_value_of_several_lines_arrives_whole(journald: Journald, stream: int) -> None:
    to_journal(journald, stream).log("started", "info", "one\ntwo", detail="a=b\nPRIORITY=0\n")
    record = journald.record()
    assert record["MESSAGE"] == "one\ntwo"
    assert record["ROLEKEEPER_DETAIL"] == "a=b\nPRIORITY=0\n"
    assert record["PRIORITY"] == "6"


def test_a_person_who_reads_only_messages_sees_the_hint(journald: Journald, stream: int) -> None:
    to_journal(journald, stream).log("backing_off", "warning", "Cannot publish", hint="open it:\n[Service]\nUMask=0")
    record = journald.record()
    assert record["MESSAGE"] == "Cannot publish\n  hint: open it:\n[Service]\nUMask=0"
    assert record["ROLEKEEPER_HINT"] == "open it:\n[Service]\nUMask=0"


def test_an_endless_value_is_cut_and_still_arrives(journald: Journald, stream: int) -> None:
    to_journal(journald, stream).log("started", "info", "x" * 10_000_000, body="y" * 10_000_000)
    record = journald.record()
    assert 0 < len(record["MESSAGE"]) <= 8192
    assert 0 < len(record["ROLEKEEPER_BODY"]) <= 8192


def test_what_the_level_leaves_out_is_not_sent(journald: Journald, stream: int) -> None:
    log = to_journal(journald, stream, "warning")
    log.log("started", "info", "not this")
    log.log("stopping", "error", "this")
    assert journald.record()["MESSAGE"] == "this"


def test_a_dead_journal_leaves_the_record_to_standard_error(journald: Journald, stream: int) -> None:
    log = to_journal(journald, stream)
    journald.socket.close()
    log.log("backing_off", "warning", "first\nsecond")
    Path(journald.address).unlink()
    log.log("stopping", "info", "last")
    assert content(stream) == "<4>first\n    second\n<6>last\n"


def test_a_full_journal_drops_records_and_the_next_one_says_how_many(journald: Journald, stream: int) -> None:
    log = to_journal(journald, stream)
    for number in range(2000):
        log.log("started", "info", f"record {number}")
    received = drain(journald.socket)
    assert 0 < received < 2000
    log.log("started", "info", "again")
    log.log("started", "info", "and again")
    assert journald.record()["ROLEKEEPER_DROPPED"] == str(2000 - received)
    assert "ROLEKEEPER_DROPPED" not in journald.record()


@pytest.mark.parametrize("named", [None, "", "8:1", "nonsense"])
def test_a_stream_that_is_not_the_journals_gets_json_lines(journald: Journald, stream: int, named: str | None) -> None:
    log = journal.configure("info", stream, clock=StoppedClock(), journal_stream=named, journal_socket=journald.address)
    log.log("credentials_published", "info", "Published ü\n2", node_id="mi-1", attempt=3, hint=None, kept=True)
    (line,) = content(stream).splitlines()
    assert list(json.loads(line).items()) == [
        ("timestamp", STAMP),
        ("level", "info"),
        ("event", "credentials_published"),
        ("message", "Published ü\n2"),
        ("node_id", "mi-1"),
        ("attempt", 3),
        ("kept", True),
    ]


@given(st.lists(st.text(), max_size=4), st.dictionaries(st.sampled_from(["timestamp", "node_id", "a b"]), st.text()))
def test_every_record_is_one_json_line(tmp_path_factory: Any, messages: list[str], fields: dict[str, str]) -> None:
    with (tmp_path_factory.mktemp("lines") / "stream").open("w+b", buffering=0) as file:
        log = to_lines(file.fileno())
        for message in messages:
            log.log("started", "info", message, **fields)
        records = [json.loads(line) for line in content(file.fileno()).splitlines()]
    assert [record["message"] for record in records] == messages
    assert all(record["timestamp"] == STAMP for record in records)


def on_terminal(use: Callable[[journal.Log], None]) -> str:
    ours, theirs = pty.openpty()
    try:
        use(to_lines(theirs))
        return os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_gets_a_coloured_line() -> None:
    shown = on_terminal(lambda log: log.log("started", "warning", "Hello", node_id="mi-1"))
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain.startswith(f"{STAMP} [warning  ] Hello")
    assert plain.rstrip().endswith("event=started node_id=mi-1")


def test_a_terminal_gets_no_control_characters_from_elsewhere() -> None:
    shown = on_terminal(lambda log: log.log("started", "info", "a\x1b]0;owned\x07\x9b2J\nfake line\r", hint="\x1b[2J"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", plain)
    assert "\n    fake line" in plain
    assert "\\x1b[2J" in plain


def test_a_pipe_that_nobody_reads_delays_nothing_and_loses_only_records() -> None:
    reader, writer = os.pipe()
    log = to_lines(writer)
    for number in range(3000):
        log.log("started", "info", f"record {number} " + "x" * 100)
    received = os.read(reader, 1 << 20).decode().splitlines()
    log.log("started", "info", "again")
    again = os.read(reader, 1 << 20).decode().splitlines()
    os.close(reader)
    os.close(writer)
    whole = [json.loads(line) for line in received]
    assert [record["message"].split()[1] for record in whole] == [str(number) for number in range(len(whole))]
    assert json.loads(again[-1])["dropped"] == 3000 - len(whole)


def test_a_record_that_was_cut_off_does_not_spoil_the_next_one() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x" * (fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) - select.PIPE_BUF))
    log = to_lines(writer)
    log.log("started", "info", "y" * 8000)  # its first piece fits, its second does not
    before = os.read(reader, 1 << 20)
    log.log("started", "info", "after")
    last = (before + os.read(reader, 1 << 20)).decode().splitlines()[-1]
    os.close(reader)
    os.close(writer)
    assert before.endswith(b"y")
    assert json.loads(last)["message"] == "after"
    assert json.loads(last)["dropped"] == 1


def test_a_closed_standard_error_is_survived() -> None:
    reader, writer = os.pipe()
    log = to_lines(writer)
    os.close(reader)
    log.log("started", "info", "nobody reads")
    os.close(writer)
    log.log("started", "info", "nowhere to write")
    closed = journal.configure("info", writer, clock=StoppedClock(), journal_stream="8:1")
    closed.log("started", "info", "closed from the start")


def logged_events() -> set[str]:
    """The event of every `LogEntry(event, level, ...)`, `Record(event, level, ...)` and `log(event, level, ...)`."""
    nodes = (node for path in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    calls = (node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 2)
    written = [[getattr(argument, "value", None) for argument in call.args[:2]] for call in calls]
    return {event for event, level in written if isinstance(event, str) and level in LEVELS}


def test_every_event_that_is_logged_anywhere_has_a_message_id_and_no_other_has() -> None:
    assert logged_events() == set(journal.MESSAGE_IDS)


def test_message_ids_are_distinct_and_events_are_snake_case() -> None:
    ids = journal.MESSAGE_IDS
    assert len(set(ids.values())) == len(ids)
    assert all(uuid.UUID(value).hex == value for value in ids.values())
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", event) for event in ids)


LOADED = """
import sys
from datetime import datetime, timedelta, UTC
from rolekeeper.adapters.supervision import journal
from rolekeeper.adapters.supervision import systemd
from rolekeeper.model import Instant
class Clock:
    def now(self): return Instant(datetime.now(UTC), timedelta(0))
journal.configure("info", 2, clock=Clock(), journal_stream=None).log("started", "info", "x")
systemd.Systemd("/nowhere").notify("READY=1")
print(*sorted(sys.modules))
"""


def test_the_supervisors_log_loads_neither_asyncio_nor_anything_else_that_is_large() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", LOADED], check=True, capture_output=True, text=True)
    large = {
        "structlog",  # it is for terminals
        "asyncio",
        "ssl",
        "rich",
        "colorama",
        "better_exceptions",
        "twisted",
        "pydantic",
        "botocore",
        "http",
        "email",
    }
    assert set(done.stdout.split()) & large == set()
