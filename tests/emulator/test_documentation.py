"""docs/emulator.md against the emulator."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.emulator.conftest import exchange

from rolekeeper.emulator import Emulator
from rolekeeper.emulator.faults import Fault
from rolekeeper.emulator.operations import NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"curl -d '(.*?)'", PAGE, re.DOTALL)]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_fault_on_the_page_is_accepted(emulator: Emulator, example: Any) -> None:
    answer = exchange(emulator.url, {}, json.dumps(example).encode(), "POST", "/_emulator/faults")
    assert answer.status == 200, answer.body


def test_every_operation_is_on_the_page() -> None:
    assert [name for name in sorted(NAMES) if name not in PAGE] == []


def test_every_part_of_a_fault_is_on_the_page() -> None:
    assert [one.name for one in fields(Fault) if f"`{one.name}`" not in PAGE and f'"{one.name}"' not in PAGE] == []


def test_every_public_name_of_the_emulator_is_on_the_page() -> None:
    public = [name for name in vars(Emulator) if not name.startswith("_")]
    assert [name for name in public if f"`{name}" not in PAGE] == []
