"""The supervisor's rules driven by hand: a loop without processes, signals or waiting, in virtual time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from rolekeeper.core.loop import table
from rolekeeper.core.loop.states import (
    Ask,
    Configured,
    Elapsed,
    EndAttempt,
    Event,
    Finished,
    Policy,
    RefreshWanted,
    ReloadWanted,
    StartAttempt,
    State,
    StopWanted,
    VaultChanged,
)
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
    Phase,
)
from rolekeeper.values import replace

NODE = "mi-0123456789abcdef0"
BEGINNING = Instant(datetime(2026, 11, 23, 12, tzinfo=UTC), timedelta(days=3))
OUTPUT = "/root/.aws/credentials"
NAME = OutputName(OUTPUT, "default")
POLICY = Policy(0.5, timedelta(minutes=5), timedelta(hours=1), (OutputReport(NAME),))
TAKES = timedelta(milliseconds=200)
HOUR = timedelta(hours=1)


def held(life: Lifetime, *, is_written: bool = False) -> OutputReport:
    """The output with current credentials in it."""
    return OutputReport(NAME, "", Holding.OURS, "ASIANODE", life, is_current=True, is_written=is_written)


@dataclass
class Loop:
    """The supervisor's state and everything that it did; `now` moves only when a test says so."""

    node_id: str | None = NODE
    now: Instant = BEGINNING
    policy: Policy = POLICY
    began: list[timedelta] = field(default_factory=list)  # on the boot clock
    asks: list[Ask] = field(default_factory=list)
    records: list[LogEntry] = field(default_factory=list)
    ends: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self._take(*table.start(self.now))
        self.happens(Configured(self.policy))

    @property
    def life(self) -> Lifetime | None:
        """That of the credentials that the output holds, as far as the loop knows."""
        return self.state.outputs[NAME].life if NAME in self.state.outputs else None

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def planned(self) -> timedelta:
        """How long after its beginning the last attempt is followed by the next."""
        assert self.state.due is not None
        return self.state.due.boot - self.began[-1]

    @property
    def intervals(self) -> list[timedelta]:
        """From the beginning of one attempt to that of the next."""
        return [after - before for before, after in pairwise(self.began)]

    def happens(self, event: Event) -> "Loop":
        self.steps += 1
        self._take(*table.step(self.state, event, self.now))
        return self

    def _take(self, state: State, effects: tuple[object, ...]) -> None:
        self.state = state
        for effect in effects:
            if isinstance(effect, StartAttempt):
                self.began.append(self.now.boot)
                self.asks.append(effect.ask)
            elif isinstance(effect, EndAttempt):
                self.ends += 1
            elif isinstance(effect, LogEntry):
                self.records.append(effect)

    def passes(self, duration: timedelta) -> "Loop":
        """Time passes, on both clocks: asleep or suspended is the same to them."""
        self.now = Instant(self.now.wall + duration, self.now.boot + duration)
        return self

    def sets_clock(self, by: timedelta) -> "Loop":
        self.now = replace(self.now, wall=self.now.wall + by)
        return self

    def ends_with(self, outcome: Outcome, *, takes: timedelta = TAKES, **fields: object) -> "Loop":
        """The attempt that runs ends, after so long."""
        self.passes(takes)
        if outcome is Outcome.ISSUED:
            return self.issues()
        node_id = None if outcome is Outcome.UNREGISTERED else self.node_id
        told = {"code": outcome.value, "message": f"Cannot: {outcome}", "hint": "mend it", "node_id": node_id}
        if outcome is Outcome.ROLE_REFUSED:  # the output that lacks its role's credentials
            problem = OutputProblem("AccessDenied", "Cannot assume it", "correct the trust policy")
            told |= {"outputs": (OutputReport(NAME),), "roles_refused": {"backup": problem}}
        return self.happens(Finished(AttemptReport(outcome, **(told | fields))))  # type: ignore[arg-type]

    def issues(
        self,
        life: timedelta = HOUR,
        *,
        age: timedelta = timedelta(0),
        service_ahead: timedelta = timedelta(0),
        reused: bool = False,
        message: str = "",
    ) -> "Loop":
        """The attempt ends with credentials of this life, issued that long ago; `reused`: they were there before."""
        issued_at = self.now.wall + service_ahead - age
        found = held(Lifetime(issued_at, issued_at + life, self.now.boot - age), is_written=not reused)
        entry = LogEntry("credentials_fresh" if reused else "credentials_published", "info", "Published")
        report = AttemptReport(
            Outcome.ISSUED,
            message=message,
            expires_at=issued_at + life,
            is_reused=reused,
            node_id=self.node_id,
            region="eu-central-1",
            outputs=(found,),
            entries=(entry,),
        )
        return self.happens(Finished(report))

    def keeps_token(self) -> "Loop":
        """The attempt ends with a token that could not be published."""
        return self.ends_with(Outcome.UNPUBLISHED, expires_at=self.now.wall + HOUR)

    def comes_due(self) -> "Loop":
        """Nothing happens until the next attempt is due."""
        assert self.state.due is not None
        return self.passes(self.state.due.remaining(self.now)).happens(Elapsed())

    def goes_through(self, *outcomes: Outcome) -> "Loop":
        """One attempt after the other, each when it is due; the last has ended."""
        for outcome in outcomes:
            if self.phase is not Phase.ATTEMPTING:
                self.comes_due()
            self.ends_with(outcome)
        return self

    def refresh(self) -> "Loop":
        return self.happens(RefreshWanted())

    def reload(self) -> "Loop":
        return self.happens(ReloadWanted())

    def vault_changes(self) -> "Loop":
        return self.happens(VaultChanged())

    def stop(self) -> "Loop":
        return self.happens(StopWanted())

    def events(self) -> list[str]:
        return [record.event for record in self.records]

    def most_in_any_hour(self) -> int:
        """The largest number of attempts that began within the same hour, its end not included."""
        first = most = 0
        for last, moment in enumerate(self.began):
            while moment - self.began[first] >= HOUR:
                first += 1
            most = max(most, last - first + 1)
        return most


@pytest.fixture
def loop() -> Loop:
    """A daemon that was just started: its first attempt has read the configuration."""
    return Loop()
