"""Every answer of the service, through the whole attempt, has the outcome that docs/outcomes.md gives it."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.attempt.conftest import TOKEN, Machine, MovingClock, StockOfKeys, settings_in
from tests.reports import current, life

from rolekeeper.emulator import Emulator
from rolekeeper.model import NodeKey, Outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "outcomes.md"
ROW = re.compile(r"^\| `([A-Za-z]+)` \| ([a-z-]+) \|", re.MULTILINE)
CODES = ROW.findall(DOCUMENT.read_text(encoding="utf-8").partition("## Rolekeeper's own codes")[0])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, keys_made: list[NodeKey]) -> Iterator[Machine]:
    clock = MovingClock()
    with (
        Emulator(clock=lambda: clock.wall) as emulator,
        TemporaryDirectory(dir=tmp_path_factory.mktemp("machine")) as directory,
    ):
        settings = settings_in(Path(directory), emulator.url)
        machine = Machine(emulator, Path(directory), clock, settings, StockOfKeys(keys_made))
        machine.register()
        yield machine


@pytest.fixture
def steady(shared: Machine) -> Iterator[Machine]:
    """A machine with credentials from just now; what follows must not touch them."""
    assert shared.attempt().outcome is Outcome.ISSUED
    shared.emulator.forget_requests()
    before = shared.published()
    yield shared
    shared.emulator.clear_faults()
    assert shared.published() == before


@pytest.mark.parametrize(("code", "documented"), CODES)
def test_each_code_has_its_documented_outcome(steady: Machine, code: str, documented: str) -> None:
    steady.emulator.fail(TOKEN, error=code, times=None)
    report = steady.attempt()
    assert report.outcome == documented
    assert report.message.startswith("Cannot request a role token")
    assert report.hint
    assert report.request_id == steady.requests()[-1].request_id
    assert current(report) == ()
    assert life(report) is not None
    assert len(steady.requests()) == 1


@pytest.mark.parametrize("code", ["MachineFingerprintDoesNotMatch", "InvalidInstanceId", "AccessDeniedException"])
@pytest.mark.parametrize("prefix", ["", "com.amazonaws.ssm#"])
def test_a_code_counts_with_its_prefix_and_in_the_header(steady: Machine, code: str, prefix: str) -> None:
    expected = dict(CODES)[code.removesuffix("Exception")]
    steady.emulator.fail(TOKEN, error=code, error_in_header=True)
    assert steady.attempt().outcome == expected
    body = f'{{"__type": "{prefix}{code}", "Message": "no"}}'
    steady.emulator.fail(TOKEN, body=body, status=400, content_type="application/x-amz-json-1.1")
    assert steady.attempt().outcome == expected


def test_a_node_that_was_deregistered_is_unknown(machine: Machine) -> None:
    machine.emulator.deregister(machine.node_id)
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.NODE_UNKNOWN, "InvalidInstanceId")
    assert machine.vault().registration is not None
