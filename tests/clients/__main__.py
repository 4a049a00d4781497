"""`make clients`: measure the matrix, and write docs/clients.md. Words choose the clients whose name has one of them.

What was measured before is kept in build/clients/cells.json, so that a client can be measured anew by itself.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.clients import page
from tests.clients.matrix import PLACES, Cell, NotMeasuredError, lacking, measure, version
from tests.clients.source import WAYS, Source, running
from tests.clients.table import CLIENTS, Client

AT_A_TIME = 8
TRIES = 2  # a machine that is too busy to publish in time says nothing about a client
KEPT = Path(PLACES["built"], "cells.json")


def main(words: Sequence[str]) -> int:
    """Measure, print, and write the page; the exit code says whether every cell was measured."""
    chosen = [client for client in CLIENTS if not words or any(word in client.name for word in words)]
    skipped = {client.name: f"{needed} is missing" for client in chosen if (needed := lacking(client))}
    cells = [(client, way) for way in WAYS for client in chosen if client.name not in skipped]
    with (
        tempfile.TemporaryDirectory(prefix="rolekeeper-clients-") as directory,
        running(Path(directory)) as source,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        found = list(pool.map(lambda cell: _measured(source, *cell), cells))
    rows = _kept()
    for (client, way), cell in zip(cells, found, strict=True):
        rows.setdefault(client.name, {})["version"] = version(client)
        if cell is not None:
            rows[client.name][way] = cell
    KEPT.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    whole = [page.Row(client, rows[client.name]) for client in CLIENTS if rows.get(client.name, {}).keys() >= set(WAYS)]
    page.PAGE.write_text(page.render(whole, skipped), encoding="utf-8")
    for name, why in skipped.items():
        print(f"skipped: {name}: {why}")
    print(f"{len(found) - found.count(None)} cells measured, {found.count(None)} not, {len(skipped)} clients skipped")
    return int(None in found)


def _kept() -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return rows


def _measured(source: Source, client: Client, way: str) -> Cell | None:
    for _ in range(TRIES):
        try:
            cell = measure(source, client, way)
        except NotMeasuredError as error:
            print(f"{client.name}, {way}: not measured: {error}", flush=True)
        else:
            print(f"{client.name}, {way}: {cell}", flush=True)
            return cell
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
