"""docs/herd.md: its simulation is held to the supervisor, and a smaller fleet to a share of it in a second."""

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

from rolekeeper.model import Outcome

DOCS = Path(__file__).parents[2] / "docs"
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


def by_the_supervisor(kit: Any, name: str, fails_from: float) -> Iterator[float]:
    loop = kit.loop(node_id=name)
    while True:
        at = (loop.began[-1] - loop.began[0]).total_seconds()
        yield at
        loop.ends_with(Outcome.FAILED if at >= fails_from else Outcome.ISSUED, takes=AT_ONCE).comes_due()


@pytest.mark.parametrize("fails_from", [0, 3000, float("inf")])
def test_the_simulated_moments_are_the_supervisors(herd: ModuleType, kit: Any, fails_from: float) -> None:
    for name in herd.nodes(20):
        simulated = list(islice(herd.attempts(name, 0, 10**6, fails_from), 25))
        real = list(islice(by_the_supervisor(kit, name, fails_from), 25))
        assert simulated == pytest.approx(real, abs=1e-3)


def test_a_fleet_that_booted_together_asks_at_no_second_together_again(herd: ModuleType) -> None:
    seconds = herd.booted_together(NODES)
    assert seconds.pop(0) == NODES
    assert max(seconds.values()) <= NODES / 100
    assert max(count for second, count in seconds.items() if second > 5 * herd.HOUR) <= NODES / 200


def test_a_fleet_whose_service_comes_back_at_once_does_not_come_at_once(herd: ModuleType) -> None:
    assert max(herd.recoveries(NODES, together=False)) <= NODES / 100
    peaks = dict(zip(herd.WORDS, herd.recoveries(NODES, together=True), strict=True))
    assert peaks["5 min"] <= NODES / 30
    assert peaks["1 h"] <= NODES / 60


def test_the_page_is_what_the_script_draws_but_for_the_size_of_the_fleet() -> None:
    script = [sys.executable, DOCS / "draw_herd.py", "--nodes", "200"]
    drawn = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    page = (DOCS / "herd.md").read_text(encoding="utf-8")
    assert "100,000 nodes" in page
    assert re.sub(r"[\d,]*\d", "N", drawn) == re.sub(r"[\d,]*\d", "N", page), "make herd"
