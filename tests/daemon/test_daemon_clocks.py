"""The running daemon when its clock is wrong at boot, set right, set to and fro, or when the machine is suspended."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.daemon.conftest import Behaviour, issuing, world_of

from rolekeeper.core.loop import status
from rolekeeper.model import Freshness, Outcome
from rolekeeper.ports import Wakeup

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
ERRORS = {
    "a second behind": -SECOND,  # a leap second that is repeated
    "an hour behind": -HOUR,
    "an hour ahead": HOUR,
    "a year behind": -365 * DAY,
    "a year ahead": 365 * DAY,
    "in 1970": datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC) - datetime(2026, 11, 23, 12, tzinfo=UTC),
}
OUTAGE = [Outcome.FAILED] * 9


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at_boot", [(), OUTAGE, [Outcome.REFUSED], [Outcome.NODE_UNKNOWN]], ids=str)
def test_a_clock_that_is_wrong_at_boot_and_set_right_costs_one_attempt_at_most_and_delays_none(
    error: str, at_boot: list[Outcome]
) -> None:
    calm = world_of(*at_boot, Outcome.ISSUED)
    calm.runs(6 * HOUR)
    world = world_of(*at_boot, Outcome.ISSUED)
    world.wall += ERRORS[error]
    world.at(10 * MINUTE, world.sets_clock(-ERRORS[error])).runs(6 * HOUR)
    assert len(world.starts) <= len(calm.starts) + 1
    assert len(world.slices) <= len(calm.slices) + 10
    first, calm_first = (next(told.at for told in one.documents if fresh(told)) for one in (world, calm))
    assert first <= calm_first + SECOND


def fresh(told: Any) -> bool:
    return bool(told.what["freshness"] == "fresh")


@pytest.mark.parametrize("outcome", [Outcome.ISSUED, Outcome.FAILED, Outcome.REFUSED, Outcome.NODE_UNKNOWN])
def test_a_clock_that_is_set_to_and_fro_every_minute_makes_no_more_attempts_than_steps_forward(
    outcome: Outcome,
) -> None:
    calm = world_of(outcome)
    calm.runs(6 * HOUR)
    world = world_of(outcome)
    for minute in range(1, 361):
        world.at(minute * MINUTE, world.sets_clock(HOUR if minute % 2 else -HOUR))
    world.runs(6 * HOUR)
    assert len(world.starts) <= len(calm.starts) + 180
    assert min(after - before for before, after in pairwise(world.began())) >= SECOND
    assert len(world.slices) <= len(calm.slices) + 3 * len(world.starts) + 360


@pytest.mark.parametrize("asleep", [2 * HOUR, 3 * DAY])
@pytest.mark.parametrize("during", ["waiting", "an attempt"])
def test_after_a_suspend_nothing_expired_is_called_fresh_and_new_credentials_come_at_once(
    asleep: timedelta, during: str
) -> None:
    in_flight = Behaviour(None) if during == "an attempt" else Behaviour(issuing(HOUR))
    world = world_of(Outcome.ISSUED, in_flight, Outcome.ISSUED)

    def suspend() -> None:
        world.elapsed += asleep
        (output,) = status.read(world.document()).outputs
        assert output.freshness_at(world.now(), same_boot=True) is Freshness.EXPIRED  # for a reader of status.json

    if during == "an attempt":
        world.at(10 * MINUTE - SECOND, Wakeup.REFRESH)
    world.at(10 * MINUTE, suspend).runs(10 * MINUTE + asleep + MINUTE)
    woken = [told.at - asleep - 10 * MINUTE for told in world.starts if told.at > 10 * MINUTE]
    assert woken[0] <= 2 * SECOND
    assert len(woken) == 1
    assert world.document()["freshness"] == "fresh"
