"""How long the loop waits, history by history, in virtual time."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from tests.core.conftest import BEGINNING, NODE, POLICY, Loop

from rolekeeper.core.loop import delays
from rolekeeper.core.loop.states import Elapsed
from rolekeeper.model import Outcome, Phase
from rolekeeper.values import replace

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def holds(measured: Iterable[timedelta], nominal: Iterable[timedelta]) -> None:
    """Each a tenth earlier or later at most."""
    for one, other in zip(measured, nominal, strict=True):
        assert 0.9 * other <= one <= 1.1 * other


def holds_fully(measured: Iterable[timedelta], longest: Iterable[int]) -> None:
    """Each from a tenth of so many seconds to the whole, and no sooner than a second."""
    for one, seconds in zip(measured, longest, strict=True):
        assert max(0.1 * seconds * SECOND, SECOND) <= one <= seconds * SECOND


def test_failures_are_retried_after_1_2_4_90_180_and_at_most_240_seconds() -> None:
    planned: list[list[timedelta]] = [[] for _ in range(8)]
    for number in range(100):
        loop = Loop(node_id=f"mi-{number:017x}").goes_through(*[Outcome.FAILED] * 9)
        holds_fully(loop.intervals, (1, 2, 4, 90, 180, 240, 240, 240))
        for nth, interval in zip(planned, loop.intervals, strict=True):
            nth.append(interval)
    for nth, longest in zip(planned[3:], (90, 180, 240, 240, 240), strict=True):  # the whole of the window is used
        assert min(nth) < 0.2 * longest * SECOND
        assert max(nth) > 0.9 * longest * SECOND


def test_refusals_are_retried_after_5_and_10_and_then_every_15_minutes(loop: Any) -> None:
    loop.goes_through(*[Outcome.REFUSED] * 7)
    holds(loop.intervals, [MINUTE * n for n in (5, 10, 15, 15, 15, 15)])


@pytest.mark.parametrize("outcome", [Outcome.FINGERPRINT_REFUSED, Outcome.NODE_UNKNOWN])
def test_a_hibernation_probes_after_5_then_10_20_40_minutes_three_times_each_then_hourly(
    loop: Any, outcome: Outcome
) -> None:
    loop.goes_through(*[outcome] * 16)
    holds(loop.intervals, [MINUTE * n for n in (5, *[10] * 3, *[20] * 3, *[40] * 3, *[60] * 5)])


def test_probes_that_fail_otherwise_count_like_those_that_are_refused(loop: Any) -> None:
    loop.goes_through(Outcome.NODE_UNKNOWN, Outcome.FAILED, Outcome.REFUSED, Outcome.VAULT_UNREADABLE, Outcome.FAILED)
    assert loop.phase is Phase.HIBERNATING
    loop.comes_due()
    holds(loop.intervals, [MINUTE * n for n in (5, 10, 10, 10, 20)])


@pytest.mark.parametrize(
    ("takes", "windows"),
    [
        (1.9, [(2.9, 2.9), (1.9, 2.9), (1.9, 4), (9, 90), (18, 180), (24, 240)]),
        (2, [(9, 90), (18, 180), (24, 240)]),
        (30, [(31, 112), (31, 180), (31, 240)]),
        (120, [(121, 202), (121, 202), (121, 240)]),  # attempt_timeout
        (300, [(301, 382)]),
    ],
)
def test_an_attempt_that_hung_delays_the_next_only_as_far_as_jitter_needs_room(
    takes: float, windows: list[tuple[float, float]]
) -> None:
    windows += [windows[-1]] * 3
    for number in range(50):
        loop = Loop(node_id=f"mi-{number:017x}")
        for _ in windows:
            loop.ends_with(Outcome.FAILED, takes=takes * SECOND).comes_due()
        for interval, (earliest, latest) in zip(loop.intervals, windows, strict=True):
            assert earliest * SECOND <= interval <= latest * SECOND


def test_failures_and_refusals_in_turn_gain_nothing_over_either_alone(loop: Any) -> None:
    loop.goes_through(*[Outcome.FAILED, Outcome.REFUSED] * 4)
    holds_fully(loop.intervals[::2], [1, 2, 4, 90])
    holds(loop.intervals[1::2], [5 * MINUTE, 10 * MINUTE, 15 * MINUTE])


def test_a_success_forgets_failures_and_refusals(loop: Any) -> None:
    loop.goes_through(*[Outcome.FAILED] * 6, Outcome.REFUSED, Outcome.ISSUED, Outcome.FAILED, Outcome.REFUSED)
    loop.comes_due()
    holds(loop.intervals[-2:], [SECOND, 5 * MINUTE])


def test_a_token_is_refreshed_at_the_configured_share_of_its_life() -> None:
    for share in (0.1, 0.5, 0.9):
        loop = Loop(policy=replace(POLICY, refresh_share=share)).issues()
        assert abs(loop.planned - delays.around(share * HOUR, delays.jitter(NODE, 1))) < SECOND / 1000


def test_credentials_that_were_published_before_are_refreshed_at_the_same_point_of_their_life() -> None:
    loop = Loop().issues(HOUR, age=10 * MINUTE, reused=True)
    at = delays.around(30 * MINUTE, delays.jitter(NODE, 1))
    assert abs(loop.planned + 10 * MINUTE - at) < SECOND / 1000
    overdue = Loop().issues(HOUR, age=44 * MINUTE, reused=True)
    assert overdue.planned == SECOND


@pytest.mark.parametrize("life", [2 * SECOND, SECOND, SECOND / 10, 0 * SECOND, -HOUR])
def test_attempts_are_a_second_apart_however_short_a_token_lives(loop: Any, life: timedelta) -> None:
    for _ in range(20):
        loop.issues(life).comes_due()
    assert min(loop.intervals) == SECOND
    assert max(loop.intervals) <= 1.1 * SECOND


def test_two_tokens_in_a_row_have_different_jitter(loop: Any) -> None:
    for _ in range(10):
        loop.issues().comes_due()
    assert len(set(loop.intervals)) == 10


def test_machines_without_a_node_id_have_different_jitter() -> None:
    """A golden image that registers itself, on machines that were switched on together, and no service."""
    planned = set()
    for microsecond in range(100):
        now = replace(BEGINNING, boot=timedelta(seconds=9, microseconds=microsecond))
        loop = Loop(node_id=None, now=now).goes_through(*[Outcome.FAILED] * 8)
        planned.add(loop.planned // SECOND)
    assert len(planned) > 60


def test_a_time_that_has_not_come_yet_is_waited_for(loop: Any) -> None:
    loop.ends_with(Outcome.ISSUED).happens(Elapsed())
    assert loop.phase is Phase.WAITING
    assert len(loop.began) == 1
