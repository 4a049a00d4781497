"""docs/states.md is what the table draws."""

import subprocess
import sys
from pathlib import Path

from rolekeeper.model import Outcome, Phase

DOCS = Path(__file__).parents[2] / "docs"


def test_the_diagram_is_the_one_that_the_table_draws() -> None:
    drawn = subprocess.run([sys.executable, DOCS / "draw_states.py"], check=True, capture_output=True, text=True)
    assert (DOCS / "states.md").read_text(encoding="utf-8") == drawn.stdout, (
        "python docs/draw_states.py > docs/states.md"
    )


def test_the_diagram_names_every_state_and_every_outcome() -> None:
    page = (DOCS / "states.md").read_text(encoding="utf-8")
    assert all(phase.value.title().replace("-", "") in page for phase in Phase)
    assert all(outcome.value in page for outcome in Outcome)
