"""What the loop can be in, what can happen to it, and what it can want: values only, `table` holds the rules."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from rolekeeper.core.loop.daily import Said
from rolekeeper.core.loop.delays import Due
from rolekeeper.core.loop.trouble import Trouble
from rolekeeper.model import (
    AttemptReport,
    FingerprintSummary,
    Instant,
    LogEntry,
    Outcome,
    OutputName,
    OutputProblem,
    OutputReport,
    Phase,
    RegistrationFound,
)
from rolekeeper.values import NOTHING, Value


class Policy(Value):
    """What the rules need of the configuration: `refresh_share` is a share of a token's life."""

    refresh_share: float
    first_probe: timedelta
    longest_probe: timedelta
    outputs: tuple[OutputReport, ...]  # before any look
    digest: str = ""


class Ask(Value):
    """What the next attempt is to do: read the configuration again; reuse credentials that are fresh everywhere."""

    reload: bool = False
    reuse: bool = False
    scheduled: bool = False  # by the clock, not by a request
    passed_over: frozenset[str] = frozenset()  # the roles that were refused and are not due, of an attempt that runs


class LastOutcome(Value):
    """How the last attempt ended."""

    outcome: Outcome
    code: str
    message: str
    at: datetime
    hint: str = ""

    @property
    def words(self) -> str:
        """Code and message, without a code that the message has anyway; empty when all went well."""
        return self.message if self.code in self.message else f"{self.code}: {self.message}"


class RefusedRole(Value):
    """A role that was refused: why, and when it is requested again."""

    problem: OutputProblem
    due: Due


class State(Value):
    """Everything that the loop remembers. `due` is set in waiting, backing-off and hibernating."""

    phase: Phase
    policy: Policy | None = None  # None until the first attempt has read the configuration
    attempts: int = 0  # begun since the daemon started
    began: Instant | None = None  # the last of them
    ask: Ask = Ask()  # of the attempt that runs or is due next
    reload_wanted: bool = False  # during an attempt
    refresh_wanted: bool = False  # the same
    due: Due | None = None
    failures: int = 0
    refusals: int = 0
    trouble: Trouble | None = None  # the series of failed attempts that goes on; None outside one, and in hibernation
    roles_refused: Mapping[str, RefusedRole] = NOTHING
    unsuccessful: int = 0  # attempts in a row, whatever they came to
    outcomes: Mapping[Outcome, int] = NOTHING  # of all attempts that ended
    probes: int | None = None  # made in this hibernation; None outside one
    hibernating_since_at: datetime | None = None
    node_id: str | None = None
    region: str | None = None
    refresh_at: datetime | None = None
    last: LastOutcome | None = None
    logged: tuple[LogEntry, ...] = ()  # the entries of the last attempt that had any, since credentials were issued
    said: Said = NOTHING  # of what is said once a day
    last_success_at: datetime | None = None
    fingerprint: FingerprintSummary | None = None
    clock_difference: timedelta | None = None  # the service's clock minus ours, as measured last
    key_created_at: datetime | None = None  # of the node key in use
    outputs: Mapping[OutputName, OutputReport] = NOTHING
    published_at: Mapping[OutputName, datetime] = NOTHING
    loaded_at: datetime | None = None  # when the configuration in force was read


class Configured(Value):
    """The attempt in progress has read the configuration and found no problem."""

    policy: Policy


class Finished(Value):
    """The attempt has ended, by itself or at its deadline."""

    report: AttemptReport


class Elapsed(Value):
    """The next attempt is due."""


class RefreshWanted(Value):
    """An operator, or a command that changed the registration, wants an attempt now."""


class ReloadWanted(Value):
    """The configuration is to be read again."""


class VaultChanged(Value):
    """Something other than an attempt wrote to the vault."""


class StopWanted(Value):
    """The daemon is to end."""


Event = Configured | RegistrationFound | Finished | Elapsed | RefreshWanted | ReloadWanted | VaultChanged | StopWanted


class StartAttempt(Value):
    """Start attempt `number`."""

    number: int
    ask: Ask


class EndAttempt(Value):
    """End the attempt that runs, at once."""


Effect = StartAttempt | EndAttempt | LogEntry
Change = tuple[State, tuple[Effect, ...]]


class IllegalTransition(Exception):  # noqa: N818 - the name says what happened
    """An event that cannot happen in this phase: a defect of the caller."""
