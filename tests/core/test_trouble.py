"""How a series of failed attempts reads in the log (core/loop/trouble.py)."""

from datetime import timedelta
from typing import Any

import pytest
from tests.core.conftest import Loop

from rolekeeper.model import LogEntry, Outcome, OutputName, OutputProblem, OutputReport

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def told(loop: Any, level: str = "warning") -> list[str]:
    return [one.message for one in loop.records if one.event == "backing_off" and one.level == level]


def outage(loop: Any, length: timedelta, outcome: Outcome = Outcome.FAILED, **fields: object) -> int:
    """Attempts fail for so long; how many."""
    began, until = len(loop.began), loop.now.boot + length
    while loop.now.boot < until:
        loop.ends_with(outcome, **fields).comes_due()
    return len(loop.began) - began


def test_a_night_of_the_same_failure_is_an_entry_an_hour_and_none_is_lost_at_debug() -> None:
    loop = Loop()
    attempts = outage(loop, 8 * HOUR)
    assert len(told(loop)) in (8, 9)
    assert len(told(loop)) + len(told(loop, "debug")) == attempts > 200


def test_each_entry_after_the_first_says_how_many_attempts_failed_and_since_when() -> None:
    loop = Loop()
    outage(loop, 2 * HOUR)
    first, second, *_ = told(loop)
    assert first.startswith("Attempt 1: Cannot: failed; next attempt at 2026-11-23T12:00:0")
    assert " attempts have failed since 2026-11-23T12:00:00Z; next attempt at 2026-11-23T13:" in second


def test_a_reason_that_another_entry_of_the_attempt_gives_is_not_said_twice() -> None:
    loop = Loop()
    entry = LogEntry("role_failed", "warning", "The outputs of the role web keep what they hold: Cannot assume it")
    refused = {"message": "Cannot assume it", "entries": (entry,)}
    outage(loop, 2 * HOUR, Outcome.ROLE_REFUSED, **refused)
    assert [one.message.count("Cannot assume it") for one in loop.records if one.level == "warning"][:3] == [1, 0, 1]
    assert told(loop)[0].startswith("Attempt 1: role-refused; next attempt at ")


def test_the_end_of_an_outage_is_told_with_its_length() -> None:
    loop = Loop()
    attempts = outage(loop, 10 * MINUTE)
    loop.issues()
    assert loop.events()[-2:] == ["credentials_published", "recovered"]
    ended = loop.records[-1]
    assert ended.level == "info"
    assert ended.message.endswith(f"after {attempts} attempts had failed since 2026-11-23T12:00:00Z")
    assert loop.comes_due().issues().events()[-1] == "credentials_published"


def test_another_reason_is_news() -> None:
    loop = Loop()
    for code in ("unreachable", "unreachable", "tls-failed", "tls-failed", "unreachable"):
        loop.ends_with(Outcome.FAILED, code=code).comes_due()
    assert len(told(loop)) == 3


@pytest.mark.parametrize("path", ["/root/.aws/credentials", "/srv/another"])
def test_another_output_with_the_same_problem_is_news(path: str) -> None:
    loop = Loop()
    problem = OutputProblem("read-only", "Cannot write", "open it")
    for name in ("/root/.aws/credentials", path):
        lacking = OutputReport(OutputName(name, "default"), problem=problem)
        loop.ends_with(Outcome.UNPUBLISHED, outputs=(lacking,)).comes_due()
    assert len(told(loop)) == (1 if path == "/root/.aws/credentials" else 2)


@pytest.mark.parametrize("request_it", ["refresh", "reload"])
def test_what_somebody_requested_is_told_each_time(request_it: str) -> None:
    loop = Loop()
    for _ in range(3):
        loop.ends_with(Outcome.FAILED).passes(MINUTE)
        getattr(loop, request_it)()
    assert len(told(loop)) == 3


def test_a_hibernation_ends_the_series_and_has_entries_of_its_own() -> None:
    loop = Loop()
    outage(loop, MINUTE)
    loop.ends_with(Outcome.FINGERPRINT_REFUSED).comes_due().issues()
    assert "recovered" not in loop.events()
    assert loop.events()[-1] == "hibernation_left"
