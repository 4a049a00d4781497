"""How a series of attempts without success reads in the log: its beginning, each new reason, and its end.

An outage of a night is hundreds of attempts with the same reason, and an entry for each would hide everything else. So
an attempt is worth a warning when

- it is the first that fails, or fails for another reason than the last that had a warning;
- it was requested, by `rolekeeper refresh`, a reload or a start;
- the last warning is an hour old.

The entries of the others have the level debug. The attempt that ends the series says how long it was.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rolekeeper.core.jsonvalues import shown
from rolekeeper.model import AttemptReport, Instant, LogEntry, Outcome, OutputName
from rolekeeper.values import Value, replace

EVERY = timedelta(hours=1)

Reason = tuple[Outcome, str, frozenset[OutputName]]
"""The outcome, its code, and the outputs that have a problem."""


class Trouble(Value):
    """The attempts that failed since the last success; `warned_boot` is when the log had the last warning."""

    since_at: datetime
    attempts: int
    reason: Reason
    warned_boot: timedelta


def failed(
    before: Trouble | None, report: AttemptReport, began: Instant, *, is_scheduled: bool
) -> tuple[Trouble, bool]:
    """The series with the attempt that began then, and whether that attempt is worth a warning."""
    reason = (report.outcome, report.code, frozenset(_troubled(report)))
    if before is None:
        return Trouble(began.wall, 1, reason, began.boot), True
    series = replace(before, attempts=before.attempts + 1)
    if is_scheduled and reason == before.reason and began.boot - before.warned_boot < EVERY:
        return series, False
    return replace(series, reason=reason, warned_boot=began.boot), True


def _troubled(report: AttemptReport) -> Iterable[OutputName]:
    return (one.name for one in report.outputs if one.problem is not None)


def reason(trouble: Trouble, report: AttemptReport) -> str:
    """Why the attempt failed; only what it came to when another entry of the same attempt has just said why."""
    is_said = trouble.attempts == 1 and any(report.message in entry.message for entry in report.entries)
    return report.outcome.value if is_said else report.message


def length(trouble: Trouble) -> str:
    """How many attempts have failed since when; nothing of the first."""
    if trouble.attempts == 1:
        return ""
    return f"{trouble.attempts} attempts have failed since {shown(trouble.since_at)}; "


def ended(trouble: Trouble | None) -> tuple[LogEntry, ...]:
    """The entry about the end of the series, if there was one."""
    if trouble is None:
        return ()
    count = f"{trouble.attempts} attempts" if trouble.attempts > 1 else "1 attempt"
    message = f"Recovered: every output has fresh credentials, after {count} had failed since {shown(trouble.since_at)}"
    return (LogEntry("recovered", "info", message),)
