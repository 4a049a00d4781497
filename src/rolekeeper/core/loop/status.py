"""What the loop tells about itself: the line in `systemctl status`, and status.json (no secret in either).

A probe of a hibernation is told as hibernation: that an attempt runs does not mean that anything is well again.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from rolekeeper.core import lifetime
from rolekeeper.core.jsonvalues import decode, rfc3339
from rolekeeper.core.loop.states import LastOutcome, Phase, State
from rolekeeper.model import FingerprintSummary, Freshness, Instant


@dataclass(frozen=True, slots=True)
class PublishedOutput:
    """One profile of one credentials file."""

    path: str
    profile: str
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Document:
    """The content of status.json, field by field."""

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
    outputs: tuple[PublishedOutput, ...]
    fingerprint: FingerprintSummary | None
    pid: int | None
    version: str


FIELDS = tuple(field.name for field in fields(Document))


def line(state: State, now: Instant) -> str:
    """One line for a person: state, node id, expiry, and the next step."""
    return f"{_phase(state)}; {_standing(state, now)}{_next(state)}"


def _standing(state: State, now: Instant) -> str:
    """Node id and expiry; until an attempt has read the vault, nobody knows whether there are any."""
    if state.node_id is None and state.phase is not Phase.UNREGISTERED:
        return "node id and credentials not known yet"
    node = f"{state.node_id} in {state.region}" if state.node_id else "no node id yet"
    return f"{node}; {_credentials(state, now)}"


def _shown(state: State) -> Phase:
    """The phase as it is told."""
    return Phase.HIBERNATING if _probes(state) else state.phase


def _probes(state: State) -> bool:
    return state.phase is Phase.ATTEMPTING and state.probes is not None


def _phase(state: State) -> str:
    reason = f": {state.last.message}" if state.last and state.last.message else ""
    words = {
        Phase.UNREGISTERED: "Unregistered: waiting for `rolekeeper register` or `rolekeeper adopt`",
        Phase.ATTEMPTING: f"Attempt {state.attempts} is under way",
        Phase.WAITING: f"Waiting for the refresh point{reason}",
        Phase.BACKING_OFF: f"Backing off{reason}",
        Phase.HIBERNATING: f"Hibernating{reason}",
        Phase.STOPPING: "Stopping",
    }
    return words[_shown(state)]


def _credentials(state: State, now: Instant) -> str:
    if state.credentials is None:
        return "no credentials published"
    fresh = lifetime.freshness(state.credentials, now)
    expiry = _second(state.credentials.expires_at)
    return f"credentials expired at {expiry}" if fresh is Freshness.EXPIRED else f"credentials {fresh} until {expiry}"


def _next(state: State) -> str:
    if _probes(state):
        return "; a probe is under way"
    if state.phase is Phase.ATTEMPTING:
        return "; what is next depends on its outcome"
    if state.phase is Phase.STOPPING:
        return "; no attempt follows"
    if state.due is None:
        return ""
    what = "probe" if state.phase is Phase.HIBERNATING else "attempt"
    return f"; next {what} at {_second(state.due.wall)}"


def _second(moment: datetime) -> str:
    return rfc3339(moment.replace(microsecond=0))


def document(state: State, now: Instant, pid: int, version: str) -> Document:
    """What status.json is to hold."""
    outputs = state.policy.outputs if state.policy else ()
    return Document(
        state=_shown(state),
        node_id=state.node_id,
        region=state.region,
        freshness=lifetime.freshness(state.credentials, now),
        expires_at=state.credentials.expires_at if state.credentials else None,
        refresh_at=state.refresh_at,
        next_attempt_at=state.due.wall if state.due else None,
        last_success_at=state.last_success_at,
        last_outcome=state.last,
        attempts=state.attempts,
        outputs=tuple(PublishedOutput(one.name, one.profile, state.published.get(one)) for one in outputs),
        fingerprint=state.fingerprint,
        pid=pid,
        version=version,
    )


def read(found: Any) -> Document:
    """The document that was written as `found`; ValueError when it is none. Fields of another version are left out."""
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for all that is wrong with it
    return decode(Document, {name: value for name, value in found.items() if name in FIELDS})
