"""The node that is soaked: a real daemon on the emulator, an operator who helps as the manual says, and measurements.

Nothing here waits for a time to pass: it waits until something is so, and ends the soak with the log when it never is.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.configloader import raw_config_parse
from tests.benchmarks.rig import descendants, own_memory
from tests.conftest import Server
from tests.daemonprocess.conftest import Daemon, Start, processes

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.emulator import RecordedRequest

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 120.0  # far longer than any wait of the daemon's that the operator does not cut short
BORING = timedelta(seconds=4)  # the operator asks for a refresh when the next attempt is later than that
LOG_LINES = 40
LONGEST_PAUSE_SECONDS = 0.6  # about as long as an attempt takes
TEMPORARY = "*.rolekeeper-new"
# Whether the service's silence or the attempt's length ends an attempt that hangs: a reload goes from one to the other.
READ_TIMEOUTS = ("5s", "30s")
ATTEMPT_TIMEOUT = "15s"
FOREIGN = (
    "# kept by hand\n[default]\nregion = eu-west-1\n\n; untouched\n[other]\n"
    "aws_access_key_id = AKIDOTHER\naws_secret_access_key = a#b\ns3 =\n  max_queue_size = 5\n\n# the last line"
)


class SoakError(Exception):
    """The daemon did not do what it promises."""


@dataclass(frozen=True)
class Sample:
    """What the daemon itself occupied at one moment: megabytes (of a million bytes), and counts."""

    daemon: int  # which of the daemons that were started, from 0
    pss: float
    rss: float
    descriptors: int
    threads: int
    children: int  # an attempt, and what it has started
    temporary_files: int  # in vault, output and runtime directory


@dataclass
class Node:
    """The node, its daemon, and what was done to it; `helped` counts what the operator did."""

    server: Server
    begin: Start
    chance: random.Random
    daemons: list[Daemon] = field(default_factory=list)
    published: list[str] = field(default_factory=list)  # access key ids, in order
    samples: list[Sample] = field(default_factory=list)
    helped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.server.emulator.token_lifetime = timedelta(seconds=2)
        self.configure(READ_TIMEOUTS[0])
        self.server.output.parent.mkdir()
        self.server.output.write_text(FOREIGN)

    @property
    def daemon(self) -> Daemon:
        return self.daemons[-1]

    def configure(self, read_timeout: str) -> None:
        """The configuration that the next reload, or the next start, goes by."""
        self.read_timeout = read_timeout
        self.server.configure(
            service=f'read_timeout = "{read_timeout}"', daemon=f'attempt_timeout = "{ATTEMPT_TIMEOUT}"'
        )

    def start(self) -> None:
        """Start a daemon in the place of the last one."""
        self.daemons.append(self.begin(self.server))

    def stop(self) -> None:
        """Stop the daemon as systemd does."""
        code = self.daemon.stop()
        if code:
            raise SoakError(f"SIGTERM ends the daemon with {code}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until it is so, noting down what is published meanwhile, and helping as an operator would."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            self._note()
            if time.monotonic() > end or self.daemon.process.poll() is not None:
                log = "".join(self.daemon.log_file.read_text().splitlines(keepends=True)[-LOG_LINES:])
                raise SoakError(f"it never came: {what}\n{self.server.status_file()}\n{log}")
            if self._is_bored():
                self.helped["`rolekeeper refresh`"] += 1
                self.server.run("refresh")
            time.sleep(POLL_SECONDS)

    def _note(self) -> None:
        found = raw_config_parse(str(self.server.output))["default"].get("aws_access_key_id")
        if found and found not in self.published[-1:]:
            self.published.append(found)

    def _is_bored(self) -> bool:
        """Whether nothing would happen for long."""
        due = self.server.status_file().get("next_attempt_at")
        return self._is_up() and bool(due) and _is_far(due)

    def _is_up(self) -> bool:
        """Whether the daemon, and not the one before it, has written its status."""
        return bool(self.server.status_file().get("pid") == self.daemon.pid)

    def until_refreshed(self) -> None:
        """Wait for credentials other than those that are published now."""
        self._note()
        count = len(self.published)
        self.until(lambda: len(self.published) > count, "new credentials")

    def until_asked(self, operation: str, verdict: str | None = None) -> None:
        """Wait until the service has got a request from now on; with `verdict`, one that it judged so."""
        began = datetime.now(UTC)

        def is_meant(one: RecordedRequest) -> bool:
            return one.operation == operation and one.received_at > began and verdict in (None, one.verdict)

        self.until(lambda: any(map(is_meant, self.server.emulator.requests)), f"{operation}, judged {verdict}")

    def until_one_key(self) -> None:
        """Wait until the vault holds one node key and no other, and the service goes by it."""

        def is_so() -> bool:
            vault = self.server.vault()
            known = self.server.emulator.nodes[self.server.node_id].public_key
            kept = vault.registration is not None and public_key(vault.registration.key) == known
            return kept and vault.pending_key is None and vault.superseded_key is None

        self.until(is_so, "one node key")

    def pause(self) -> None:
        """Let an attempt come to some point or other."""
        time.sleep(self.chance.uniform(0, LONGEST_PAUSE_SECONDS))

    def signal_attempt(self, number: signal.Signals) -> None:
        """Send a signal to an attempt at some point or other of what it does."""
        self.until(lambda: bool(self._attempts()), "an attempt")
        self.pause()
        self.hit_attempt(number)

    def hit_attempt(self, number: signal.Signals) -> None:
        """Send a signal to the attempt that runs, if one does."""
        for pid in self._attempts():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                pinned = os.pidfd_open(pid)
                try:
                    if pid in self._attempts():
                        signal.pidfd_send_signal(pinned, number)
                        self.helped[f"attempts that got {number.name}"] += 1
                finally:
                    os.close(pinned)

    def _attempts(self) -> list[int]:
        return [pid for pid, words in processes(self.server).items() if "--supervised" in words]

    def directories(self) -> tuple[Path, Path, Path]:
        """Vault, output, runtime: where rolekeeper writes."""
        return self.server.directory / "vault", self.server.output.parent, self.server.runtime

    def files(self) -> set[str]:
        """Every file there."""
        return {str(file) for place in self.directories() for file in place.rglob("*") if file.is_file()}

    def temporary_files(self) -> list[str]:
        return [name for name in self.files() if Path(name).match(TEMPORARY)]

    def sample(self) -> None:
        """Measure the daemon, once it is the one that runs."""
        if self._is_up():
            pid = self.daemon.pid
            used = own_memory(pid)
            descriptors, threads = (len(list(Path(f"/proc/{pid}/{each}").iterdir())) for each in ("fd", "task"))
            counts = (descriptors, threads, len(descendants(pid)), len(self.temporary_files()))
            self.samples.append(Sample(len(self.daemons) - 1, used.pss, used.rss, *counts))


def _is_far(due: str) -> bool:
    return datetime.fromisoformat(due) > datetime.now(UTC) + BORING
