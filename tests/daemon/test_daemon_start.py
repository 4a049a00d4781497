"""How the daemon starts, says that it is ready, and ends, in virtual time."""

from datetime import timedelta
from typing import Any

import pytest
from tests.daemon.conftest import SETTINGS, Behaviour, issuing, world_of

from rolekeeper.errors import InputOutputError, UnavailableError
from rolekeeper.model import Outcome
from rolekeeper.ports import Ended

RUNS = UnavailableError("daemon-running", "Cannot run: a daemon with pid 4712 holds /run/rolekeeper/lock")
FULL = InputOutputError("no-space", "Cannot use the runtime directory /run/rolekeeper: No space left on device")
MILLISECOND, SECOND, MINUTE, HOUR = (timedelta(milliseconds=n) for n in (1, 1000, 60_000, 3_600_000))


def ready_at(world: Any) -> list[timedelta]:
    return [told.at for told in world.notified if told.what == "READY=1"]


def test_before_anything_else_it_asks_for_the_time_that_readiness_may_take() -> None:
    world = world_of(Outcome.ISSUED)
    world.runs(MINUTE)
    assert world.notified[0].what == "EXTEND_TIMEOUT_USEC=40000000"
    assert ready_at(world)[0] < 40 * SECOND


def test_a_configuration_that_is_wrong_at_the_start_ends_the_daemon_and_nothing_else_happens() -> None:
    world = world_of(Behaviour(None, finds="config.toml: refresh.at: too large"))
    assert world.runs(HOUR) == 78
    assert len(world.starts) == 1
    assert world.elapsed < SECOND
    assert (world.claimed, world.documents, world.entries, ready_at(world)) == ([], [], [], [])


def test_the_first_attempt_reads_the_configuration_and_may_spare_the_request() -> None:
    world = world_of(Outcome.ISSUED)
    world.runs(MINUTE)
    start = world.starts[0].what
    assert (start.settings, start.reload, start.reuse) == (None, True, True)


def test_later_attempts_are_handed_the_accepted_settings() -> None:
    world = world_of(Outcome.FAILED)
    world.runs(MINUTE)
    assert len(world.starts) > 3
    assert all((told.what.settings, told.what.reload) == (SETTINGS, False) for told in world.starts[1:])


def test_the_first_attempt_goes_on_only_when_the_runtime_directory_is_claimed() -> None:
    world = world_of(Outcome.ISSUED)
    world.runs(MINUTE)
    assert world.claimed == ["/run/rolekeeper"]
    assert world.logged()[0] == "started"
    assert world.levels == ["info"]


def test_another_daemon_ends_this_one_before_any_request() -> None:
    world = world_of(Outcome.ISSUED, claim_fails=RUNS)
    with pytest.raises(UnavailableError) as raised:
        world.runs(HOUR)
    assert raised.value is RUNS
    assert world.waits_for_go is not None  # the attempt was not told to go on
    assert ready_at(world) == []


def test_a_runtime_directory_that_cannot_be_claimed_is_said_once_and_stops_nothing() -> None:
    world = world_of(Outcome.ISSUED, claim_fails=FULL)
    world.at(3 * HOUR + 7 * SECOND, lambda: setattr(world, "claim_fails", None))
    assert world.runs(6 * HOUR) == 0
    assert len(world.starts) > 10
    assert world.logged()[:2] == ["started", "status_unwritten"]
    assert world.logged().count("status_unwritten") == 1
    assert world.claimed == ["/run/rolekeeper"]
    assert world.documents[0].at <= 3 * HOUR + 67 * SECOND


def test_another_daemon_that_is_seen_only_later_ends_this_one_then() -> None:
    world = world_of(Outcome.ISSUED, claim_fails=FULL)
    world.at(10 * MINUTE, lambda: setattr(world, "claim_fails", RUNS))
    with pytest.raises(UnavailableError) as raised:
        world.runs(HOUR)
    assert raised.value is RUNS
    assert world.elapsed <= 11 * MINUTE


@pytest.mark.parametrize("outcome", Outcome)
def test_the_daemon_is_ready_at_the_first_outcome_whatever_it_is(outcome: Outcome) -> None:
    world = world_of(outcome)
    assert world.runs(HOUR) == 0
    assert ready_at(world) == [400 * MILLISECOND]


@pytest.mark.parametrize("reads", [None, 100 * MILLISECOND])
def test_the_daemon_is_ready_after_twenty_seconds_of_a_hung_attempt(reads: timedelta | None) -> None:
    world = world_of(Behaviour(None, reads=reads))
    assert world.runs(HOUR) == 0
    assert ready_at(world) == [20 * SECOND]


def test_a_clock_that_is_set_while_the_first_attempt_runs_makes_nothing_early() -> None:
    world = world_of(Behaviour(issuing(HOUR), takes=10 * SECOND))
    world.at(SECOND, world.sets_clock(timedelta(days=400))).runs(MINUTE)
    assert ready_at(world) == [10 * SECOND + 100 * MILLISECOND]
    assert world.ends == []
    assert len(world.starts) == 1


def test_a_first_attempt_that_crashes_before_it_read_the_configuration_is_followed_by_one_that_reads_it() -> None:
    world = world_of(Behaviour(Ended(-11), reads=None), Outcome.ISSUED)
    world.runs(MINUTE)
    assert len(world.starts) == 2
    assert world.starts[1].what.settings is None
    assert world.logged()[:2] == ["backing_off", "started"]
    assert world.document(30 * SECOND)["state"] == "waiting"


def test_a_first_attempt_that_never_reads_the_configuration_is_ended_after_thirty_seconds() -> None:
    world = world_of(Behaviour(None, reads=None), Outcome.ISSUED)
    world.runs(3 * MINUTE)
    assert [told.at for told in world.ends] == [30 * SECOND]
    assert world.document()["state"] == "stopping"
    assert world.document(world.starts[1].at + SECOND)["state"] == "waiting"


@pytest.mark.parametrize("hangs", [True, False])
def test_sigterm_ends_the_daemon_at_once_and_a_hung_attempt_with_it(*, hangs: bool) -> None:
    world = world_of(Behaviour(None if hangs else issuing(HOUR)))
    moment = 70 * SECOND + 7 * MILLISECOND
    assert world.runs(moment) == 0
    assert world.elapsed == moment
    assert len(world.ends) == hangs
    assert world.running == 0
    assert world.notices()[-2:] == ["STOPPING=1", f"STATUS={world.notices('STATUS=')[-1][7:]}"]
    assert world.notices("STATUS=")[-1].startswith("STATUS=Stopping")
    assert world.document()["state"] == "stopping"
    assert world.logged()[-1] == "stopping"


def test_sigterm_before_the_configuration_is_read_ends_the_daemon_too() -> None:
    world = world_of(Behaviour(None, reads=None))
    assert world.runs(SECOND) == 0
    assert len(world.ends) == 1
    assert world.documents == []


def test_a_stop_that_comes_with_the_report_wins() -> None:
    world = world_of(Behaviour(None))
    world.at(SECOND, lambda: world.inbox.append(issuing(HOUR)))  # unread when SIGTERM is taken
    assert world.runs(SECOND) == 0
    assert world.document()["state"] == "stopping"
