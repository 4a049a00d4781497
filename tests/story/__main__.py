"""The log of a week with an outage, a reload and a rotation, to be read as a story: `make story`, five minutes or more.

The daemon, its attempts and the emulator are real, and their clocks step from one attempt to the next (libfaketime), so
that a week of attempts takes as long as the attempts alone. Refreshes that bring nothing but new credentials are
counted, everything else is printed as it is.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from tests.conftest import Server
from tests.daemonprocess.conftest import Daemon, daemons, until

from rolekeeper.emulator import Emulator

HOUR = timedelta(hours=1)
ROUTINE = "credentials_published"
FOREIGN = "[default]\naws_access_key_id = ASIAANOTHERPROGRAM00\naws_secret_access_key = x\naws_session_token = y\n"
TABLES = """
[health]
report_every = "1h"
[[role]]
name = "web"
arn = "{arn}"
[[credentials_file]]
path = "{directory}/web"
role = "web"
"""
MORE = '[[credentials_file]]\npath = "{directory}/more"\n'


@dataclass
class Story:
    """One server, and clocks that are ahead of the real ones by `ahead`."""

    server: Server
    daemon: Daemon = field(init=False)
    ahead: timedelta = timedelta(0)
    told: int = 0  # lines of the log

    def __post_init__(self) -> None:
        self.server.emulator.create_role("web")
        self.configure()
        self.server.register()
        self.step(timedelta(0))

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    @property
    def clock(self) -> Path:
        return self.server.directory / "clock"

    def environment(self) -> dict[str, str]:
        shown = subprocess.run(
            ["faketime", "-f", "+0d", "printenv", "LD_PRELOAD"], check=True, capture_output=True, text=True
        )
        library = shown.stdout.strip()
        return {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1"}

    def configure(self, more: str = "") -> None:
        emulator, directory = self.server.emulator, self.server.directory
        tables = TABLES.format(arn=emulator.role_arn("web"), directory=directory)
        sts = f'sts_endpoint_url = "{emulator.url}"'
        self.server.configure(tables + more.format(directory=directory), service=sts)

    def step(self, by: timedelta) -> None:
        """Set all clocks forward."""
        self.ahead += by
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"+{self.ahead.total_seconds():.3f}\n")
        fresh.replace(self.clock)
        self.server.emulator.offset = self.ahead

    def passes(self, duration: timedelta) -> None:
        """Live through it, attempt by attempt."""
        end = self.now + duration
        while self.now < end:
            status = self.at_rest()
            due = datetime.fromisoformat(str(status["next_attempt_at"]))
            self.step(max(due - self.now, timedelta(0)) + timedelta(milliseconds=20))
            self.daemon.send(signal.SIGIO)  # look at the clock
            until(lambda seen=status["attempts"]: self.at_rest()["attempts"] > seen, "the next attempt")

    def at_rest(self) -> dict[str, object]:
        """The status between two attempts."""

        def rests() -> dict[str, object] | None:
            try:
                status = self.daemon.status()
            except ValueError:
                return None
            return status if status.get("next_attempt_at") else None

        found: dict[str, object] = until(rests, "the end of an attempt")
        return found

    def happens(self, what: str, does: Callable[[], object], lasts: timedelta = HOUR) -> None:
        """Something happens, and lasts for so long; what came of it is printed."""
        print(f"\n--- {what}")
        does()
        time.sleep(1)  # a signal has led to an attempt
        self.passes(lasts)
        self.tell()

    def tell(self) -> None:
        """Print what the log has got since the last time."""
        lines = self.daemon.log_file.read_text().splitlines()
        records = [json.loads(line) for line in lines[self.told :] if line.startswith("{")]
        self.told = len(lines)
        for is_routine, group in groupby(records, lambda record: record["event"] == ROUTINE):
            some = list(group)
            for record in some[:1] if is_routine else some:
                message = record["message"].replace(f"{self.server.directory}/", "~/")
                print(record["timestamp"][:19], f"{record['level']:8}", message)
            if is_routine and len(some) > 1:
                print(f"{'':20}... and {len(some) - 1} more until {some[-1]['timestamp'][:19]}")
        sys.stdout.flush()

    def week(self) -> None:
        emulator, node = self.server.emulator, self.server.node_id
        more = self.server.directory / "more"
        self.happens("a quiet day", lambda: None, 24 * HOUR)
        self.happens("the service drops every connection", lambda: emulator.fail("*", drop=True, times=None), 3 * HOUR)
        self.happens("it is back", emulator.clear_faults, 20 * HOUR)
        self.happens("a reload with one more file", lambda: self.reload(MORE), 12 * HOUR)
        self.happens("a reload with a mistake", lambda: self.reload(f"{MORE}[nonsense]\n"), 6 * HOUR)
        self.happens("the service wants another node key", lambda: emulator.request_rotation(node), 12 * HOUR)
        self.happens("a role is deleted", lambda: emulator.delete_role("web"), 3 * HOUR)
        self.happens("it is made again", lambda: emulator.create_role("web"), 8 * HOUR)
        self.happens("another program writes", lambda: self.server.output.write_text(FOREIGN), 8 * HOUR)
        fingerprint = emulator.nodes[node].fingerprint
        self.happens("the fingerprint is another", lambda: emulator.change_fingerprint(node), 10 * HOUR)
        self.happens("and ours again", lambda: emulator.change_fingerprint(node, fingerprint), 12 * HOUR)
        self.happens("a directory is where a file was", lambda: (more.unlink(), more.mkdir()), 3 * HOUR)
        self.happens("it is gone", more.rmdir, 12 * HOUR)
        self.happens("somebody runs refresh", lambda: self.daemon.send(signal.SIGUSR1), 6 * HOUR)
        print("\n--- the end of the week")
        self.daemon.stop()
        self.tell()

    def reload(self, more: str) -> None:
        self.configure(more)
        self.daemon.send(signal.SIGHUP)


def story() -> None:
    """Tell it."""
    with tempfile.TemporaryDirectory() as directory, Emulator() as emulator, daemons() as start:
        told = Story(Server(Path(directory), emulator))
        told.daemon = start(told.server, **told.environment())
        told.daemon.until_state("waiting")
        told.week()


if __name__ == "__main__":
    story()
