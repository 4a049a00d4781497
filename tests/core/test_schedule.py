"""Jitter, and the freshness of credentials, as functions of time."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.core import lifetime
from rolekeeper.core.loop import delays
from rolekeeper.model import Freshness, Instant, Lifetime

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND, TICK = (timedelta(seconds=n) for n in (3600, 60, 1, 1e-6))
NODES, BUCKETS = 100_000, 20

moments = st.builds(
    Instant,
    st.datetimes(datetime(1970, 1, 1), datetime(2300, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis's way
    st.timedeltas(timedelta(0), timedelta(days=3650)),
)
lives = st.timedeltas(timedelta(seconds=1), timedelta(hours=36))


def life(span: timedelta = HOUR, issued_boot: timedelta = HOUR) -> Lifetime:
    return Lifetime(NOON, NOON + span, issued_boot)


@pytest.mark.parametrize("attempt", [1, 2, 1000])
def test_the_jitter_of_a_fleet_is_evenly_distributed(attempt: int) -> None:
    shares = [delays.jitter(f"mi-{number:017x}", attempt) for number in range(NODES)]
    assert 0 <= min(shares) < 0.0005
    assert 0.9995 < max(shares) <= 1
    buckets = Counter(min(int(share * BUCKETS), BUCKETS - 1) for share in shares)
    expected = NODES / BUCKETS
    chi_square = sum((count - expected) ** 2 / expected for count in buckets.values())
    assert len(buckets) == BUCKETS
    assert chi_square < 50  # 19 degrees of freedom: one fair distribution in 8,000 exceeds 50


def test_nodes_that_are_close_at_one_attempt_are_not_so_at_the_next() -> None:
    close = Counter(
        int(delays.jitter(f"mi-{number:017x}", 2) * 200)
        for number in range(NODES)
        if 0.5 <= delays.jitter(f"mi-{number:017x}", 1) < 0.505
    )
    assert close.total() > 300
    assert max(close.values()) < close.total() / 20


def test_jitter_is_the_same_at_every_call_and_in_every_version() -> None:
    assert delays.jitter("mi-0123456789abcdef0", 7) == pytest.approx(0.983212936, abs=1e-9)


@given(st.integers(1, 10**6), st.text())
def test_jitter_is_a_tenth_either_way_and_after_a_failure_from_a_tenth_to_the_whole(attempt: int, name: str) -> None:
    share = delays.jitter(name, attempt)
    assert 27 * MINUTE <= delays.around(30 * MINUTE, share) <= 33 * MINUTE
    assert timedelta(seconds=24) <= delays.failed_delay(6, TICK, share) <= timedelta(seconds=240)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), Freshness.FRESH),
        (45 * MINUTE - TICK, Freshness.FRESH),
        (45 * MINUTE, Freshness.STALE),
        (HOUR - TICK, Freshness.STALE),
        (HOUR, Freshness.EXPIRED),
        (1000 * HOUR, Freshness.EXPIRED),
    ],
)
def test_credentials_are_fresh_while_more_than_a_quarter_of_their_life_is_left(
    age: timedelta, expected: Freshness
) -> None:
    assert lifetime.freshness(life(), Instant(NOON, HOUR + age)) is expected


def test_without_credentials_there_is_nothing_to_be_fresh() -> None:
    assert lifetime.freshness(None, Instant(NOON, HOUR)) is Freshness.ABSENT
    assert lifetime.next_change(None, Instant(NOON, HOUR)) is None


@given(moments, lives, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_freshness_goes_by_age_whatever_the_wall_clock_shows(now: Instant, span: timedelta, age: timedelta) -> None:
    issued = Lifetime(NOON, NOON + span, now.boot - age)
    assert (lifetime.freshness(issued, now) is Freshness.EXPIRED) == (age >= span)
    assert (lifetime.freshness(issued, now) is Freshness.FRESH) <= (age < 0.76 * span)


@given(lives, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_the_next_change_is_just_when_freshness_changes(span: timedelta, age: timedelta) -> None:
    issued = life(span)
    now = Instant(NOON, HOUR + age)
    before, wait = lifetime.freshness(issued, now), lifetime.next_change(issued, now)
    if wait is None:
        assert before is Freshness.EXPIRED
        return
    assert lifetime.freshness(issued, Instant(NOON, now.boot + wait)) is not before
    assert lifetime.freshness(issued, Instant(NOON, now.boot + wait - TICK)) is before


@given(
    moments, st.timedeltas(timedelta(0), timedelta(days=1)), st.timedeltas(-timedelta(days=400), timedelta(days=400))
)
def test_a_due_moment_is_reached_by_either_clock(now: Instant, delay: timedelta, step: timedelta) -> None:
    due = delays.after(now, delay)
    later = Instant(now.wall + step, now.boot)
    assert due.reached(later) == (delay == timedelta(0) or step >= delay)
    assert due.reached(Instant(later.wall, now.boot + delay))
    assert due.remaining(later) == max(min(delay, delay - step), timedelta(0))


@given(st.integers(1, 10**9), st.timedeltas(timedelta(0), 158 * SECOND), st.floats(0, 1))
def test_no_count_makes_a_delay_longer_than_its_bound(count: int, took: timedelta, share: float) -> None:
    assert SECOND / 10 <= delays.failed_delay(count, took, share) <= timedelta(seconds=240)
    assert 5 * MINUTE <= delays.refused_delay(count) <= 15 * MINUTE
    assert 5 * MINUTE <= delays.probe_interval(count, 5 * MINUTE, HOUR) <= HOUR


def test_the_services_clock_runs_on_from_the_issue() -> None:
    assert lifetime.service_time(life(), Instant(datetime(1970, 1, 1, tzinfo=UTC), 3 * HOUR)) == NOON + 2 * HOUR
