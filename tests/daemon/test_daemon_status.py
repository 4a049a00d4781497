"""What status.json and the status line hold, moment by moment, in virtual time."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.daemon.conftest import issuing, world_of

from rolekeeper.core.loop.status import FIELDS
from rolekeeper.errors import InputOutputError
from rolekeeper.model import Outcome
from rolekeeper.ports import Wakeup

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def states(world: Any) -> list[str]:
    """Those that status.json went through."""
    seen = [told.what["state"] for told in world.documents]
    return seen[:1] + [after for before, after in pairwise(seen) if after != before]


def test_status_goes_through_every_state() -> None:
    world = world_of(Outcome.UNREGISTERED, Outcome.FAILED, Outcome.REFUSED, Outcome.FINGERPRINT_REFUSED, Outcome.ISSUED)
    world.at(MINUTE, world.writes_vault).runs(20 * MINUTE)
    expected = ["unregistered", "backing-off", "backing-off", "hibernating"]
    between = [state for one in expected for state in ("attempting", one)]
    assert states(world) == [*between, "waiting", "stopping"]  # the probe that ended it was a part of the hibernation
    words = ["Unregistered", "Backing off", "Hibernating", "Waiting", "Stopping", "Attempt 4"]
    assert all(any(line.startswith(f"STATUS={word}") for line in world.notices("STATUS=")) for word in words)


def test_every_document_has_every_field_and_says_who_wrote_it() -> None:
    world = world_of(Outcome.FAILED, Outcome.ISSUED, Outcome.NODE_UNKNOWN)
    world.runs(HOUR)
    assert all(tuple(told.what) == FIELDS for told in world.documents)
    assert {(told.what["pid"], told.what["version"]) for told in world.documents} == {(4711, "1.2.3")}


def test_status_is_written_when_something_changed_and_only_then() -> None:
    world = world_of(Outcome.NODE_UNKNOWN)
    world.runs(10 * DAY)
    assert len(world.documents) <= 2 * len(world.starts) + 1
    assert all(before.what != after.what for before, after in pairwise(world.documents))
    lines = world.notices("STATUS=")
    assert all(before != after for before, after in pairwise(lines))


@pytest.mark.parametrize("life", [40 * SECOND, 10 * MINUTE, HOUR, 12 * HOUR])
def test_freshness_is_written_at_the_very_moment_when_it_changes(life: timedelta) -> None:
    world = world_of(issuing(life), Outcome.NODE_UNKNOWN)
    world.runs(3 * life)
    issued = world.documents[0].at if world.documents[0].what["expires_at"] else world.documents[1].at
    changes = [
        (after.at - issued, after.what["freshness"])
        for before, after in pairwise(world.documents)
        if before.what["freshness"] != after.what["freshness"] and before.what["expires_at"]
    ]
    assert changes == [(0.75 * life, "stale"), (life, "expired")]
    assert any("expired at" in line for line in world.notices("STATUS="))


@pytest.mark.parametrize("step", [-DAY, 365 * DAY])
def test_freshness_is_not_moved_by_a_clock_that_steps(step: timedelta) -> None:
    world = world_of(Outcome.ISSUED, Outcome.NODE_UNKNOWN)
    world.at(10 * MINUTE, world.sets_clock(step)).runs(2 * HOUR)
    assert world.document(40 * MINUTE)["freshness"] == "fresh"
    assert world.document(46 * MINUTE)["freshness"] == "stale"
    assert world.document(61 * MINUTE)["freshness"] == "expired"


def test_a_step_of_the_clock_makes_no_credentials_older_or_younger() -> None:
    world = world_of(Outcome.FAILED, Outcome.ISSUED, issuing(2 * HOUR), Outcome.NODE_UNKNOWN)
    world.at(10 * MINUTE, world.sets_clock(-HOUR)).runs(3 * HOUR)
    outputs = [output for told in world.documents for output in told.what["outputs"]]
    assert {told.what["boot_id"] for told in world.documents} == {"b00t"}
    lives = {tuple(output["life"].values()) for output in outputs if output["life"]}
    assert len(lives) == 2
    assert all(output["expires_at"] == output["life"]["expires_at"] for output in outputs if output["life"])


def test_a_status_that_cannot_be_written_is_said_once_stops_nothing_and_is_written_soon_after_the_remedy() -> None:
    full = InputOutputError("disk-full", "Cannot write /run/rolekeeper/status.json: No space left on device", "free")
    world = world_of(Outcome.ISSUED, write_fails=full)
    world.at(5 * HOUR, lambda: setattr(world, "write_fails", None))
    assert world.runs(6 * HOUR) == 0
    assert len(world.starts) > 10
    (entry,) = [told.what for told in world.entries if told.what[0] == "status_unwritten"]
    assert entry == ("status_unwritten", "warning", full.message, {"code": "disk-full", "hint": "free"})
    assert world.documents[0].at <= 5 * HOUR + MINUTE
    assert world.documents[0].what["state"] == "waiting"


def test_the_outcome_of_a_refresh_is_in_status_as_soon_as_it_is_known() -> None:
    world = world_of(Outcome.ISSUED, Outcome.REFUSED)
    world.at(90 * SECOND, Wakeup.REFRESH).runs(2 * MINUTE)
    told = world.document(90 * SECOND + timedelta(milliseconds=300))
    assert told["last_outcome"]["outcome"] == "refused"
    assert told["attempts"] == 2
    assert told["freshness"] == "fresh"
