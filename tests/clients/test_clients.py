"""A sample of the matrix of clients, which `make clients` measures whole, against what docs/clients.md says."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.clients import page
from tests.clients.matrix import Cell, lacking, measure
from tests.clients.source import Source, running
from tests.clients.table import CLIENTS

ROTATIONS = 4  # longer than a token lives, wherever in its life the client begins
BY_NAME = {client.name: client for client in CLIENTS}
RESTIC, CLI = "restic (Debian 12), `backup --stdin`", "AWS CLI v1, `s3 cp`"
SAMPLE = [
    ("boto3", "file"),
    ("boto3", "process file"),
    ("boto3", "endpoint"),
    (CLI, "process file"),
    (RESTIC, "file"),
    (RESTIC, "process, config"),
    (RESTIC, "process, credentials"),
    (RESTIC, "process file"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with running(tmp_path_factory.mktemp("clients")) as source:
        yield source


@pytest.fixture(scope="module")
def cells(source: Source) -> dict[tuple[str, str], Cell]:
    """All cells of the sample, measured at the same time."""
    there = [(name, way) for name, way in SAMPLE if not lacking(BY_NAME[name])]
    with ThreadPoolExecutor(len(SAMPLE)) as pool:
        found = pool.map(lambda cell: measure(source, BY_NAME[cell[0]], cell[1], ROTATIONS), there)
        return dict(zip(there, found, strict=True))


@pytest.mark.parametrize("cell", SAMPLE, ids=" by ".join)
def test_a_client_does_what_the_page_says(cells: dict[tuple[str, str], Cell], cell: tuple[str, str]) -> None:
    if cell not in cells:
        pytest.skip(f"{lacking(BY_NAME[cell[0]])} is missing")
    assert cells[cell] == page.read()[cell[0]][cell[1]]
