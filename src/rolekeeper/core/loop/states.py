"""What the loop can be in, what can happen to it, and what it can want: values only, `supervisor` holds the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rolekeeper.core.loop.delays import Due
from rolekeeper.model import (
    AttemptReport,
    Fact,
    FingerprintSummary,
    Instant,
    Lifetime,
    Outcome,
    OutputName,
    RegistrationFound,
)


class Phase(StrEnum):
    """Where the loop is; the words of status.json."""

    UNREGISTERED = "unregistered"
    ATTEMPTING = "attempting"
    WAITING = "waiting"
    BACKING_OFF = "backing-off"
    HIBERNATING = "hibernating"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the rules need of the configuration: `refresh_share` is one of a token's life."""

    refresh_share: float
    first_probe: timedelta
    longest_probe: timedelta
    outputs: tuple[OutputName, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """What the next attempt is to do: read the configuration anew; spare the request when credentials are fresh."""

    reload: bool = False
    reuse: bool = False
    scheduled: bool = False  # nobody asked: its time had come


@dataclass(frozen=True, slots=True)
class LastOutcome:
    """How the last attempt ended."""

    outcome: Outcome
    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the loop remembers. `due` is set in waiting, backing-off and hibernating."""

    phase: Phase
    policy: Policy | None = None  # None until the first attempt has read the configuration
    attempts: int = 0  # begun since the daemon started
    began: Instant | None = None  # the last of them
    ask: Ask = field(default_factory=Ask)  # of the attempt that runs or is due next
    reload_wanted: bool = False  # during an attempt
    refresh_wanted: bool = False  # the same
    due: Due | None = None
    failures: int = 0
    refusals: int = 0
    probes: int | None = None  # made in this hibernation; None outside one
    node_id: str | None = None
    region: str | None = None
    credentials: Lifetime | None = None
    refresh_at: datetime | None = None
    last: LastOutcome | None = None
    told: tuple[Fact, ...] = ()  # what the last attempt that found anything has found, since credentials were issued
    last_success_at: datetime | None = None
    fingerprint: FingerprintSummary | None = None
    published: Mapping[OutputName, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configured:
    """The attempt that runs has read the configuration and found it right."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Finished:
    """The attempt has ended, by itself or at its deadline."""

    report: AttemptReport


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The next attempt is due."""


@dataclass(frozen=True, slots=True)
class RefreshWanted:
    """An operator, or a command that changed the registration, wants an attempt now."""


@dataclass(frozen=True, slots=True)
class ReloadWanted:
    """The configuration is to be read anew."""


@dataclass(frozen=True, slots=True)
class VaultChanged:
    """Somebody other than an attempt wrote to the vault."""


@dataclass(frozen=True, slots=True)
class StopWanted:
    """The daemon is to end."""


Event = Configured | RegistrationFound | Finished | Elapsed | RefreshWanted | ReloadWanted | VaultChanged | StopWanted


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Start attempt `number`."""

    number: int
    ask: Ask


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """End the attempt that runs, at once."""


@dataclass(frozen=True, slots=True)
class Record:
    """Write one entry to the log."""

    event: str
    level: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)


Effect = StartAttempt | EndAttempt | Record
Step = tuple[State, tuple[Effect, ...]]


class IllegalTransition(Exception):  # noqa: N818 - the name says what happened
    """An event that cannot happen in this phase: a defect of the caller."""
