"""What `status` and `wait` make of status.json: the freshness of this moment, and whether a daemon runs.

The daemon writes status.json whenever something changes; a reader may be somebody who may not look at its lock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rolekeeper.adapters import runtime
from rolekeeper.core import schedule
from rolekeeper.errors import InputOutputError
from rolekeeper.model import Freshness, Instant, Lifetime, Outcome, Settings

FRESH, STALE, BAD, NOTHING = range(4)  # the exit codes of `status`
ASLEEP = (Outcome.FINGERPRINT_REFUSED, Outcome.NODE_UNKNOWN)


@dataclass(frozen=True, slots=True)
class Standing:
    """status.json as it reads now; `document` is None when there is none, `pid` None when no daemon runs."""

    document: dict[str, Any] | None
    pid: int | None
    freshness: Freshness


def read(settings: Settings, now: Instant) -> Standing:
    """How things stand. Raises InputOutputError when status.json cannot be read."""
    directory = settings.daemon.runtime_directory
    document = runtime.read_status(directory)
    pid = _running(directory, document)
    freshness = Freshness.ABSENT if document is None else _freshness(document, now)
    if document is not None:
        document |= {"freshness": freshness.value, "pid": pid}
    return Standing(document, pid, freshness)


def exit_code(standing: Standing) -> int:
    """0 fresh, 1 stale or backing off with valid credentials, 2 expired, absent or hibernating, 3 nothing to go by."""
    if standing.document is None or standing.pid is None:
        return NOTHING
    state = _resting_state(standing.document)
    if state == "unregistered":
        return NOTHING
    if state == "hibernating" or standing.freshness in (Freshness.EXPIRED, Freshness.ABSENT):
        return BAD
    return STALE if state == "backing-off" or standing.freshness is Freshness.STALE else FRESH


def _resting_state(document: dict[str, Any]) -> str:
    """The state; during an attempt the one that the last outcome led to, so that a probe does not look like health."""
    last = document.get("last_outcome")
    if document["state"] != "attempting" or last is None:
        return str(document["state"])
    if last["outcome"] in ASLEEP:
        return "hibernating"
    known = {Outcome.ISSUED.value: "waiting", Outcome.UNREGISTERED.value: "unregistered"}
    return known.get(last["outcome"], "backing-off")


def _freshness(document: dict[str, Any], now: Instant) -> Freshness:
    """The freshness at `now` on the service's clock, as far as the daemon knows that."""
    if document.get("expires_at") is None or document.get("issued_at") is None:
        return Freshness.ABSENT
    issued_at = datetime.fromisoformat(document["issued_at"])
    expires_at = datetime.fromisoformat(document["expires_at"])
    difference = timedelta(seconds=document.get("clock_difference") or 0)
    age = now.wall + difference - issued_at
    return schedule.freshness(Lifetime(issued_at, expires_at, now.boot - age), now)


def _running(directory: str, document: dict[str, Any] | None) -> int | None:
    """The daemon's pid. Somebody who may not read the lock goes by status.json and by whether that process lives."""
    try:
        return runtime.holder(directory)
    except InputOutputError:
        pid = document and document.get("pid")
        return pid if pid and Path(f"/proc/{pid}").exists() else None
