"""How the supervisor and an attempt talk: JSON lines, over the attempt's standard input and output.

1. The supervisor sends an order: `{"version": "...", "digest": "...", "reload": bool, "reuse": bool, "passed_over":
   ["role"]}`. An attempt of another version says `{"outdated": "its version"}` and ends: rolekeeper was upgraded under
   a running daemon.
2. The settings in force lie in a file in memory, which every attempt inherits as descriptor 3: they may hold a proxy's
   password, and the supervisor neither reads nor keeps them. An attempt that is to reload, or finds no settings of the
   order's digest there (an attempt may have been killed while it put others in force), reads the configuration, writes
   the settings to that file and says `{"settings": {...}}`, the part that the supervisor needs; or it says
   `{"rejected": "..."}` and uses those in force. Without any it then ends with exit status 78.
3. An attempt that found no settings then waits for a line, `go`: until then another daemon may hold the lock.
4. An attempt that has read the configuration says `{"found": {...}}` once it has read the vault: node and outputs.
5. The attempt says `{"report": {...}}` and ends.

Health reports are such processes, too, in a line of their own beside the attempts: they get the same order and the same
settings, and say `{"health": {...}}`.

The supervisor never waits for a pipe: what it says has less than the 4096 bytes that a pipe holds even past a user's
quota; of the roles to pass over it names as many as fit. Answers are read only until the report: what the attempt has
started may hold the pipe open for longer. The rest of the attempt's process group is killed when it is reaped. Unknown
members are ignored.
"""

import fcntl
import gc
import json
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rolekeeper import __version__
from rolekeeper.adapters.supervision.signals import wake_self
from rolekeeper.core.jsonvalues import decode, encode
from rolekeeper.model import AttemptReport, HealthReported, RegistrationFound
from rolekeeper.ports import Accepted, Ended, Message, Outdated, Rejected
from rolekeeper.settings import Settings, SupervisorSettings, supervisor_settings
from rolekeeper.values import Value

LONGEST_BYTES = 1 << 20  # of everything that an attempt says; a report has some thousand
CANNOT_START = 71  # EX_OSERR
BROKEN_WORD = 76  # EX_PROTOCOL
PIPE_BYTES = 1 << 16
LONGEST_NAMES = 3500  # bytes of an order's list of roles
GO = b"go\n"
SETTINGS = 3  # the descriptor of the settings in force, in an attempt


class SettingsInForce:
    """A file in memory that attempts write and read, and the digest of those settings that the daemon knows."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("rolekeeper-settings", os.MFD_CLOEXEC)
        self.digest: str | None = None


class AttemptProcesses:
    """The supervisor's end: attempts as child processes, in sessions of their own, one at a time."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], in_force: SettingsInForce) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._in_force = in_force
        self._running: _Running | None = None
        self._leaving: set[int] = set()  # pids of attempts that are done with, until they are gone
        self._cannot_start = ""  # or the reason

    def start(self, *, reload: bool, reuse: bool, passed_over: Collection[str] = ()) -> None:
        """Start an attempt; one that cannot be started shows as Ended."""
        order = {
            "version": __version__,
            "digest": self._in_force.digest,
            "reload": reload,
            "reuse": reuse,
            "passed_over": _fitting(passed_over),
        }
        try:
            line = json.dumps(order).encode() + b"\n"
            self._running = _spawn(self._command, self._environment, line, self._in_force.descriptor)
        except OSError as error:
            self._cannot_start = f"{self._command[0]}: {error.strerror}"
            wake_self()

    def messages(self) -> list[Message]:
        """What the attempt has said since the last call; Ended only when it said no report."""
        return list(self._said())  # to its end, whatever the caller does with it: on the way an attempt is let go of

    def _said(self) -> Iterator[Message]:
        if self._cannot_start:
            why, self._cannot_start = self._cannot_start, ""
            yield Ended(CANNOT_START, why)
        running = self._running
        if running is None:
            return
        status = _exit_status(running.pid)
        for message in running.hear():
            if isinstance(message, Ended):
                _kill(running.pid)
            if isinstance(message, Accepted):
                self._in_force.digest = message.settings.digest
            if isinstance(message, (AttemptReport, HealthReported, Ended, Outdated)):
                self._let_go(running)
                yield message
                return
            yield message
        if status is not None:
            self._let_go(running)
            yield Ended(status)

    def proceed(self) -> None:
        """Tell the attempt that its configuration was taken over."""
        if self._running is not None:
            self._running.send(GO)

    def end(self) -> None:
        """Kill the attempt and whatever it has started."""
        if self._running is not None:
            _kill(self._running.pid)
            self._let_go(self._running)

    def reap(self) -> None:
        """Let go of attempts that have ended by now; one that hangs on a disk may take its time."""
        for pid in [pid for pid in self._leaving if _exit_status(pid) is not None]:
            _kill(pid)  # what it has left running
            os.waitpid(pid, 0)
            self._leaving.remove(pid)

    def _let_go(self, running: "_Running") -> None:
        running.close()
        self._running = None
        self._leaving.add(running.pid)
        self.reap()
        gc.collect()  # which also empties Python's free lists: over hundreds of attempts these grow by a megabyte


class _Running:
    """One attempt: its pid, and our ends of its pipes."""

    def __init__(self, pid: int, orders: int, answers: int) -> None:
        self.pid = pid
        self.orders = orders
        self.answers = answers
        self.heard = bytearray()

    def send(self, word: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended, which is heard
            os.write(self.orders, word)

    def hear(self) -> Iterator[Message]:
        """Every whole line that has come."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.answers, PIPE_BYTES):
                self.heard += chunk
                if len(self.heard) > LONGEST_BYTES:
                    yield Ended(BROKEN_WORD)
                    return
        while b"\n" in self.heard:
            line, _, rest = self.heard.partition(b"\n")
            self.heard[:] = rest
            yield _message(bytes(line))

    def close(self) -> None:
        os.close(self.orders)
        os.close(self.answers)


def _message(line: bytes) -> Message:
    try:
        said = json.loads(line)
        if "settings" in said:
            return Accepted(decode(SupervisorSettings, said["settings"]))
        if "outdated" in said:
            return Outdated(str(said["outdated"]))
        if "rejected" in said:
            return Rejected(str(said["rejected"]))
        if "found" in said:
            return decode(RegistrationFound, said["found"])
        if "health" in said:
            return decode(HealthReported, said["health"])
        return decode(AttemptReport, said["report"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return Ended(BROKEN_WORD)


def _fitting(names: Collection[str]) -> list[str]:
    """As many of the names as an order can hold."""
    fitting: list[str] = []
    for name in sorted(names):
        if len(json.dumps([*fitting, name])) > LONGEST_NAMES:
            break
        fitting.append(name)
    return fitting


def _spawn(command: tuple[str, ...], environment: Mapping[str, str], order: bytes, settings: int) -> _Running:
    """Start `command` with an empty signal mask, default signals and a session of its own."""
    their_orders, orders = os.pipe2(os.O_CLOEXEC)
    try:
        answers, their_answers = os.pipe2(os.O_CLOEXEC)
    except OSError:
        os.close(their_orders)
        os.close(orders)
        raise
    try:
        fcntl.fcntl(answers, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(answers, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, their_orders, 0),
                (os.POSIX_SPAWN_DUP2, their_answers, 1),
                (os.POSIX_SPAWN_DUP2, settings, SETTINGS),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except OSError:
        os.close(orders)
        os.close(answers)
        raise
    finally:
        os.close(their_orders)
        os.close(their_answers)
    running = _Running(pid, orders, answers)
    running.send(order)
    return running


def _exit_status(pid: int) -> int | None:
    """How the attempt has ended, negative for a signal; None when it has not. It stays to be reaped."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _kill(pid: int) -> None:
    """Kill the attempt and whatever it has started; the pid is ours until `reap`, so this cannot hit a stranger."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class Order(Value):
    """What the supervisor wants of an attempt, and the settings in force, if there are any."""

    settings: Settings | None
    reload: bool
    reuse: bool
    passed_over: frozenset[str]


class SupervisorPipe:
    """The attempt's end."""

    def order(self) -> Order:
        """What to do. SystemExit when no supervisor says so, or one of another version, which learns that."""
        try:
            said = json.loads(sys.stdin.readline())
            if said["version"] != __version__:
                self._say({"outdated": __version__})
                raise SystemExit(0)
            settings = _settings_in_force(said["digest"])
            return Order(settings, bool(said["reload"]), bool(said["reuse"]), frozenset(said.get("passed_over", ())))
        except (AttributeError, OSError, ValueError, TypeError, KeyError, RecursionError):  # the first: no input at all
            raise SystemExit(BROKEN_WORD) from None

    def accepted(self, settings: Settings, *, wait: bool) -> None:
        """Put the settings in force, and with `wait` go on only on the supervisor's word."""
        os.ftruncate(SETTINGS, 0)
        os.pwrite(SETTINGS, json.dumps(encode(settings)).encode(), 0)
        self._say({"settings": encode(supervisor_settings(settings))})
        if wait and not sys.stdin.readline():
            raise SystemExit(BROKEN_WORD)

    def rejected(self, problems: str) -> None:
        """Report what is wrong with the new configuration."""
        self._say({"rejected": problems})

    def found(self, found: RegistrationFound) -> None:
        """Report which node this is, and what the outputs hold."""
        self._say({"found": encode(found)})

    def health(self, reported: HealthReported) -> None:
        """Report what came of a health report."""
        self._say({"health": encode(reported)})

    def report(self, report: AttemptReport) -> None:
        """Report how the attempt ended."""
        self._say({"report": encode(report)})

    @staticmethod
    def _say(word: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(word) + "\n")
        sys.stdout.flush()


def _settings_in_force(digest: str | None) -> Settings | None:
    """What an earlier attempt of this daemon wrote; None when the daemon knows of no such settings."""
    written = os.pread(SETTINGS, os.fstat(SETTINGS).st_size, 0)
    try:
        settings = decode(Settings, json.loads(written))
    except ValueError:  # none yet, or not all of them
        return None
    return settings if settings.digest == digest else None
