"""Thirty days of whatever may happen, in virtual time, and what holds after every step of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import many
from tests.core.conftest import Loop
from tests.core.test_attempt_bound import documented

from rolekeeper.core import lifetime
from rolekeeper.model import Freshness, Outcome, Phase

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
MONTH = 30 * DAY
MOST_STEPS = 60_000
MOST_ATTEMPTS = documented("gives any of these answers in any order")
SLEEPS = (Phase.WAITING, Phase.BACKING_OFF, Phase.HIBERNATING)


def _ends(outcome: Outcome) -> Callable[[Any], Any]:
    return lambda loop: loop.ends_with(outcome)


ANSWERS: dict[str, Callable[[Any], Any]] = {
    **{outcome.value: _ends(outcome) for outcome in Outcome},
    "issued for 2 s": lambda loop: loop.passes(SECOND / 5).issues(2 * SECOND),
    "issued for 12 hours": lambda loop: loop.passes(SECOND).issues(12 * HOUR),
    "issued by a service a day ahead": lambda loop: loop.passes(SECOND).issues(service_ahead=DAY),
    "published before": lambda loop: loop.issues(HOUR, age=40 * MINUTE, reused=True),
    "token that cannot be published": lambda loop: loop.keeps_token(),
    "hangs": lambda loop: loop.ends_with(Outcome.FAILED, takes=2 * MINUTE),
}
INTERRUPTIONS: dict[str, Callable[[Any], Any]] = {
    "refresh": lambda loop: loop.refresh(),
    "reload": lambda loop: loop.reload(),
    "vault changed": lambda loop: loop if loop.phase is Phase.ATTEMPTING else loop.vault_changes(),
    "clock set back a day": lambda loop: loop.sets_clock(-DAY),
    "clock set forward a year": lambda loop: loop.sets_clock(365 * DAY),
    "clock set by a second": lambda loop: loop.sets_clock(SECOND),
    "suspended for two days": lambda loop: loop.passes(2 * DAY),
}


@dataclass(frozen=True)
class Weather:
    """For so long the service answers these in turn."""

    answers: tuple[str, ...]
    lasts: timedelta


weathers = st.builds(
    Weather,
    st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=4).map(tuple),
    st.sampled_from([MINUTE, HOUR, 6 * HOUR, DAY, 10 * DAY]),
)


def interruptions(span: timedelta) -> st.SearchStrategy[list[tuple[timedelta, str]]]:
    when = st.timedeltas(timedelta(0), span) | st.timedeltas(timedelta(0), HOUR)
    return st.lists(st.tuples(when, st.sampled_from(sorted(INTERRUPTIONS))), max_size=30)


def check(loop: Any, before: Phase, happened: str) -> None:
    """What holds after every step."""
    state = loop.state
    if state.phase in SLEEPS:
        assert state.due is not None
        assert state.due.boot - loop.began[-1] >= SECOND
    if state.phase is Phase.ATTEMPTING:
        assert state.due is None
    if state.phase in (Phase.BACKING_OFF, Phase.HIBERNATING):
        assert state.due.boot - loop.began[-1] <= 1.1 * HOUR or state.due.boot <= loop.now.boot + SECOND
    assert (state.phase is Phase.UNREGISTERED) <= (state.node_id is None)
    assert (state.phase is Phase.HIBERNATING) <= (state.probes is not None)
    assert (state.phase in (Phase.WAITING, Phase.BACKING_OFF, Phase.UNREGISTERED)) <= (state.probes is None)
    if before is Phase.HIBERNATING:
        assert state.phase in (Phase.HIBERNATING, Phase.ATTEMPTING), happened
    issued = loop.life
    if issued is not None and loop.now.boot - issued.issued_boot >= issued.expires_at - issued.issued_at:
        assert lifetime.freshness(issued, loop.now) is Freshness.EXPIRED
    if len(loop.began) > 1:
        assert loop.began[-1] - loop.began[-2] >= SECOND


def live(loop: Any, weather: list[Weather], interrupted: list[tuple[timedelta, str]], span: timedelta) -> None:
    """For `span`, or as many steps as a month of anything but tokens of seconds can have."""
    begun_at = loop.now.boot
    pending = sorted(interrupted)
    turns = [begun_at + sum((one.lasts for one in weather[:n]), timedelta(0)) for n in range(len(weather))]
    answered = 0
    while loop.now.boot - begun_at < span and loop.steps < MOST_STEPS:
        before = loop.phase
        if pending and pending[0][0] <= loop.now.boot - begun_at:
            happened = pending.pop(0)[1]
            INTERRUPTIONS[happened](loop)
        elif loop.phase is Phase.ATTEMPTING:
            current = weather[max(n for n, turn in enumerate(turns) if turn <= loop.now.boot)]
            happened = current.answers[answered % len(current.answers)]
            answered += 1
            ANSWERS[happened](loop)
        elif loop.state.due is None:
            happened = "a minute of nothing"
            loop.passes(MINUTE if pending else span)
        else:
            happened = "time has come"
            sleep_until_due_or(loop, begun_at + pending[0][0] if pending else None)
        check(loop, before, happened)


def sleep_until_due_or(loop: Any, interruption: timedelta | None) -> None:
    until_due = loop.state.due.remaining(loop.now)
    if interruption is not None and interruption - loop.now.boot < until_due:
        loop.passes(interruption - loop.now.boot)
    else:
        loop.comes_due()


@pytest.mark.timeout(900)  # each example is a month of up to 20,000 attempts
@many(50)
@given(st.lists(weathers, min_size=1, max_size=6), interruptions(MONTH))
def test_whatever_happens_for_thirty_days_the_loop_keeps_its_promises(
    weather: list[Weather], interrupted: list[tuple[timedelta, str]]
) -> None:
    loop = Loop()
    live(loop, weather, interrupted, MONTH)
    assert loop.most_in_any_hour() <= 3600
    assert loop.steps <= 3 * len(loop.began) + 2 * len(interrupted)  # nothing spins


never_issuing = st.lists(
    st.sampled_from(["failed", "refused", "fingerprint-refused", "node-unknown", "hangs"]), min_size=1, max_size=12
)


@given(never_issuing, st.integers(0, 16**17 - 1))
def test_a_service_that_never_issues_is_asked_as_often_as_documented_at_most(answers: list[str], number: int) -> None:
    loop = Loop(node_id=f"mi-{number:017x}")
    live(loop, [Weather(tuple(answers), DAY)], [], DAY)
    assert loop.most_in_any_hour() <= MOST_ATTEMPTS


@given(never_issuing, interruptions(DAY))
def test_each_interruption_causes_one_attempt_more_at_most(
    answers: list[str], interrupted: list[tuple[timedelta, str]]
) -> None:
    loop = Loop()
    live(loop, [Weather(tuple(answers), DAY)], interrupted, DAY)
    assert loop.most_in_any_hour() <= MOST_ATTEMPTS + len(interrupted)
