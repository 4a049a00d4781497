"""The daemon's log: to the journal natively, in colour to a terminal, as JSON lines to anything else.

Rules:
- Where standard error goes decides; the log level decides what is left out.
- A log that cannot be written never stops or delays the daemon: nothing here blocks, and log() does not raise. What
  could not be written is counted, and the next entry that can says how many were lost (`dropped`).
- Whatever comes from outside is shown without its control characters on a terminal, and cannot begin a line there.

Only the supervisor logs.
"""

import json
import os
import select
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper import durations
from rolekeeper.ports import Clock

JOURNAL_SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "rolekeeper"

# For `journalctl MESSAGE_ID=...`; a name once given to an event stays its own.
MESSAGE_IDS = {
    "backing_off": "aa25540e17ce475395a2bd904771a548",
    "configuration_rejected": "a3177e088f2246f0a3ee00424e2d0bde",
    "credentials_fresh": "373752c0e1df45d9a7558b003b1f6653",
    "credentials_published": "ce9da2230b4249febe88a5de67b2e80f",
    "hardware_changed": "41aa874c91b34a708a8def7d5a66abef",
    "health_reported": "5bc71dd2acbd4221a9cbd27d0945e965",
    "health_unreported": "ab0aa27ef04b4c0093f63041c8fd1031",
    "hibernating": "2ac9fd3977564145865a47df853fac7a",
    "hibernation_entered": "7eb5815986e44f43b2a0e72ba70aae43",
    "hibernation_left": "ea01babe581343c0aa7d525ad77c2858",
    "key_rotated": "f562405cdf1f4d939760636e663ff286",
    "key_rotation_refused": "2602524f959a4996babf96d73f702d02",
    "key_rotation_unfinished": "8c39e042c23342498f206d62efd5f259",
    "long_session": "460420bc54ea4ca19e6fd621b458b981",
    "output_warning": "6f0497c45b50480db444f00c05f23895",
    "overwritten_by_another": "391adcf99acc4d118ace7be1d3a5ca34",
    "role_assumed": "49bde693bfab405ebf34bbb2322ec110",
    "role_failed": "bf1a6a248d274ceda86a7e9d32b5b903",
    "recovered": "ee6d338e3f08427ca4853e9962a16ba5",
    "upgraded": "816bc47713b6412ca88acfee09eba856",
    "registered": "5a2a99afc78d44aba99b4dc38e93da7d",
    "reloaded": "c080ed8a40c64b89bb507620f4a585dc",
    "started": "86ca148f21654f5a8d282fa65f221265",
    "status_unwritten": "d1c36a59199c43f6984fb0429be00e33",
    "stopping": "306c43b449344ccc88528514daa452f4",
    "token_issued": "7dcdb15576e14d5fafa4cae60c5e6899",
    "unregistered": "e0048100855142edb6c1ba18ae04a87b",
    "vault_unwritten": "cffb1eec6e9b4071ad010d41cd5aea69",
}

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # syslog(3)
_LEVEL_FOR_UNKNOWN = "error"
_PIECE = select.PIPE_BUF  # bytes that a pipe or socket which poll(2) calls writable takes without waiting
_LONGEST_VALUE = 8_192  # characters; a datagram has to hold all fields
_LONGEST_NAME = 64  # characters; journald takes no longer ones
_BREAKING = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

_Entry = Mapping[str, Any]
_Renderer = Callable[[_Entry], tuple[Any, ...]]  # what the sink's `write` takes


class Log:
    """Where the daemon says what happens. Made by `configure`."""

    def __init__(self, sink: "_Lines | _Journal", render: _Renderer, level: str, clock: Clock) -> None:
        self._sink = sink
        self._render = render
        self._least = _LEVELS[level]
        self._clock = clock
        self._dropped = 0

    def log(self, event: str, level: str, message: str, **fields: object) -> None:
        """Record that `event` (snake_case) happened: `message` for a person, `fields` for a program; None: no field."""
        level = level if level in _LEVELS else _LEVEL_FOR_UNKNOWN
        if _LEVELS[level] < self._least:
            return
        facts = {name: _plain(value) for name, value in fields.items() if value is not None}
        if self._dropped:
            facts["dropped"] = self._dropped
        now, text = _plain(self._clock.now().wall), message[:_LONGEST_VALUE]
        entry = {"timestamp": now, "level": level, "event": event, "message": text, "facts": facts}
        written = self._sink.write(*self._render(entry))
        self._dropped = 0 if written else self._dropped + 1


def configure(
    level: str, stderr: int, *, clock: Clock, journal_stream: str | None, journal_socket: str = JOURNAL_SOCKET
) -> Log:
    """The log for a process whose standard error is the file descriptor `stderr`.

    `journal_stream` is what systemd put into JOURNAL_STREAM (device:inode), None if nothing. `level` is the least level
    that is written.
    """
    lines = _Lines(stderr)
    if journal_stream is not None and journal_stream == _device_and_inode(stderr):
        return Log(_Journal(journal_socket, lines), _render_for_journal, level, clock)
    renderer = _terminal_renderer() if os.isatty(stderr) else _render_as_json
    return Log(lines, renderer, level, clock)


class _Lines:
    """Writes to a file descriptor that may be anything: a terminal, a file, a pipe without a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn = False

    def write(self, line: str) -> bool:
        """Write `line`; whether all of it went."""
        data = b"\n" * self._torn + line.encode(errors="backslashreplace") + b"\n"
        written = 0
        try:
            while written < len(data) and self._is_writable():
                written += os.write(self._descriptor, data[written : written + _PIECE])
        except OSError:  # closed, or its reader is gone: the caller counts it
            pass
        self._torn = 0 < written < len(data) or (self._torn and not written)
        return written == len(data)

    def _is_writable(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(happened & select.POLLOUT for _, happened in poll.poll(0))


class _Journal:
    """Sends to journald's own socket, one datagram an entry; when journald is dead, to standard error instead."""

    def __init__(self, address: str, lines: _Lines) -> None:
        self._address = address
        self._lines = lines

    def write(self, datagram: bytes, line: str) -> bool:
        """Send `datagram`, or write `line`; whether one of them went."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(0)
                connection.sendto(datagram, self._address)
        except BlockingIOError:  # journald lives, but cannot keep up
            return False
        except OSError:
            return self._lines.write(line)
        return True


def _render_for_journal(entry: _Entry) -> tuple[bytes, str]:
    priority = _PRIORITIES[entry["level"]]
    message = _shown(entry["message"])
    if entry["facts"].get("hint"):  # journalctl shows nothing but MESSAGE to a person who does not ask for more
        message += f"\n  hint: {_shown(str(entry['facts']['hint']))}"
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "ROLEKEEPER_EVENT": entry["event"],
    }
    if entry["event"] in MESSAGE_IDS:
        fields["MESSAGE_ID"] = MESSAGE_IDS[entry["event"]]
    for name, value in entry["facts"].items():
        fields.setdefault(_field_name(name), str(value))
    datagram = b"".join(_field(name, value) for name, value in fields.items())
    return datagram, f"<{priority}>{_on_one_line(message)}"


def _field_name(name: str) -> str:
    """The journal's form of a field's name: upper case, and nothing but letters, digits and underscores."""
    letters = (character if character.isascii() and character.isalnum() else "_" for character in name.upper())
    return f"ROLEKEEPER_{''.join(letters)}"[:_LONGEST_NAME]


def _field(name: str, value: str) -> bytes:
    """One field in the journal's native protocol: a value with a line break in it goes with its length in front."""
    data = value[:_LONGEST_VALUE].encode(errors="backslashreplace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _render_as_json(entry: _Entry) -> tuple[str]:
    return (json.dumps(_flat(entry)),)


def _terminal_renderer() -> _Renderer:
    """structlog's, which is loaded for a person alone: with it, the daemon's start would take twice as long."""
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415

    console = ConsoleRenderer(colors=True, sort_keys=False, event_key="message")

    def render(entry: _Entry) -> tuple[str]:
        line = {name: _on_one_line(_shown(str(value))) for name, value in _flat(entry).items()}
        return (console(None, entry["level"], line),)

    return render


def _flat(entry: _Entry) -> dict[str, Any]:
    own = {name: entry[name] for name in ("timestamp", "level", "event", "message")}
    return own | {name: _cut(value) for name, value in entry["facts"].items() if name not in own}


def _plain(value: object) -> str | int:
    """A field's value as JSON and the journal can hold it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return durations.text(abs(value))
    return value if isinstance(value, int) else str(value)


def _cut(value: Any) -> Any:
    return value[:_LONGEST_VALUE] if isinstance(value, str) else value


def _shown(text: str) -> str:
    return text.translate(_BREAKING)


def _on_one_line(text: str) -> str:
    return text.replace("\n", "\n    ")


def _device_and_inode(descriptor: int) -> str | None:
    try:
        status = os.fstat(descriptor)
    except OSError:  # closed
        return None
    return f"{status.st_dev}:{status.st_ino}"
