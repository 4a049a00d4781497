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
EXAMPLES = [(path, json.loads(text)) for text, path in re.findall(r"curl -d '(.*?)'[ \n\\]+\S+/(\w+)", PAGE, re.DOTALL)]


def test_there_are_examples() -> None:
    assert {path for path, _ in EXAMPLES} == {"faults", "roles"}
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_every_example_on_the_page_is_accepted(emulator: Emulator, path: str, example: Any) -> None:
    answer = exchange(emulator.url, {}, json.dumps(example).encode(), "POST", f"/_emulator/{path}")
    assert answer.status == 200, answer.body


def test_every_operation_is_on_the_page() -> None:
    assert [name for name in sorted(NAMES) if name not in PAGE] == []


def test_every_part_of_a_fault_is_on_the_page() -> None:
    assert [one.name for one in fields(Fault) if f"`{one.name}`" not in PAGE and f'"{one.name}"' not in PAGE] == []


def test_every_public_name_of_the_emulator_is_on_the_page() -> None:
    public = [name for name in vars(Emulator) if not name.startswith("_")]
    assert [name for name in public if f"`{name}" not in PAGE] == []
