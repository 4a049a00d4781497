"""A clock that is wrong, set right, or set right while the service is asked: what is signed, and what is called fresh.

The service has a clock of its own here, and it is the true one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tests.attempt.conftest import TOKEN, Machine, MovingClock, StockOfKeys, settings_in
from tests.reports import life

from rolekeeper.attempt.run import run
from rolekeeper.core.lifetime import freshness
from rolekeeper.core.loop.delays import refresh_delay
from rolekeeper.emulator import Emulator
from rolekeeper.model import AttemptReport, Freshness, NodeKey, Outcome, TokenAnswer
from rolekeeper.ports import NodeService
from rolekeeper.values import replace

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC) - NOON
ERRORS = {
    "a second behind": -SECOND,
    "an hour behind": -HOUR,
    "an hour ahead": HOUR,
    "a year behind": -365 * DAY,
    "a year ahead": 365 * DAY,
    "in 1970": EPOCH,
}
WORSE = list(Freshness)  # from the best to the worst


@dataclass
class WrongClock(MovingClock):
    """A machine's clocks, and the true time; steps and suspends come whenever the service looks at its own."""

    true: datetime = NOON
    steps: list[timedelta] = field(default_factory=list)
    suspended_for: list[timedelta] = field(default_factory=list)

    def move(self, duration: timedelta) -> None:
        super().move(duration)
        self.true += duration

    def service_time(self) -> datetime:
        if self.steps:
            self.wall += self.steps.pop(0)
        told = self.true
        if self.suspended_for:
            self.move(self.suspended_for.pop(0))
        return told


@pytest.fixture
def clock() -> WrongClock:
    return WrongClock()


@pytest.fixture
def machine(directory: Path, keys_made: list[NodeKey], clock: WrongClock) -> Iterator[Machine]:
    """A machine whose clock is right so far, and that is not registered."""
    with Emulator(clock=clock.service_time) as emulator:
        yield Machine(emulator, directory, clock, settings_in(directory, emulator.url), StockOfKeys(keys_made))


def truth(machine: Machine, clock: WrongClock) -> Freshness:
    """How much of the published token's life of an hour is really left."""
    token = machine.published()
    assert token is not None
    left = token.expires_at - clock.true
    if left <= timedelta(0):
        return Freshness.EXPIRED
    return Freshness.FRESH if left > HOUR / 4 else Freshness.STALE


def life_story(machine: Machine, clock: WrongClock, report: AttemptReport) -> list[tuple[Freshness, Freshness]]:
    """Every seven minutes for 70: what the credentials are called, and what they are."""
    told = []
    for _ in range(10):
        told.append((freshness(life(report), clock.now()), truth(machine, clock)))
        clock.move(7 * MINUTE)
    return told


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("set_right", ["never", "at the first request", "at the second request", "afterwards"])
def test_a_wrong_clock_costs_a_request_at_most_and_what_is_published_is_called_what_it_is(
    machine: Machine, clock: WrongClock, error: str, set_right: str
) -> None:
    machine.register()
    machine.emulator.forget_requests()
    clock.wall += ERRORS[error]
    looks = {"at the first request": 0, "at the second request": 2}  # each answer tells the service's time twice
    if set_right in looks:
        clock.steps = [timedelta(0)] * looks[set_right] + [-ERRORS[error]]
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    wrong = abs(ERRORS[error]) > SECOND
    assert [request.code for request in machine.requests()] == ["InvalidSignatureException"] * wrong + [""]
    assert report.expires_at == clock.true + HOUR
    if set_right == "afterwards":
        clock.wall = clock.true
    for called, real in life_story(machine, clock, report):
        assert called is real


@pytest.mark.parametrize("error", ["none", *ERRORS])
@pytest.mark.parametrize("down_for", [20 * MINUTE, 70 * MINUTE, 300 * DAY])
def test_after_a_reboot_into_an_outage_no_clock_makes_what_was_published_fresh(
    machine: Machine, clock: WrongClock, error: str, down_for: timedelta
) -> None:
    machine.register()
    machine.attempt()
    clock.move(down_for)
    clock.reboot()
    clock.wall = clock.true + ERRORS.get(error, timedelta(0))
    machine.emulator.fail(TOKEN, error="ServiceUnavailable", times=2)
    for _ in range(2):
        report = machine.attempt(reuse=True)
        assert report.outcome is Outcome.FAILED
        assert Freshness.FRESH not in [called for called, _ in life_story(machine, clock, report)]
    report = machine.attempt(reuse=True)
    assert (report.outcome, freshness(life(report), clock.now())) == (Outcome.ISSUED, Freshness.FRESH)


def test_a_clock_that_stands_before_the_boot_is_wrong_for_certain_and_nothing_is_said_by_it(
    machine: Machine, clock: WrongClock
) -> None:
    """20 minutes up, and yet 10 after the issue, which was before the boot."""
    machine.register()
    machine.attempt()
    issued = clock.wall
    clock.reboot()
    clock.move(20 * MINUTE)
    clock.wall = issued + 10 * MINUTE
    machine.emulator.fail(TOKEN, error="ServiceUnavailable")
    assert life(machine.attempt()) is None


@dataclass
class SleepyService:
    """The service as a machine hears it that is suspended as soon as the answer is there."""

    service: NodeService
    clock: WrongClock
    duration: timedelta

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)

    def request_role_token(self, *arguments: Any) -> TokenAnswer:
        answer = self.service.request_role_token(*arguments)
        self.clock.move(self.duration)
        return answer


@pytest.mark.parametrize("suspended", [20 * MINUTE, 50 * MINUTE, 3 * HOUR])
def test_a_suspend_between_answer_and_publication_counts_as_life(
    machine: Machine, clock: WrongClock, suspended: timedelta
) -> None:
    machine.register()
    world = machine.world()
    world = replace(world, service=SleepyService(world.service, clock, suspended))
    report = run(world, machine.settings, reuse=False)
    for called, real in life_story(machine, clock, report):
        assert called is real


@pytest.mark.parametrize("asleep", [20 * MINUTE, 80 * MINUTE, 3 * HOUR])
def test_a_machine_that_is_suspended_while_it_is_answered_calls_nothing_valid_that_has_expired(
    machine: Machine, clock: WrongClock, asleep: timedelta
) -> None:
    machine.register()
    clock.suspended_for = [timedelta(0), asleep]  # after the Date was written
    report = machine.attempt()
    assert report.outcome is (Outcome.ISSUED if asleep < HOUR else Outcome.FAILED)
    assert clock.suspended_for == []
    if life(report) is not None:
        story = life_story(machine, clock, report)
        assert {called for called, real in story if real is Freshness.EXPIRED} == {Freshness.EXPIRED}
    assert machine.attempt().outcome is Outcome.ISSUED


DATES = {
    "a day early": -DAY,
    "an hour early": -HOUR,
    "16 minutes early": -16 * MINUTE,
    "16 minutes late": 16 * MINUTE,
    "50 minutes late": 50 * MINUTE,
    "two hours late": 2 * HOUR,
    "a day late": DAY,
}


@pytest.mark.parametrize("date", DATES)
def test_a_date_that_belies_the_accepted_signature_neither_prolongs_a_life_nor_costs_the_token(
    machine: Machine, clock: WrongClock, date: str
) -> None:
    machine.register()
    told = format_datetime(clock.true + DATES[date], usegmt=True)
    machine.emulator.fail(TOKEN, headers={"Date": told})
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    assert life(report) is not None
    assert refresh_delay(life(report), clock.now(), 0.5, 1.0) <= 33 * MINUTE
    for called, real in life_story(machine, clock, report):
        assert WORSE.index(called) >= WORSE.index(real)


@pytest.mark.parametrize("date", ["Thu, 31 Dec 2026 23:59:60 GMT", "Mon, 23 Nov 2026 12:00:00 -0000", "never", None])
def test_a_leap_second_or_no_date_at_all_leaves_the_time_of_the_accepted_signature(
    machine: Machine, clock: WrongClock, date: str | None
) -> None:
    machine.register()
    machine.emulator.fail(TOKEN, headers={"Date": date})
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    for called, real in life_story(machine, clock, report):
        assert called is real
