from datetime import timedelta
from pathlib import Path

import pytest
from tests.sinks import Sink, file_sink


@pytest.fixture
def naps() -> list[timedelta]:
    """How long the sink under test slept, nap by nap; no time passes."""
    return []


@pytest.fixture
def sink(naps: list[timedelta], tmp_path: Path) -> Sink:
    return file_sink(naps.append, home=tmp_path)
