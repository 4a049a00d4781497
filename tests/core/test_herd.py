"""docs/herd.md: its simulation is that of the loop, and a fleet of its size reaches the goal that it states."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.core.conftest import Loop

from rolekeeper.model import Outcome

DOCS = Path(__file__).parents[2] / "docs"
FLEET = 100_000
NODES = 2000
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def herd() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_herd", DOCS / "draw_herd.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_the_loop(name: str, fails_from: float, takes: float) -> Iterator[float]:
    loop = Loop(node_id=name)
    while True:
        at = (loop.began[-1] - loop.began[0]).total_seconds()
        yield at
        if at >= fails_from:
            loop.ends_with(Outcome.FAILED, takes=timedelta(seconds=takes)).comes_due()
        else:
            loop.ends_with(Outcome.ISSUED, takes=AT_ONCE).comes_due()


@pytest.mark.parametrize(("fails_from", "takes"), [(0, 0), (3000, 0), (float("inf"), 0), (0, 1.9), (0, 30), (0, 300)])
def test_the_simulated_moments_are_those_of_the_loop(herd: ModuleType, fails_from: float, takes: float) -> None:
    for name in herd.nodes(20):
        simulated = list(islice(herd.attempts(name, 0, 10**6, fails_from, herd.failing(takes)), 25))
        real = list(islice(by_the_loop(name, fails_from, takes), 25))
        assert simulated == pytest.approx(real, abs=1e-3)


@pytest.mark.parametrize("takes", [0, 1.9, 2, 30, 120, 300])
def test_after_10_seconds_of_any_outage_no_second_sees_more_than_2_percent_of_100_000_nodes(
    herd: ModuleType, takes: float
) -> None:
    """Of every attempt in an outage that never ends, which is more than comes after one that ends then."""
    assert herd.endless(FLEET, takes)[1] <= 0.02 * FLEET


def test_no_refresh_after_a_common_boot_sees_more_than_2_percent_in_a_second(herd: ModuleType) -> None:
    seconds = herd.booted_together(NODES)
    assert seconds.pop(0) == NODES
    assert max(seconds.values()) <= NODES / 100
    assert max(count for second, count in seconds.items() if second > 5 * herd.HOUR) <= NODES / 200
    assert herd.busiest_of(FLEET, 0.1 * herd.HOUR) <= 0.02 * FLEET  # with `[refresh] at` at its least


def test_an_outage_that_ends_sees_no_more_than_one_that_does_not(herd: ModuleType) -> None:
    bound = 1.5 * 0.02 * NODES  # of so few nodes, by chance
    for together in (False, True):
        peaks = {word: max(seconds.values()) for word, seconds in returns(herd, together=together).items()}
        assert max(peak for word, peak in peaks.items() if word != "2 s") <= bound


def returns(herd: ModuleType, *, together: bool) -> Any:
    return herd.returns(NODES, herd.failing(0), together=together)


def test_the_page_is_what_the_script_draws_but_for_the_size_of_the_fleet() -> None:
    script = [sys.executable, DOCS / "draw_herd.py", "--nodes", "200"]
    drawn = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    page = (DOCS / "herd.md").read_text(encoding="utf-8")
    assert "100,000 nodes" in page
    assert re.sub(r"[\d,]*\d", "N", drawn) == re.sub(r"[\d,]*\d", "N", page), "make herd"
