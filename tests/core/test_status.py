"""What status.json and the status line say, state by state."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rolekeeper.core import schedule, status
from rolekeeper.core.wire import rfc3339
from rolekeeper.model import FingerprintSummary, Outcome, Verdict

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# design: status.json, and what a reader needs to compute the freshness of its own moment
FIELDS = (
    "state node_id region freshness expires_at issued_at clock_difference refresh_at next_attempt_at last_success_at "
    "last_outcome attempts outputs fingerprint pid version"
)

STATES: dict[str, Callable[[Any], Any]] = {
    "attempting": lambda loop: loop,
    "unregistered": lambda loop: loop.ends_with(Outcome.UNREGISTERED, message="No registration in the vault"),
    "waiting": lambda loop: loop.ends_with(Outcome.ISSUED),
    "backing-off": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.FAILED),
    "hibernating": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.NODE_UNKNOWN),
    "stopping": lambda loop: loop.ends_with(Outcome.ISSUED).stop(),
}


def document(loop: Any) -> dict[str, Any]:
    return status.document(loop.state, loop.now, 4711, "1.2.3")


def line(loop: Any) -> str:
    return status.line(loop.state, loop.now)


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_the_same_fields_in_the_same_order(loop: Any, state: str) -> None:
    told = document(STATES[state](loop))
    assert told["state"] == state
    assert list(told) == FIELDS.split() == list(status.FIELDS)
    assert json.loads(json.dumps(told)) == told


def test_a_daemon_that_was_just_started_knows_nothing_yet(loop: Any) -> None:
    told = document(loop)
    known = {name for name, value in told.items() if value is not None}
    assert known == {"state", "freshness", "attempts", "outputs", "pid", "version"}
    assert (told["freshness"], told["attempts"], told["pid"], told["version"]) == ("absent", 1, 4711, "1.2.3")
    assert told["outputs"] == [{"path": "/root/.aws/credentials", "profile": "default", "published_at": None}]


def test_a_node_that_waits_tells_everything(loop: Any) -> None:
    told = document(loop.ends_with(Outcome.ISSUED))
    assert told == told | {
        "node_id": loop.node_id,
        "region": "eu-central-1",
        "freshness": "fresh",
        "issued_at": "2026-11-23T12:00:00.200000Z",
        "expires_at": "2026-11-23T13:00:00.200000Z",
        "clock_difference": 0.0,
        "refresh_at": rfc3339(loop.state.due.wall),
        "next_attempt_at": rfc3339(loop.state.due.wall),
        "last_success_at": "2026-11-23T12:00:00.200000Z",
        "last_outcome": {"outcome": "issued", "code": "", "message": "", "at": "2026-11-23T12:00:00.200000Z"},
        "outputs": [
            {"path": "/root/.aws/credentials", "profile": "default", "published_at": "2026-11-23T12:00:00.200000Z"}
        ],
    }


def test_a_failure_is_told_beside_the_last_success(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.REFUSED)
    told = document(loop)
    assert told["last_outcome"] == {
        "outcome": "refused",
        "code": "refused",
        "message": "Cannot: refused",
        "at": rfc3339(loop.now.wall),
    }
    assert told["last_success_at"] == "2026-11-23T12:00:00.200000Z"
    assert told["refresh_at"] is None
    assert told["next_attempt_at"] == rfc3339(loop.state.due.wall)
    assert told["attempts"] == 2


def test_the_fingerprint_is_told_in_figures(loop: Any) -> None:
    loop.ends_with(Outcome.FINGERPRINT_REFUSED, fingerprint=FingerprintSummary(Verdict.NOT_SIMILAR, 3, 9, 40))
    assert document(loop)["fingerprint"] == {"verdict": "not-similar", "matched": 3, "compared": 9, "threshold": 40}


def test_credentials_that_were_there_already_keep_the_time_of_their_publication(loop: Any) -> None:
    told = document(loop.issues(age=10 * MINUTE, spared=True))
    assert told["outputs"][0]["published_at"] == told["issued_at"] == "2026-11-23T11:50:00Z"


def test_a_spared_request_does_not_publish_anew(loop: Any) -> None:
    loop.passes(2 * MINUTE).issues(age=2 * MINUTE)  # a token that could not be published at first
    loop.passes(5 * MINUTE).reload().issues(age=7 * MINUTE, spared=True)
    assert document(loop)["outputs"][0]["published_at"] == "2026-11-23T12:02:00Z"


@pytest.mark.parametrize("ahead", [-HOUR, 3 * MINUTE, HOUR])
def test_a_reader_can_compute_freshness_from_its_own_clock(loop: Any, ahead: timedelta) -> None:
    told = document(loop.issues(service_ahead=ahead))
    assert told["clock_difference"] == ahead.total_seconds()
    loop.passes(20 * MINUTE).sets_clock(HOUR)  # and a machine whose clock is set learns the new difference
    assert document(loop)["clock_difference"] == (ahead - HOUR).total_seconds()


def test_the_clock_difference_is_whole_seconds_and_does_not_flicker(loop: Any) -> None:
    loop.issues(service_ahead=timedelta(seconds=2.4))
    seen = {document(loop.passes(timedelta(microseconds=1)))["clock_difference"] for _ in range(50)}
    assert seen == {2.0}


LINES = {
    "attempting": "Attempt 1 is under way; no node id yet; no credentials published",
    "unregistered": (
        "Unregistered: waiting for `rolekeeper register` or `rolekeeper adopt`; "
        "no node id yet; no credentials published"
    ),
    "waiting": (
        "Waiting for the refresh point; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z; "
        "next attempt at DUE"
    ),
    "backing-off": (
        "Backing off: Cannot: failed; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z; "
        "next attempt at DUE"
    ),
    "hibernating": (
        "Hibernating: error occurred in RequestManagedInstanceRoleToken: node-unknown; NODE in eu-central-1; "
        "credentials fresh until 2026-11-23T13:00:00Z; next probe at DUE"
    ),
    "stopping": "Stopping; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z",
}


@pytest.mark.parametrize("state", STATES)
def test_the_line_says_state_node_expiry_and_next_step(loop: Any, state: str) -> None:
    STATES[state](loop)
    due = rfc3339(loop.state.due.wall.replace(microsecond=0)) if loop.state.due else "never"
    assert line(loop) == LINES[state].replace("NODE", loop.node_id).replace("DUE", due)


def test_credentials_go_from_fresh_over_stale_to_expired(loop: Any) -> None:
    loop.ends_with(Outcome.ISSUED)
    for word in ("fresh until", "stale until", "expired at"):
        assert line(loop).split("; ")[2] == f"credentials {word} 2026-11-23T13:00:00Z"
        assert document(loop)["freshness"] == word.split()[0]
        loop.passes(schedule.next_change(loop.state.credentials, loop.now) or HOUR)
