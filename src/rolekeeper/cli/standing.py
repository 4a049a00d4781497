"""What `status` and `wait` make of status.json: the freshness of this moment, and whether a daemon runs.

The daemon writes status.json whenever something changes; a reader may be somebody who may not look at its lock.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rolekeeper.adapters.supervision import lifetimes, runtime
from rolekeeper.adapters.supervision.lifetimes import Lifetimes
from rolekeeper.core import lifetime
from rolekeeper.core.loop.states import Phase
from rolekeeper.core.loop.status import Document
from rolekeeper.errors import InputOutputError
from rolekeeper.model import Freshness, Instant, Outcome, Settings
from rolekeeper.ports import Clock

FRESH, STALE, BAD, NOTHING = range(4)  # the exit codes of `status`
AFTER = {Outcome.ISSUED: Phase.WAITING, Outcome.UNREGISTERED: Phase.UNREGISTERED}  # a probe is told as hibernation


@dataclass(frozen=True, slots=True)
class Standing:
    """status.json as it reads now; `document` is None when there is none, `pid` None when no daemon runs."""

    document: Document | None
    pid: int | None

    @property
    def freshness(self) -> Freshness:
        """Of the published credentials, at the moment of reading."""
        return self.document.freshness if self.document is not None else Freshness.ABSENT

    @property
    def state(self) -> Phase | None:
        """The state; during an attempt the one that the last outcome led to, so that trying does not look like health.

        None when there is no daemon to be in one.
        """
        if self.document is None or self.pid is None:
            return None
        last = self.document.last_outcome
        if self.document.state is not Phase.ATTEMPTING or last is None:
            return self.document.state
        return AFTER.get(last.outcome, Phase.BACKING_OFF)


def read(settings: Settings, clock: Clock) -> Standing:
    """How things stand. Raises InputOutputError when status.json cannot be read."""
    directory = settings.daemon.runtime_directory
    document = runtime.read_status(directory)
    lived = lifetimes.read(directory, clock.boot_id)
    pid = _running(directory, document, lived)
    if document is not None:
        document = replace(document, freshness=_freshness(document, lived, clock.now()), pid=pid)
    return Standing(document, pid)


def exit_code(standing: Standing) -> int:
    """0 fresh, 1 stale or backing off with valid credentials, 2 expired, absent or hibernating, 3 nothing to go by."""
    if standing.state in (None, Phase.UNREGISTERED):
        return NOTHING
    if standing.state is Phase.HIBERNATING or standing.freshness in (Freshness.EXPIRED, Freshness.ABSENT):
        return BAD
    return STALE if standing.state is Phase.BACKING_OFF or standing.freshness is Freshness.STALE else FRESH


def _freshness(document: Document, lived: Lifetimes | None, now: Instant) -> Freshness:
    """The freshness at `now` by the clock that only runs; else that of the moment of writing, never past the expiry."""
    if document.expires_at is None:
        return Freshness.ABSENT
    if lived and lived.credentials and lived.credentials.expires_at == document.expires_at:
        return lifetime.freshness(lived.credentials, now)
    return Freshness.EXPIRED if now.wall >= document.expires_at else document.freshness


def _running(directory: str, document: Document | None, lived: Lifetimes | None) -> int | None:
    """The daemon's pid. Somebody who may not read the lock goes by whether that very process still lives."""
    with suppress(InputOutputError):
        return runtime.holder(directory)
    if document is None or document.pid is None:
        return None
    if lived is not None and lived.pid == document.pid:
        return lived.pid if lifetimes.started(lived.pid) == lived.started else None
    return document.pid if Path(f"/proc/{document.pid}").exists() else None
