"""The attempts in an hour that docs/request-bound.md states: reached, and never exceeded, class by class."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.model import Outcome

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
PAGE = Path(__file__).parents[2] / "docs" / "request-bound.md"
UNLUCKY = "mi-0000000e8d4d97a04"  # its spread falls short at one attempt after the other; one node in millions does
FLEET = [f"mi-{number:017x}" for number in range(40)]

# Each class of answer by the beginning of its row; what one attempt comes to, and the node that reaches the bound.
CLASSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "fails": (lambda loop: loop.ends_with(Outcome.FAILED), UNLUCKY),
    "refuses: ": (lambda loop: loop.ends_with(Outcome.REFUSED), FLEET[0]),
    "refuses the fingerprint": (lambda loop: loop.ends_with(Outcome.FINGERPRINT_REFUSED), FLEET[0]),
    "issues tokens that cannot be published": (lambda loop: loop.keeps_token(), UNLUCKY),
    "issues tokens that live for an hour": (lambda loop: loop.issues(), FLEET[0]),
    "issues tokens that live for seconds": (lambda loop: loop.issues(1.5 * SECOND), FLEET[0]),
}


def documented(row: str) -> int:
    """The attempts in any hour that the page's row states."""
    found = re.search(rf"^\| {re.escape(row)}[^|]*\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def live(loop: Any, answer: Callable[[Any], Any], span: timedelta) -> int:
    began = loop.now.boot
    while loop.now.boot - began < span:
        answer(loop).comes_due()
    most: int = loop.most_in_any_hour()
    return most


@pytest.mark.parametrize("row", CLASSES)
def test_the_documented_number_of_attempts_is_reached(kit: Any, row: str) -> None:
    answer, node = CLASSES[row]
    span = DAY / 12 if "seconds" in row else 3 * DAY
    assert live(kit.loop(node_id=node), answer, span) == documented(row)


@pytest.mark.parametrize("row", [row for row in CLASSES if "seconds" not in row])
def test_no_node_of_a_fleet_exceeds_the_documented_number(kit: Any, row: str) -> None:
    answer, _ = CLASSES[row]
    assert max(live(kit.loop(node_id=node), answer, DAY) for node in FLEET) <= documented(row)


def test_the_page_has_no_row_without_a_test() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| the service |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines()[2:] if "| gives any" not in line]
    assert len(rows) == len(CLASSES)
    assert all(any(row.startswith(f"| {name}") for row in rows) for name in CLASSES)


def test_answers_in_any_order_have_the_bound_of_failures() -> None:
    assert documented("gives any of these answers in any order") == documented("fails")
