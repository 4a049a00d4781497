"""What the loop tells about itself: the line in `systemctl status`, and status.json (no secret in either).

Beside the fields that every version has, status.json holds `issued_at` and `clock_difference` (seconds, the service's
clock minus this machine's), from which a reader can compute the freshness of the moment when it reads.
"""

from datetime import datetime, timedelta
from typing import Any

from rolekeeper.core import schedule
from rolekeeper.core.states import Phase, State
from rolekeeper.core.wire import encode, rfc3339
from rolekeeper.model import Freshness, Instant, Lifetime

FIELDS = (
    "state",
    "node_id",
    "region",
    "freshness",
    "expires_at",
    "issued_at",
    "clock_difference",
    "refresh_at",
    "next_attempt_at",
    "last_success_at",
    "last_outcome",
    "attempts",
    "outputs",
    "fingerprint",
    "pid",
    "version",
)


def line(state: State, now: Instant) -> str:
    """One line for a person: state, node id, expiry, and the next step."""
    node = f"{state.node_id} in {state.region}" if state.node_id else "no node id yet"
    return f"{_phase(state)}; {node}; {_credentials(state, now)}{_next(state)}"


def _phase(state: State) -> str:
    reason = f": {state.last.message}" if state.last and state.last.message else ""
    words = {
        Phase.UNREGISTERED: "Unregistered: waiting for `rolekeeper register` or `rolekeeper adopt`",
        Phase.ATTEMPTING: f"Attempt {state.attempts} is under way",
        Phase.WAITING: "Waiting for the refresh point",
        Phase.BACKING_OFF: f"Backing off{reason}",
        Phase.HIBERNATING: f"Hibernating{reason}",
        Phase.STOPPING: "Stopping",
    }
    return words[state.phase]


def _credentials(state: State, now: Instant) -> str:
    if state.credentials is None:
        return "no credentials published"
    fresh = schedule.freshness(state.credentials, now)
    expiry = _second(state.credentials.expires_at)
    return f"credentials expired at {expiry}" if fresh is Freshness.EXPIRED else f"credentials {fresh} until {expiry}"


def _next(state: State) -> str:
    if state.due is None:
        return ""
    what = "probe" if state.phase is Phase.HIBERNATING else "attempt"
    return f"; next {what} at {_second(state.due.wall)}"


def _second(moment: datetime) -> str:
    return rfc3339(moment.replace(microsecond=0))


def document(state: State, now: Instant, pid: int, version: str) -> dict[str, Any]:
    """The content of status.json."""
    credentials = state.credentials
    outputs = state.policy.outputs if state.policy else ()
    return {
        "state": state.phase.value,
        "node_id": state.node_id,
        "region": state.region,
        "freshness": schedule.freshness(credentials, now).value,
        "expires_at": encode(credentials and credentials.expires_at),
        "issued_at": encode(credentials and credentials.issued_at),
        "clock_difference": encode(clock_difference(credentials, now)),
        "refresh_at": encode(state.refresh_at),
        "next_attempt_at": encode(state.due and state.due.wall),
        "last_success_at": encode(state.last_success_at),
        "last_outcome": encode(state.last),
        "attempts": state.attempts,
        "outputs": [
            {"path": path, "profile": profile, "published_at": encode(state.published.get(path))}
            for path, profile in outputs
        ],
        "fingerprint": encode(state.fingerprint),
        "pid": pid,
        "version": version,
    }


def clock_difference(credentials: Lifetime | None, now: Instant) -> timedelta | None:
    """The service's clock minus the wall clock, in whole seconds; None when the service's clock is not known."""
    if credentials is None:
        return None
    difference = schedule.service_time(credentials, now) - now.wall
    return timedelta(seconds=round(difference.total_seconds()))
