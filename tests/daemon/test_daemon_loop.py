"""The running daemon in virtual time: hangs, crashes, signals, reloads, changed vaults, outages."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.daemon.conftest import SETTINGS, Behaviour, as_of, ending, issuing, world_of

from rolekeeper.errors import UnavailableError
from rolekeeper.model import Outcome
from rolekeeper.ports import Ended, Outdated, Wakeup
from rolekeeper.settings import DaemonSettings, HibernationSettings
from rolekeeper.values import replace

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
STATES = {"waiting": Outcome.ISSUED, "backing-off": Outcome.REFUSED, "hibernating": Outcome.NODE_UNKNOWN}


def intervals(world: Any) -> list[timedelta]:
    return [after - before for before, after in pairwise(world.began())]


def test_a_hung_attempt_is_killed_at_its_deadline_and_backed_off() -> None:
    world = world_of(Outcome.ISSUED, Behaviour(None))
    world.runs(HOUR)
    assert world.ends[0].at - world.starts[1].at == 2 * MINUTE
    killed = world.document(world.ends[0].at)
    assert killed["state"] == "backing-off"
    assert killed["last_outcome"]["code"] == "attempt-timeout"


def test_the_deadline_is_the_configured_one() -> None:
    short = replace(SETTINGS, daemon=DaemonSettings("/run/rolekeeper", 7 * SECOND, "info"))
    world = world_of(Behaviour(None, finds=short))
    world.runs(3 * MINUTE)
    assert world.ends[0].at - world.starts[0].at == 7 * SECOND + timedelta(milliseconds=100)
    assert world.ends[1].at - world.starts[1].at == 7 * SECOND


@pytest.mark.parametrize(("status", "words"), [(1, "exit status 1"), (-9, "signal 9"), (78, "exit status 78")])
def test_an_attempt_that_ends_without_a_report_costs_one_attempt(status: int, words: str) -> None:
    world = world_of(Outcome.ISSUED, Ended(status), Outcome.ISSUED)
    world.runs(HOUR)
    crash = world.entries[2].what
    assert crash[:2] == ("backing_off", "warning")
    assert words in crash[2]
    assert crash[3]["code"] == "attempt-crashed"
    assert intervals(world)[1] <= 1.1 * SECOND
    assert world.document(world.starts[2].at + SECOND)["state"] == "waiting"


def test_thirty_days_of_hourly_tokens_wake_the_daemon_a_few_times_an_attempt() -> None:
    world = world_of(Outcome.ISSUED)
    world.runs(30 * DAY)
    assert 1400 < len(world.starts) < 1480
    # A slice a minute, the attempt's beginning and end.
    assert len(world.slices) <= 30 * DAY / MINUTE + 3 * len(world.starts)
    assert len(world.documents) <= 3 * len(world.starts)


@pytest.mark.parametrize("outcome", [*STATES.values(), Outcome.UNREGISTERED])
@pytest.mark.parametrize("watchdog", [None, 10 * SECOND, 3 * MINUTE])
def test_no_slice_is_longer_than_a_minute_and_half_the_watchdog(outcome: Outcome, watchdog: timedelta | None) -> None:
    world = world_of(outcome, Behaviour(None), watchdog=watchdog)
    world.runs(3 * HOUR)
    longest = min(MINUTE, watchdog / 2 if watchdog else MINUTE)
    assert max(world.slices) <= longest
    alive = [timedelta(0), *(told.at for told in world.notified if told.what == "WATCHDOG=1")]
    assert max(after - before for before, after in pairwise(alive)) <= longest


@pytest.mark.parametrize(("state", "outcome"), STATES.items())
@pytest.mark.parametrize("wakeup", [Wakeup.REFRESH, Wakeup.RELOAD])
def test_a_signal_is_followed_by_an_attempt_at_once(state: str, outcome: Outcome, wakeup: Wakeup) -> None:
    world = world_of(outcome)
    moment = 90 * SECOND + timedelta(milliseconds=3)
    world.at(moment, wakeup).runs(2 * MINUTE)
    assert world.document(moment - SECOND)["state"] == state
    assert world.began() == [timedelta(0), moment]
    assert world.starts[1].what.reload == (wakeup is Wakeup.RELOAD)


def test_a_burst_of_signals_makes_one_attempt_a_second() -> None:
    world = world_of(Outcome.FAILED)
    for tenth in range(600):
        world.at(10 * SECOND + tenth * SECOND / 10, Wakeup.REFRESH)
    world.runs(69 * SECOND)
    assert min(intervals(world)) >= SECOND
    assert len(world.starts) <= 66


@pytest.mark.parametrize("outcome", [Outcome.UNREGISTERED, *STATES.values()])
def test_a_vault_that_somebody_wrote_to_is_looked_at_within_a_minute(outcome: Outcome) -> None:
    world = world_of(outcome, Outcome.ISSUED)
    world.at(100 * SECOND, world.writes_vault).runs(4 * MINUTE)
    assert len(world.starts) == 2
    assert 100 * SECOND <= world.starts[1].at <= 160 * SECOND
    assert world.document(4 * MINUTE - SECOND)["state"] == "waiting"


def test_what_an_attempt_itself_writes_to_the_vault_wakes_nobody() -> None:
    world = world_of(Behaviour(issuing(HOUR), takes=10 * SECOND))
    world.at(5 * SECOND, world.writes_vault)
    world.at(MINUTE, Wakeup.REFRESH).at(65 * SECOND, world.writes_vault).runs(20 * MINUTE)
    assert len(world.starts) == 2


def test_an_unregistered_daemon_stays_up_and_waits() -> None:
    world = world_of(Outcome.UNREGISTERED)
    assert world.runs(3 * DAY) == 0
    assert len(world.starts) == 1
    assert world.logged() == ["started", "unregistered", "stopping"]


def test_a_good_reload_takes_the_new_settings_over() -> None:
    new = replace(
        SETTINGS,
        daemon=DaemonSettings("/elsewhere", 9 * SECOND, "debug"),
        hibernation=HibernationSettings(MINUTE, MINUTE),
    )
    world = world_of(Outcome.NODE_UNKNOWN, Behaviour(ending(Outcome.NODE_UNKNOWN), finds=new))
    world.at(100 * SECOND, Wakeup.RELOAD).runs(5 * MINUTE)
    assert world.starts[1].what == world.starts[0].what.__class__(SETTINGS, reload=True, reuse=False)
    assert world.starts[2].what.settings == new
    assert intervals(world)[1] <= 1.1 * MINUTE
    assert world.levels == ["info", "debug"]
    assert world.claimed == ["/run/rolekeeper"]  # where it was claimed first
    assert "reloaded" in world.logged()


def test_a_bad_reload_keeps_the_old_settings_and_says_what_is_wrong() -> None:
    world = world_of(Outcome.ISSUED, Behaviour(issuing(HOUR), finds="refresh.at: too large"))
    world.at(100 * SECOND, Wakeup.RELOAD).runs(HOUR)
    assert len(world.starts) == 3
    assert world.starts[2].what.settings == SETTINGS
    rejected = [told.what for told in world.entries if told.what[0] == "configuration_rejected"]
    assert [one[1:3] for one in rejected] == [
        ("error", "Keeping the old configuration, the new one is wrong: refresh.at: too large")
    ]
    assert world.document(110 * SECOND)["state"] == "waiting"


def test_an_attempt_that_found_a_wrong_configuration_has_its_full_time_all_the_same() -> None:
    world = world_of(Outcome.ISSUED, Behaviour(issuing(HOUR), finds="wrong", takes=100 * SECOND))
    world.at(100 * SECOND, Wakeup.RELOAD).runs(10 * MINUTE)
    assert world.ends == []


@pytest.mark.parametrize(
    "behaviour",
    [
        {"report": None, "finds": "wrong"},
        {"report": Ended(1), "takes": SECOND},
        {"report": Ended(-9), "reads": None, "takes": SECOND},
        {"report": None, "reads": None},
        {"report": None},
    ],
    ids=["wrong and hangs", "crashes after reading", "crashes before reading", "hangs before reading", "hangs"],
)
def test_every_reload_is_ended_by_a_ready_for_the_service_manager_waits_for_it(behaviour: dict[str, Any]) -> None:
    world = world_of(Outcome.ISSUED, Behaviour(**behaviour), Outcome.ISSUED)
    world.at(100 * SECOND, Wakeup.RELOAD).runs(10 * MINUTE)
    words = [one for one in world.notices() if one in ("READY=1", "RELOADING=1")]
    assert words == ["READY=1", "RELOADING=1", "READY=1"]


def test_a_reload_that_was_never_read_is_said_to_be_none() -> None:
    world = world_of(Outcome.ISSUED, Behaviour(Ended(-9), reads=None), Outcome.ISSUED)
    world.at(100 * SECOND, Wakeup.RELOAD).runs(10 * MINUTE)
    assert "configuration_rejected" in world.logged()


def test_a_refresh_that_comes_together_with_the_attempts_last_word_gets_an_attempt_of_its_own() -> None:
    world = world_of(Behaviour(None), Outcome.ISSUED)

    def last_word() -> None:
        world.running = 0
        world.inbox.append(as_of(issuing(HOUR), world.now()))

    world.at(SECOND / 2, last_word).at(SECOND / 2, Wakeup.REFRESH)
    world.runs(MINUTE)
    assert world.began() == [timedelta(0), SECOND]


def test_a_reload_is_answered_even_if_the_first_attempt_died_before_it_read_the_configuration() -> None:
    world = world_of(Behaviour(Ended(-9), reads=None), Outcome.ISSUED)
    world.at(SECOND / 2, Wakeup.RELOAD)
    world.runs(MINUTE)
    words = [one for one in world.notices() if one in ("READY=1", "RELOADING=1")]
    assert words[:3] == ["READY=1", "RELOADING=1", "READY=1"]


def test_an_attempt_of_another_version_has_the_daemon_executed_anew() -> None:
    world = world_of(Outcome.ISSUED, Outdated("2.0.0"))
    with pytest.raises(SystemExit, match="executed anew"):
        world.runs(2 * HOUR)
    assert world.logged()[-1] == "upgraded"
    assert world.notices()[-1] == "RELOADING=1"  # the new one says READY=1


def test_a_daemon_that_cannot_be_executed_anew_says_so_and_goes_on() -> None:
    refused = UnavailableError("daemon-outdated", "Cannot make an attempt", "`systemctl restart rolekeeper`")
    world = world_of(Outcome.ISSUED, Outdated("2.0.0"), anew=refused)
    assert world.runs(2 * HOUR) == 0
    assert len(world.starts) > 10
    told = world.document(2 * HOUR - SECOND)
    assert (told["state"], told["last_outcome"]["code"]) == ("backing-off", "daemon-outdated")
    assert world.notices("RELOADING=1") == ["RELOADING=1"] * (len(world.starts) - 1)
    assert world.notices("READY=1") == ["READY=1"] * len(world.starts)  # the first one is of the start
