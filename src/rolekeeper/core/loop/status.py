"""What the daemon reports about itself: the line in `systemctl status`, and status.json (no secret in either).

status.json holds, for each output, what an attempt saw there last, with the lifetimes that let a reader judge the
freshness at the moment of reading. A probe of a hibernation is reported as hibernation: that an attempt is in progress
does not mean that anything is healthy again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.core import lifetime
from rolekeeper.core.jsonvalues import decode, shown
from rolekeeper.core.loop.states import LastOutcome, State
from rolekeeper.model import (
    FingerprintSummary,
    Freshness,
    Instant,
    Lifetime,
    OutputKind,
    OutputName,
    OutputProblem,
    OutputReport,
    Phase,
)
from rolekeeper.values import Value


class OutputStatus(Value):
    """One output. `path` is the name of a file again; `life` is that of our credentials, while it holds them."""

    kind: OutputKind
    name: str
    path: str | None
    profile: str
    role: str | None
    access_key_id: str | None
    published_at: datetime | None
    expires_at: datetime | None
    freshness: Freshness
    problem: OutputProblem | None
    life: Lifetime | None = None

    @property
    def output_name(self) -> OutputName:
        """What tells it from other outputs."""
        return OutputName(self.name, self.profile, self.kind)

    def freshness_at(self, now: Instant, *, same_boot: bool) -> Freshness:
        """The freshness of this moment: by the clock that only runs, in the boot in which this was written."""
        if self.life is not None and same_boot:
            return lifetime.freshness(self.life, now)
        is_past = self.expires_at is not None and now.wall >= self.expires_at
        return Freshness.EXPIRED if is_past else self.freshness


class LoadedConfiguration(Value):
    """The configuration in force: the digest of its files, and when they were read."""

    digest: str
    loaded_at: datetime | None


class Status(Value):
    """The content of status.json, field by field. `boot_id` names the boot in which it was written."""

    state: Phase
    node_id: str | None
    region: str | None
    freshness: Freshness
    expires_at: datetime | None
    refresh_at: datetime | None
    next_attempt_at: datetime | None
    last_success_at: datetime | None
    last_outcome: LastOutcome | None
    attempts: int
    outputs: tuple[OutputStatus, ...]
    fingerprint: FingerprintSummary | None
    pid: int | None
    version: str
    configuration: LoadedConfiguration | None = None
    boot_id: str = ""


FIELDS = Status.__match_args__


def line(state: State, now: Instant) -> str:
    """One line for a person: state, node id, expiry, and the next step."""
    return f"{_phase(state)}; {_node(state, now)}{_next(state)}"


def _node(state: State, now: Instant) -> str:
    """Node id and expiry, which are unknown until an attempt has read the vault."""
    if state.node_id is None and state.phase is not Phase.UNREGISTERED:
        return "node id and credentials not known yet"
    node = f"{state.node_id} in {state.region}" if state.node_id else "no node id yet"
    return f"{node}; {_credentials(state, now)}"


def _shown(state: State) -> Phase:
    """The phase as it is reported."""
    return Phase.HIBERNATING if _probes(state) else state.phase


def _probes(state: State) -> bool:
    return state.phase is Phase.ATTEMPTING and state.probes is not None


def _phase(state: State) -> str:
    reason = f": {state.last.message}" if state.last and state.last.message else ""
    words = {
        Phase.UNREGISTERED: "Unregistered: waiting for `rolekeeper register` or `rolekeeper adopt`",
        Phase.ATTEMPTING: f"Attempt {state.attempts} is in progress",
        Phase.WAITING: f"Waiting for the refresh point{reason}",
        Phase.BACKING_OFF: f"Backing off{reason}",
        Phase.HIBERNATING: f"Hibernating{reason}",
        Phase.STOPPING: "Stopping",
    }
    return words[_shown(state)]


def _credentials(state: State, now: Instant) -> str:
    """The worst of the outputs, and which it is when there are several."""
    fresh = {one.name: _freshness(one, now) for one in state.outputs.values()}
    worst = lifetime.worst(fresh.values())
    where = next((name for name, one in fresh.items() if one is worst), None)
    of = f" in {where.name}" if where is not None and len(fresh) > 1 else ""
    expires_at = _expires_at(state.outputs.values())
    if worst in (Freshness.FRESH, Freshness.STALE) and expires_at is not None:
        return f"credentials {worst} until {shown(expires_at)}{of if worst is Freshness.STALE else ''}"
    if worst is Freshness.EXPIRED and expires_at is not None:
        return f"credentials expired at {shown(expires_at)}{of}"
    return f"credentials {worst}{of}"


def _next(state: State) -> str:
    if _probes(state):
        return "; a probe is in progress"
    if state.phase is Phase.ATTEMPTING:
        return "; the next step depends on its outcome"
    if state.phase is Phase.STOPPING:
        return "; no attempt follows"
    if state.due is None:
        return ""
    what = "probe" if state.phase is Phase.HIBERNATING else "attempt"
    return f"; next {what} at {shown(state.due.wall)}"


def of(state: State, now: Instant, pid: int, version: str, boot_id: str) -> Status:
    """What status.json is to hold."""
    outputs = tuple(_output(state, one, now) for one in state.outputs.values())
    return Status(
        state=_shown(state),
        node_id=state.node_id,
        region=state.region,
        freshness=lifetime.worst(one.freshness for one in outputs),
        expires_at=_expires_at(state.outputs.values()),
        refresh_at=state.refresh_at,
        next_attempt_at=state.due.wall if state.due else None,
        last_success_at=state.last_success_at,
        last_outcome=state.last,
        attempts=state.attempts,
        outputs=outputs,
        fingerprint=state.fingerprint,
        pid=pid,
        version=version,
        configuration=LoadedConfiguration(state.policy.digest, state.loaded_at) if state.policy else None,
        boot_id=boot_id,
    )


def _output(state: State, one: OutputReport, now: Instant) -> OutputStatus:
    is_file = one.name.kind is OutputKind.CREDENTIALS_FILE
    return OutputStatus(
        kind=one.name.kind,
        name=one.name.name,
        path=one.name.name if is_file else None,
        profile=one.name.profile,
        role=one.role or None,
        access_key_id=one.access_key_id or None,
        published_at=state.published_at.get(one.name),
        expires_at=one.life.expires_at if one.life else None,
        freshness=_freshness(one, now),
        problem=one.problem,
        life=one.life,
    )


def _freshness(one: OutputReport, now: Instant) -> Freshness:
    return lifetime.output_freshness(one.holding, one.life, now)


def _expires_at(outputs: Iterable[OutputReport]) -> datetime | None:
    """When the first of the published credentials expire."""
    return min((one.life.expires_at for one in outputs if one.life), default=None)


def next_change(state: State, now: Instant) -> timedelta | None:
    """How long until the freshness of an output changes; None when it never will."""
    changes = (lifetime.next_change(one.life, now) for one in state.outputs.values())
    return min((change for change in changes if change is not None), default=None)


def read(found: Any) -> Status:
    """The status that was written as `found`; ValueError when it is none. Fields of other versions are ignored."""
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for all that is wrong with it
    return decode(Status, found)
