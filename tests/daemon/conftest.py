"""A world in virtual time for the daemon: its clock moves only while it sleeps, and what happens is planned before.

Nothing here decides what the daemon does: every part behaves as its port says, and keeps what was requested of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper import daemon
from rolekeeper.core.jsonvalues import encode
from rolekeeper.core.loop.status import Status
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import (
    AttemptReport,
    Holding,
    Instant,
    Lifetime,
    LogEntry,
    Outcome,
    OutputName,
    OutputProblem,
    OutputReport,
)
from rolekeeper.ports import Accepted, DaemonWorld, Ended, Log, Message, Outdated, Rejected, Wakeup
from rolekeeper.settings import (
    CredentialsFile,
    DaemonSettings,
    HibernationSettings,
    NodeSettings,
    ServiceSettings,
    Settings,
    supervisor_settings,
)
from rolekeeper.values import replace

NODE = "mi-0123456789abcdef0"
NAME = OutputName("/root/.aws/credentials", "default")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOTED = timedelta(days=3)  # this long ago
READS = timedelta(milliseconds=100)
TAKES = timedelta(milliseconds=300)
FOREVER = timedelta(days=400)
HOUR = timedelta(hours=1)

SETTINGS = Settings(
    node=NodeSettings(None, None, None),
    service=ServiceSettings(None, None, None, False, False, timedelta(seconds=10), timedelta(seconds=30)),  # noqa: FBT003 - the fields in their order
    vault_directory="/var/lib/rolekeeper/vault",
    daemon=DaemonSettings("/run/rolekeeper", timedelta(minutes=2), "info"),
    refresh_share=0.5,
    hibernation=HibernationSettings(timedelta(minutes=5), HOUR),
    rotate_key_after=None,
    credentials_files=(CredentialsFile("/root/.aws/credentials", "default", 0o600, True, None, None, False),),  # noqa: FBT003 - the same
)


@dataclass(frozen=True)
class Told:
    """Something that the daemon did, and when on the boot clock, counted from its start."""

    at: timedelta
    what: Any


@dataclass(frozen=True)
class Start:
    """How an attempt was started; `settings` are those in force."""

    settings: Settings | None
    reload: bool
    reuse: bool
    passed_over: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Behaviour:
    """What an attempt does: reads the configuration, then reports or hangs; None stands for never."""

    report: AttemptReport | Ended | Outdated | Callable[[], AttemptReport] | None
    takes: timedelta = TAKES
    reads: timedelta | None = READS
    finds: Settings | str = SETTINGS  # settings, or what is wrong with them


@dataclass
class World:
    """The daemon's whole world; `script` says what each attempt does, by its number, the last entry for ever."""

    script: list[Behaviour] = field(default_factory=list)
    watchdog: timedelta | None = None
    wall: datetime = NOON
    elapsed: timedelta = timedelta(0)
    happenings: list[tuple[timedelta, int, Callable[[], Wakeup | None]]] = field(default_factory=list)
    planned: int = 0
    starts: list[Told] = field(default_factory=list)
    ends: list[Told] = field(default_factory=list)
    notified: list[Told] = field(default_factory=list)
    documents: list[Told] = field(default_factory=list)
    metrics: list[Told] = field(default_factory=list)
    entries: list[Told] = field(default_factory=list)
    slices: list[timedelta] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    directory: str = ""
    claimed: list[str] = field(default_factory=list)
    claim_fails: RolekeeperError | None = None
    write_fails: RolekeeperError | None = None
    vault: int = 0
    inbox: list[Message] = field(default_factory=list)
    waits_for_go: Callable[[], None] | None = None
    running: int = 0
    in_force: Settings | None = None  # the settings that an attempt has read
    anew: Exception = field(default_factory=lambda: SystemExit("executed anew"))  # what comes of it

    def at(self, moment: timedelta, what: Wakeup | Callable[[], None]) -> "World":
        """At `moment` after the start a signal comes, or something changes without one."""
        return self._plan(moment, (lambda: what) if isinstance(what, Wakeup) else what)

    def _plan(self, moment: timedelta, happen: Callable[[], Wakeup | None]) -> "World":
        self.planned += 1
        self.happenings.append((moment, self.planned, happen))
        return self

    def sets_clock(self, by: timedelta) -> Callable[[], None]:
        def step() -> None:
            self.wall += by

        return step

    def writes_vault(self) -> None:
        self.vault += 1

    def runs(self, until: timedelta) -> int:
        """Run the daemon until it ends by itself, or SIGTERM comes."""
        self.at(until, Wakeup.STOP)
        return daemon.run(
            DaemonWorld(self, self, self, self, self, self, self.execute_anew, self.open_log, 4711, "1.2.3")
        )

    def began(self) -> list[timedelta]:
        return [told.at for told in self.starts]

    def notices(self, prefix: str = "") -> list[str]:
        return [told.what for told in self.notified if told.what.startswith(prefix)]

    def logged(self) -> list[str]:
        return [told.what[0] for told in self.entries]

    def document(self, moment: timedelta = FOREVER) -> Mapping[str, Any]:
        """What status.json held at that moment."""
        written: Mapping[str, Any] = [told.what for told in self.documents if told.at <= moment][-1]
        return written

    def now(self) -> Instant:
        return Instant(self.wall + self.elapsed, BOOTED + self.elapsed)

    def sleep(self, duration: timedelta) -> None:
        self.elapsed += duration

    def boot_id(self) -> str:
        return "b00t"

    def wait(self, longest: timedelta) -> Wakeup | None:
        assert longest >= timedelta(0)
        self.slices.append(longest)
        assert len(self.slices) < 500_000, "the loop spins"
        until = self.elapsed + longest
        while self.happenings and min(self.happenings)[0] <= until:
            moment, number, happen = min(self.happenings)
            self.happenings.remove((moment, number, happen))
            self.elapsed = max(self.elapsed, moment)
            if (wakeup := happen()) is not None:
                return wakeup
        self.elapsed = max(self.elapsed, until)
        return None

    def start(self, *, reload: bool, reuse: bool, passed_over: Collection[str] = ()) -> None:
        assert not self.running, "two attempts at a time"
        self.starts.append(Told(self.elapsed, Start(self.in_force, reload, reuse, frozenset(passed_over))))
        self.running = len(self.starts)
        behaviour = self.script[min(self.running, len(self.script)) - 1]
        if isinstance(behaviour.report, Outdated) or (self.in_force is not None and not reload):
            self._reports(behaviour)
        elif behaviour.reads is not None:
            self._says(behaviour.reads, lambda: self._reads(behaviour))
        elif isinstance(behaviour.report, Ended):
            self._reports(behaviour)

    def _reads(self, behaviour: Behaviour) -> None:
        old = self.in_force
        if isinstance(behaviour.finds, Settings):
            self.in_force = behaviour.finds
            self.inbox.append(Accepted(supervisor_settings(behaviour.finds)))
        elif old is None:
            self.inbox += [Rejected(behaviour.finds), Ended(78)]
            self.running = 0
            return
        else:
            self.inbox.append(Rejected(behaviour.finds))
        if old is None:
            self.waits_for_go = lambda: self._reports(behaviour)
        else:
            self._reports(behaviour)

    def _reports(self, behaviour: Behaviour) -> None:
        report = behaviour.report
        if report is None:
            return

        def arrive() -> None:
            self.running = 0
            said = report() if callable(report) else report
            if isinstance(said, AttemptReport) and said is report:
                said = as_of(said, self.now())
            self.inbox.append(said)

        self._says(behaviour.takes, arrive)

    def _says(self, after: timedelta, what: Callable[[], None]) -> None:
        number = self.running

        def say() -> Wakeup | None:
            if self.running == number:  # and was not ended meanwhile
                what()
                return Wakeup.ATTEMPT
            return None

        self._plan(self.elapsed + after, say)

    def messages(self) -> Iterator[Message]:
        while self.inbox:
            yield self.inbox.pop(0)

    def proceed(self) -> None:
        if self.waits_for_go is not None:
            self.waits_for_go()
            self.waits_for_go = None

    def end(self) -> None:
        assert self.running
        self.ends.append(Told(self.elapsed, self.running))
        self.running = 0
        self.waits_for_go = None
        self.inbox.clear()

    def reap(self) -> None:
        pass

    def claim(self, directory: str) -> None:
        self.directory = directory
        if self.claim_fails is not None:
            raise self.claim_fails
        self.claimed.append(directory)

    def write_status(self, document: Status) -> None:
        if not self.claimed:
            self.claim(self.directory)
        if self.write_fails is not None:
            raise self.write_fails
        self.documents.append(Told(self.elapsed, encode(document)))

    def write_metrics(self, text: str) -> None:
        if self.write_fails is not None:
            raise self.write_fails
        self.metrics.append(Told(self.elapsed, text))

    def look(self, directory: str) -> object:
        assert self.in_force is not None
        assert directory == self.in_force.vault_directory
        return self.vault

    def watchdog_interval(self) -> timedelta | None:
        return self.watchdog

    def notify(self, *assignments: str) -> None:
        self.notified += [Told(self.elapsed, one) for one in assignments]

    def execute_anew(self, _version: str) -> None:
        raise self.anew

    def open_log(self, level: str) -> Log:
        self.levels.append(level)
        return self

    def log(self, event: str, level: str, message: str, **fields: str) -> None:
        self.entries.append(Told(self.elapsed, (event, level, message, fields)))


def issuing(life: timedelta) -> AttemptReport:
    """A token of this life, published; its times are those of the moment when it is reported."""
    output = OutputReport(
        NAME,
        holding=Holding.OURS,
        access_key_id="ASIA3D3ZFM53CNDSWS5E",
        life=Lifetime(NOON, NOON + life, timedelta(0)),
        is_current=True,
        is_written=True,
    )
    return AttemptReport(
        Outcome.ISSUED,
        expires_at=NOON + life,
        node_id=NODE,
        region="eu-central-1",
        outputs=(output,),
        entries=(LogEntry("credentials_published", "info", "Published"),),
    )


def as_of(report: AttemptReport, now: Instant) -> AttemptReport:
    """The same report of credentials that were issued just now."""
    lives = [one.life.expires_at - one.life.issued_at for one in report.outputs if one.life]
    if not lives:
        return report
    life = Lifetime(now.wall, now.wall + lives[0], now.boot)
    outputs = tuple(replace(one, life=life) for one in report.outputs)
    return replace(report, outputs=outputs, expires_at=life.expires_at)


def ending(outcome: Outcome) -> AttemptReport:
    node_id = None if outcome is Outcome.UNREGISTERED else NODE
    region = node_id and "eu-central-1"
    report = AttemptReport(outcome, outcome.value, f"Cannot: {outcome}", "fix it", node_id=node_id, region=region)
    refused = {"backup": OutputProblem("AccessDenied", "Cannot assume it")} if outcome is Outcome.ROLE_REFUSED else {}
    return replace(report, roles_refused=refused)


def world_of(*script: Behaviour | AttemptReport | Ended | Outdated | Outcome, **more: Any) -> World:
    """A world in which the attempts do this in turn."""
    reports = [issuing(HOUR) if one is Outcome.ISSUED else one for one in script]
    reports = [ending(one) if isinstance(one, Outcome) else one for one in reports]
    return World(script=[one if isinstance(one, Behaviour) else Behaviour(one) for one in reports], **more)
