"""The attempts in an hour that docs/request-bound.md states: reached, and never exceeded, class by class."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import Loop

from rolekeeper.core.loop import delays
from rolekeeper.core.loop.states import Elapsed
from rolekeeper.model import Outcome

SECOND, DAY, TICK = timedelta(seconds=1), timedelta(days=1), timedelta(microseconds=1)
PAGE = Path(__file__).parents[2] / "docs" / "request-bound.md"
FLEET = [f"mi-{number:017x}" for number in range(40)]

# Each class of answer by the beginning of its row, and what one attempt comes to.
CLASSES: dict[str, Callable[[Any], Any]] = {
    "fails": lambda loop: loop.ends_with(Outcome.FAILED),
    "refuses: ": lambda loop: loop.ends_with(Outcome.REFUSED),
    "refuses the fingerprint": lambda loop: loop.ends_with(Outcome.FINGERPRINT_REFUSED),
    "issues tokens that cannot be published": lambda loop: loop.keeps_token(),
    "issues tokens that live for an hour": lambda loop: loop.issues(),
    "issues tokens that live for seconds": lambda loop: loop.issues(1.5 * SECOND),
}
FULL_JITTER = ("fails", "issues tokens that cannot be published")


def documented(row: str) -> int:
    """The attempts in any hour that the page's row states."""
    found = re.search(rf"^\| {re.escape(row)}[^|]*\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def live(loop: Any, row: str, span: timedelta, begins: Callable[[Any], Any]) -> int:
    began = loop.now.boot
    while loop.now.boot - began < span:
        begins(CLASSES[row](loop))
    most: int = loop.most_in_any_hour()
    return most


def when_due(loop: Any) -> None:
    loop.comes_due()


def unluckily(loop: Any) -> None:
    """The attempt begins a few microseconds late: just then when the jitter of a machine without a node id is least."""
    loop.passes(loop.state.due.remaining(loop.now))
    number = loop.state.attempts + 1
    while delays.jitter(str(loop.now.boot), number) > 0.0005:
        loop.passes(TICK)
    loop.happens(Elapsed())


@pytest.mark.parametrize("row", CLASSES)
def test_the_documented_number_of_attempts_is_reached(row: str) -> None:
    if row in FULL_JITTER:
        most = live(Loop(node_id=None), row, DAY / 12, unluckily)
    else:
        most = live(Loop(node_id=FLEET[0]), row, DAY / 12 if "seconds" in row else 3 * DAY, when_due)
    assert most == documented(row)


@pytest.mark.parametrize("row", [row for row in CLASSES if "seconds" not in row])
def test_no_node_of_a_fleet_exceeds_the_documented_number(row: str) -> None:
    assert max(live(Loop(node_id=node), row, DAY, when_due) for node in FLEET) <= documented(row)


def test_a_node_that_fails_makes_the_documented_number_of_attempts_on_average() -> None:
    found = re.search(r"(\d+) on average in the first, (\d+) in each", PAGE.read_text(encoding="utf-8"))
    assert found is not None
    fleet = [Loop(node_id=f"mi-{number:017x}") for number in range(200)]
    for loop in fleet:
        live(loop, "fails", DAY / 4, when_due)
    began = [(moment - loop.began[0]) // (DAY / 24) for loop in fleet for moment in loop.began]
    assert round(began.count(0) / len(fleet)) == int(found[1])
    assert round(sum(0 < hour < 6 for hour in began) / 5 / len(fleet)) == int(found[2])


def test_the_page_has_no_row_without_a_test() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| the service |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines()[2:] if "| gives any" not in line]
    assert len(rows) == len(CLASSES)
    assert all(any(row.startswith(f"| {name}") for row in rows) for name in CLASSES)


def test_answers_in_any_order_have_the_bound_of_failures() -> None:
    assert documented("gives any of these answers in any order") == documented("fails")
