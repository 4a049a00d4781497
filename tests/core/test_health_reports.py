"""When a node is reported as online, and what is logged of it and of long sessions, in virtual time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.core.conftest import OUTPUT

from rolekeeper.core import attemptlog
from rolekeeper.core.loop import health
from rolekeeper.core.loop.health import HealthReports
from rolekeeper.core.loop.states import Finished
from rolekeeper.model import (
    AttemptReport,
    HealthReported,
    Holding,
    Lifetime,
    LogEntry,
    NodeKey,
    Outcome,
    OutputName,
    OutputReport,
    Registration,
    RoleToken,
    TokenAnswer,
)
from rolekeeper.values import replace

EVERY, MINUTE, HOUR, DAY = timedelta(minutes=5), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DENIED = HealthReported("mi-1", code="AccessDeniedException", message="Cannot report mi-1", hint="give it")
SHOWN = HealthReported("mi-1")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_first_report_follows_the_first_token(loop: Any) -> None:
    assert not health.is_due(HealthReports(), loop.state, loop.now)
    loop.ends_with(Outcome.ISSUED)
    assert health.is_due(HealthReports(), loop.state, loop.now)


NEVER = {
    "during an attempt": lambda loop: loop.ends_with(Outcome.ISSUED).comes_due(),
    "without a registration": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.UNREGISTERED),
    "in a hibernation": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.FINGERPRINT_REFUSED),
    "before there was a token": lambda loop: loop.ends_with(Outcome.FAILED),
}


@pytest.mark.parametrize("when", NEVER)
def test_none_begins(loop: Any, when: str) -> None:
    NEVER[when](loop)
    assert not health.is_due(HealthReports(), loop.state, loop.now)


def test_reports_go_on_while_attempts_fail_and_credentials_are_good(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.FAILED)
    assert health.is_due(HealthReports(), loop.state, loop.now)


def test_the_next_comes_after_the_interval_or_up_to_a_tenth_earlier(loop: Any) -> None:
    loop.ends_with(Outcome.ISSUED)
    reports, intervals = HealthReports(), []
    for _ in range(200):
        began = loop.now.boot
        reports = health.begun(reports, EVERY, loop.state, loop.now)
        assert not health.is_due(reports, loop.state, loop.now)
        left = health.remaining(reports, loop.now)
        assert left is not None
        loop.passes(left)
        assert health.is_due(reports, loop.state, loop.now)
        assert health.remaining(reports, loop.now) is None
        intervals.append(loop.now.boot - began)
    assert EVERY * 0.9 <= min(intervals) < EVERY * 0.91
    assert EVERY * 0.99 < max(intervals) <= EVERY


def told(loop: Any, *answers: tuple[HealthReported, timedelta]) -> list[LogEntry]:
    reports, entries = HealthReports(), []
    for answer, before in answers:
        loop.passes(before)
        reports, entry = health.heard(reports, answer, loop.now)
        entries += [entry] if entry else []
    return entries


def test_a_missing_permission_is_logged_once_a_day_with_the_remedy(loop: Any) -> None:
    entries = told(loop, *[(DENIED, EVERY)] * (3 * 288))
    assert [(entry.event, entry.level) for entry in entries] == [("health_unreported", "warning")] * 3
    assert entries[0].message == DENIED.message
    assert entries[0].fields == {"node_id": "mi-1", "code": "AccessDeniedException", "hint": "give it"}


def test_another_failure_on_the_same_day_is_another_entry(loop: Any) -> None:
    other = replace(DENIED, code="throttled")
    assert len(told(loop, (DENIED, EVERY), (other, EVERY), (DENIED, EVERY), (other, EVERY))) == 2


def test_that_it_is_shown_is_logged_at_first_and_not_at_each_report(loop: Any) -> None:
    entries = told(loop, *[(SHOWN, EVERY)] * 1000)
    assert [(entry.event, entry.level) for entry in entries] == [("health_reported", "info")]
    entries = told(loop, (SHOWN, EVERY), (DENIED, 25 * HOUR), (SHOWN, EVERY), (SHOWN, EVERY))
    assert [entry.event for entry in entries] == ["health_reported", "health_unreported", "health_reported"]


def test_what_goes_up_and_down_all_day_is_no_flood(loop: Any) -> None:
    assert len(told(loop, *[(SHOWN, EVERY), (DENIED, EVERY)] * 100)) == 2


def test_nothing_to_report_with_is_no_entry(loop: Any) -> None:
    assert told(loop, (HealthReported(is_due=False), EVERY)) == []


def answer(life: timedelta) -> TokenAnswer:
    return TokenAnswer(RoleToken("ASIA", "s", "t", NOON + life), NOON, timedelta(0))


@pytest.mark.parametrize(("life", "said"), [(HOUR, ""), (HOUR + MINUTE, ""), (1.5 * HOUR, "1.5"), (12 * HOUR, "12")])
def test_a_session_is_long_above_an_hour(life: timedelta, said: str) -> None:
    node = Registration("mi-1", "eu-central-1", NodeKey("", NOON))
    entries = attemptlog.long_session(node, answer(life))
    assert len(entries) == bool(said)
    for entry in entries:
        assert (entry.event, entry.level) == ("long_session", "warning")
        assert f"live {said} hours: a copy" in entry.message
        assert "one hour" in entry.fields["hint"]


def test_a_long_session_is_logged_once_a_day(loop: Any) -> None:
    entry = LogEntry("long_session", "warning", "Role tokens live 12 hours")
    for _ in range(10):  # every six hours or so
        life = Lifetime(loop.now.wall, loop.now.wall + 12 * HOUR, loop.now.boot)
        held = OutputReport(OutputName(OUTPUT, "default"), "", Holding.OURS, "ASIANODE", life, is_current=True)
        report = AttemptReport(Outcome.ISSUED, node_id=loop.node_id, outputs=(held,), entries=(entry,))
        loop.happens(Finished(report)).comes_due()
    assert 2 * DAY < loop.now.boot - loop.began[0] < 3 * DAY
    assert loop.events().count("long_session") == 3
