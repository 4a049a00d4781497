"""docs/clients.md: written by `make clients` from what was measured, and read by the tests."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.matrix import ROTATIONS, Cell
from tests.clients.source import LIFE, WAYS
from tests.clients.table import NOT_TRIED, Client

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BEST = ("process file", "endpoint", "endpoint, token file", "process, credentials", "process, config", "file")

WORDS = {
    "process file": "the process file",
    "endpoint": "the endpoint",
    "endpoint, token file": "the endpoint, with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`",
    "file": "a plain credentials file",
}

TOP = """\
# Which output serves which client

`make clients` writes this page. Each cell is one long-lived process of the client. A real daemon publishes the
credentials, with tokens from the emulator that live for {life} seconds, so that a new one comes about every {half}. The
process is watched through {rotations} of them. Its requests go to the emulator's STS, which verifies the signature, or
to a small S3, which accepts an access key only with its session token and until it expires.

| word | means |
|---|---|
| **{renews}** | it found the credentials and went over to the new ones; at most one request was refused, and that one \
met the expiry of its token |
| {expires} | it found the credentials, and used them when they had expired |
| {missing} | it did not find them |

With tokens of AWS, which live for an hour, `expires` is good enough for a program that ends within minutes: a token is
replaced when about half of its life is left.

## What to give it

| your program uses | give it | and set |
|---|---|---|
"""
MATRIX = """
With the process file, start the program with `AWS_SHARED_CREDENTIALS_FILE=FILE.profile`; with the endpoint, with
`EnvironmentFile=/run/rolekeeper/env/NAME`. [endpoint.md](endpoint.md) describes both outputs.

## The matrix

"""
BELOW = """
The ways:

"""


@dataclass(frozen=True)
class Row:
    """A client with its version and its cells."""

    client: Client
    cells: Mapping[str, str]

    @property
    def best(self) -> str:
        """The way that renews, in the order in which we recommend them."""
        return next((way for way in BEST if self.cells[way] == Cell.RENEWS), "")


def render(rows: Sequence[Row], skipped: Mapping[str, str]) -> str:
    """The page as text."""
    life = int(LIFE.total_seconds())
    top = TOP.format(
        life=life,
        half=life // 2,
        rotations=ROTATIONS,
        renews=Cell.RENEWS,
        expires=Cell.EXPIRES,
        missing=Cell.NOT_FOUND,
    )
    advice = [
        f"| {row.client.name} | {_advice(row)} | {row.client.configure or 'nothing more'} |\n"
        for row in sorted(rows, key=lambda row: row.best == "")
    ]
    heading = f"| client | version | {' | '.join(WAYS)} |\n|{'---|' * (2 + len(WAYS))}\n"
    matrix = [
        f"| {row.client.name} | {row.cells['version']} | {' | '.join(_word(row.cells[way]) for way in WAYS)} |\n"
        for row in rows
    ]
    ways = [f"- **{way}**: {what}\n" for way, what in WAYS.items()]
    absent = [f"- {name}: {why}\n" for name, why in {**skipped, **NOT_TRIED}.items()]
    return "".join([top, *advice, MATRIX, heading, *matrix, BELOW, *ways, "\n## Not tried\n\n", *absent])


def read() -> dict[str, dict[str, str]]:
    """The matrix of the page: client, way, word."""
    found = {}
    matrix = PAGE.read_text(encoding="utf-8").partition("## The matrix")[2].partition("The ways:")[0]
    for line in matrix.strip().splitlines()[2:]:
        name, _, *words = (re.sub(r"\*\*", "", cell.strip()) for cell in line.strip("|").split("|"))
        found[name] = dict(zip(WAYS, words, strict=True))
    return found


def _advice(row: Row) -> str:
    if row.best:
        return WORDS.get(row.best, row.best)
    way = next((way for way, cell in row.cells.items() if cell == Cell.EXPIRES), None)
    return f"{WORDS.get(way, way)}, and end within minutes" if way else "nothing: it finds none of them"


def _word(cell: str) -> str:
    return f"**{cell}**" if cell == Cell.RENEWS else cell
