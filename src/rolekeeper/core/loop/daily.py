"""Entries that the log has once a day for as long as their cause lasts, and not with each attempt."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from rolekeeper.model import Instant, LogEntry

DAY = timedelta(days=1)

Said = Mapping[str, timedelta]
"""When, on the boot clock, an entry was logged last, by what it is about."""


def news(said: Said, about: str, now: Instant) -> Said | None:
    """`said` with this entry in it, when it is to be logged now; None when it was logged less than a day ago."""
    last = said.get(about)
    return {**said, about: now.boot} if last is None or now.boot - last >= DAY else None


def filtered(
    said: Said, entries: Iterable[LogEntry], events: frozenset[str], now: Instant
) -> tuple[Said, list[LogEntry]]:
    """The entries without those of `events` that were logged less than a day ago, and what was said then."""
    kept = []
    for entry in entries:
        after = news(said, entry.event, now) if entry.event in events else said
        if after is not None:
            said = after
            kept.append(entry)
    return said, kept
