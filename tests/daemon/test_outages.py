"""Every kind of outage in every state of the loop: how often is asked, and how soon after its end all is well again.

All that the loop sees of a fault is how its attempt ends; the faults are in tests/attempt/test_attempt_faults.py.
The worst moment for the service to recover is just after an attempt began that does not notice it any more. So the
longest time from the beginning of an attempt to that of the next is what a recovery can take: for an outage of any
length that is not longer than the one that is lived through here.
"""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.daemon.conftest import Behaviour, ending, issuing, world_of
from tests.daemon.test_request_bound import documented

from rolekeeper.model import Outcome
from rolekeeper.ports import Ended, Wakeup
from rolekeeper.values import replace

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
ATTEMPTS = 30  # in an outage; two hours of failures, and more than a day of a hibernation
JITTER = 1.1


@dataclass(frozen=True)
class Trouble:
    """How the attempts of an outage end; how long recovery may take after it, and the row that bounds the attempts."""

    report: Outcome | Ended | None
    recovery: timedelta
    row: str
    takes: timedelta = SECOND / 3


FAILS, REFUSES, HIBERNATES = "fails", "refuses: ", "refuses the fingerprint"
LONGEST_BACKOFF = 4 * MINUTE + SECOND
LONGEST_PROBE = JITTER * HOUR + SECOND
TROUBLES = {
    "fails at once": Trouble(Outcome.FAILED, LONGEST_BACKOFF, FAILS),
    "is silent": Trouble(Outcome.FAILED, LONGEST_BACKOFF, FAILS, takes=30 * SECOND),  # read_timeout
    "is silent twice": Trouble(Outcome.FAILED, LONGEST_BACKOFF, FAILS, takes=60 * SECOND),  # two node keys
    "hangs to the deadline": Trouble(None, LONGEST_BACKOFF, FAILS),
    "kills the attempt": Trouble(Ended(-9), LONGEST_BACKOFF, FAILS),
    "refuses": Trouble(Outcome.REFUSED, JITTER * 15 * MINUTE + SECOND, REFUSES),
    "refuses the fingerprint": Trouble(Outcome.FINGERPRINT_REFUSED, LONGEST_PROBE, HIBERNATES),
    "does not know the node": Trouble(Outcome.NODE_UNKNOWN, LONGEST_PROBE, HIBERNATES),
}


@dataclass(frozen=True)
class State:
    """What came before the outage; `signals` are sent a minute and a half after the start."""

    before: tuple[Outcome, ...] = ()
    signals: tuple[Wakeup, ...] = ()
    registered: bool = True
    token: bool = False  # one that was issued and could not be published

    @property
    def hibernates(self) -> bool:
        return Outcome.FINGERPRINT_REFUSED in self.before or Outcome.NODE_UNKNOWN in self.before

    def recovery(self, trouble: Trouble) -> timedelta:
        return LONGEST_PROBE if self.hibernates else trouble.recovery


STATES = {
    "first start": State(),
    "unregistered": State(registered=False),  # with an activation in the configuration
    "waiting": State((Outcome.ISSUED,)),
    "backing off": State((Outcome.FAILED,) * 5),
    "refused": State((Outcome.REFUSED,) * 2),
    "hibernating": State((Outcome.FINGERPRINT_REFUSED,)),
    "reload": State((Outcome.ISSUED,), signals=(Wakeup.RELOAD,)),
    "refresh": State((Outcome.ISSUED,), signals=(Wakeup.REFRESH,)),
    "reload of a hibernation": State((Outcome.NODE_UNKNOWN,), signals=(Wakeup.RELOAD,)),
    "a held token": State((Outcome.UNPUBLISHED,), token=True),
}


def lived_through(state: State, trouble: Trouble, attempts: int) -> Any:
    """The daemon's world after such an outage, and an hour of a service that is well."""

    def reported(outcome: Outcome) -> Any:
        report = ending(outcome)
        return report if state.registered else replace(report, node_id=None, region=None)

    ends = reported(trouble.report) if isinstance(trouble.report, Outcome) else trouble.report
    before = [ending(one) if one is not Outcome.ISSUED else issuing(HOUR) for one in state.before]
    if state.token:
        before = [replace(one, expires_at=world_of().now().wall + HOUR) for one in before]
    outage = [Behaviour(ends, takes=trouble.takes)] * attempts
    world = world_of(*before, *outage, Outcome.ISSUED)
    for signal in state.signals:
        world.at(90 * SECOND, signal)
    world.runs(attempts * state.recovery(trouble) + HOUR)
    return world


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_outage_is_bounded_in_requests_and_over_within_its_time(trouble: str, state: str) -> None:
    found, cause = STATES[state], TROUBLES[trouble]
    world = lived_through(found, cause, ATTEMPTS)
    first = len(found.before)
    began = world.began()[first : first + ATTEMPTS + 1]
    assert len(began) == ATTEMPTS + 1
    assert max(after - before for before, after in pairwise(began)) + SECOND <= found.recovery(cause)
    row = HIBERNATES if found.hibernates else cause.row
    assert most_in_any_hour(began) <= documented(row, 2) + len(found.signals)
    well = world.document(began[-1] + SECOND)
    assert (well["state"], well["freshness"]) == ("waiting", "fresh")


def most_in_any_hour(began: list[timedelta]) -> int:
    return max(sum(one <= other < one + HOUR for other in began) for one in began)


def test_a_week_of_attempts_that_hang_is_no_worse() -> None:
    attempts = int(7.1 * DAY / (2 * MINUTE))
    world = lived_through(STATES["waiting"], TROUBLES["hangs to the deadline"], attempts)
    began = world.began()[1 : attempts + 2]
    assert began[-1] - began[0] > 7 * DAY
    assert max(after - before for before, after in pairwise(began)) + SECOND <= LONGEST_BACKOFF
