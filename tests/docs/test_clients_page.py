"""docs/clients.md has every client and every way, and the README repeats its figures."""

import re

from tests.clients import page
from tests.clients.matrix import Cell
from tests.clients.source import WAYS
from tests.clients.table import CLIENTS, NOT_TRIED
from tests.docs.test_readme import ROOT


def test_every_client_of_the_table_is_on_the_page_and_no_other() -> None:
    assert list(page.read()) == [client.name for client in CLIENTS]
    assert all(list(row) == list(WAYS) for row in page.read().values())
    assert {word for row in page.read().values() for word in row.values()} <= set(Cell)
    text = page.PAGE.read_text(encoding="utf-8")
    assert all(f"- {name}: {why}\n" in text for name, why in NOT_TRIED.items())


def test_the_readme_has_the_figures_of_the_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(
        r"Of (\d+) clients that were\s+measured, (\d+) renew from\s+a plain file, (\d+) from a process file, and (\d+)"
        r" from the\s+endpoint",
        text,
    )
    assert found is not None
    rows = page.read().values()
    ways = (["file"], ["process file"], ["endpoint", "endpoint, token file"])
    assert [int(number) for number in found.groups()] == [
        len(rows),
        *(sum(any(row[way] == Cell.RENEWS for way in either) for row in rows) for either in ways),
    ]
