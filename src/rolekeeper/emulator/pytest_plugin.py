"""A pytest fixture: a fresh emulator for each test that uses it.

pytest loads this module in every run where rolekeeper is installed, so it imports nothing but pytest until the fixture
is used.
"""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rolekeeper.emulator.emulator import Emulator


@pytest.fixture
def rolekeeper_emulator() -> Iterator["Emulator"]:
    """A running emulator of Systems Manager's hybrid activations, in memory, on a free port of 127.0.0.1."""
    try:
        module = importlib.import_module("rolekeeper.emulator.emulator")
    except ModuleNotFoundError as error:
        pytest.fail(f"The emulator needs {error.name}: install rolekeeper from its sources with [emulator].")
    with module.Emulator() as emulator:
        yield emulator
