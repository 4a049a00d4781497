"""A wall clock that steps, and a machine that is suspended: nothing is late, nothing spins, nothing is prettified."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.core.conftest import NODE, Loop

from rolekeeper.core import lifetime
from rolekeeper.core.loop import delays
from rolekeeper.core.loop.states import Elapsed
from rolekeeper.model import Freshness, Outcome, Phase

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
BACK = [-SECOND, -HOUR, -DAY, -365 * DAY]
FORWARD = [HOUR, DAY, 365 * DAY]

RESTING: dict[str, Callable[[Any], Any]] = {
    "waiting": lambda loop: loop.ends_with(Outcome.ISSUED),
    "backing-off": lambda loop: loop.goes_through(*[Outcome.FAILED] * 9),
    "refused": lambda loop: loop.ends_with(Outcome.REFUSED),
    "hibernating": lambda loop: loop.ends_with(Outcome.NODE_UNKNOWN),
}


@pytest.mark.parametrize("resting", RESTING)
@pytest.mark.parametrize("step", BACK)
def test_a_clock_that_is_set_back_delays_no_attempt(loop: Any, resting: str, step: timedelta) -> None:
    RESTING[resting](loop)
    planned = loop.planned
    loop.passes(SECOND).sets_clock(step).comes_due()
    assert loop.phase is Phase.ATTEMPTING
    assert loop.intervals[-1] == planned


@pytest.mark.parametrize("resting", RESTING)
@pytest.mark.parametrize("step", FORWARD)
def test_a_clock_that_is_set_forward_causes_one_attempt_and_no_more(loop: Any, resting: str, step: timedelta) -> None:
    RESTING[resting](loop)
    begun = len(loop.began)
    loop.passes(SECOND).sets_clock(step).comes_due()
    assert len(loop.began) == begun + 1
    loop.ends_with(Outcome.FAILED)
    for _ in range(20):
        loop.comes_due().ends_with(Outcome.FAILED)
    assert loop.began[begun + 15] - loop.began[begun] > 10 * MINUTE


@pytest.mark.parametrize("resting", RESTING)
def test_a_suspend_past_the_planned_moment_is_followed_by_an_attempt_at_once(loop: Any, resting: str) -> None:
    RESTING[resting](loop)
    loop.passes(3 * DAY)
    assert loop.state.due.remaining(loop.now) == timedelta(0)
    assert loop.happens(Elapsed()).phase is Phase.ATTEMPTING


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.UNREGISTERED])
@pytest.mark.parametrize("step", [*BACK, *FORWARD])
def test_a_clock_that_steps_during_an_attempt_neither_delays_nor_spins(
    loop: Any, outcome: Outcome, step: timedelta
) -> None:
    calm = loop.__class__().ends_with(outcome, takes=2 * SECOND)
    loop.passes(SECOND).sets_clock(step).ends_with(outcome, takes=SECOND)
    assert SECOND <= loop.planned <= max(calm.planned, 3 * SECOND)
    assert loop.state.due.remaining(loop.now) <= calm.state.due.remaining(calm.now)
    loop.comes_due().ends_with(outcome).comes_due().ends_with(outcome)
    assert min(loop.intervals) >= SECOND


@pytest.mark.parametrize("step", [HOUR, DAY, 365 * DAY])
def test_a_clock_set_right_at_boot_lets_no_two_attempts_begin_within_a_second(loop: Any, step: timedelta) -> None:
    loop.ends_with(Outcome.FAILED)
    for _ in range(5):
        loop.sets_clock(step).comes_due()
        assert loop.phase is Phase.BACKING_OFF
        assert loop.state.due.remaining(loop.now) == loop.planned - loop.now.boot + loop.began[0] > timedelta(0)
    loop.comes_due()
    assert loop.intervals == [SECOND]


@pytest.mark.parametrize("step", [*BACK, *FORWARD])
def test_what_has_expired_is_never_called_fresh_and_what_is_fresh_is(loop: Any, step: timedelta) -> None:
    loop.ends_with(Outcome.ISSUED).sets_clock(step)
    assert lifetime.freshness(loop.life, loop.now) is Freshness.FRESH
    loop.passes(50 * MINUTE).sets_clock(-2 * step)
    assert lifetime.freshness(loop.life, loop.now) is Freshness.STALE
    loop.passes(11 * MINUTE).sets_clock(step)
    assert lifetime.freshness(loop.life, loop.now) is Freshness.EXPIRED


@pytest.mark.parametrize("ahead", [-DAY, -HOUR, HOUR, DAY])
def test_a_service_whose_clock_differs_is_asked_at_half_the_life_all_the_same(ahead: timedelta) -> None:
    loop = Loop().issues(service_ahead=ahead)
    assert abs(loop.planned - delays.around(30 * MINUTE, delays.jitter(NODE, 1))) < SECOND / 1000
    assert loop.state.refresh_at == loop.life.issued_at + loop.planned
    assert lifetime.freshness(loop.life, loop.now) is Freshness.FRESH
