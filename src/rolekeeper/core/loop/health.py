"""When the node is reported as online, and what is logged of it.

- A report begins `report_every` after the last one began, up to a tenth earlier: jitter spreads a fleet. The first one
  follows the first token.
- None begins while an attempt runs, nor before the machine is registered, nor in a hibernation: the service would
  refuse it. An attempt that begins meanwhile goes on beside it.
- The first success is logged, and the first after a failure. A failure is logged once a day for each code: it has
  no other effect, and a missing permission does not appear by itself.
"""

from collections.abc import Mapping
from datetime import timedelta

from rolekeeper.core.loop import daily, delays
from rolekeeper.core.loop.daily import Said
from rolekeeper.core.loop.states import State
from rolekeeper.model import HealthReported, Instant, LogEntry, Phase
from rolekeeper.values import NOTHING, Value, replace

LONGEST_REPORT = timedelta(minutes=1)
REPORTING = (Phase.WAITING, Phase.BACKING_OFF)


class HealthReports(Value):
    """What is remembered of them. `due` is on the boot clock; None: at once."""

    due: timedelta | None = None
    number: int = 0
    is_shown: bool = False  # the last report succeeded
    said: Said = NOTHING


def is_due(reports: HealthReports, state: State, now: Instant) -> bool:
    """Whether a report is to begin now, if there are to be any."""
    can = state.node_id is not None and state.last_success_at is not None and state.phase in REPORTING
    return can and (reports.due is None or now.boot >= reports.due)


def remaining(reports: HealthReports, now: Instant) -> timedelta | None:
    """How long until the next report; None when it has no time yet, or waits for an attempt to end."""
    left = None if reports.due is None else reports.due - now.boot
    return left if left is not None and left > timedelta(0) else None


def begun(reports: HealthReports, every: timedelta, state: State, now: Instant) -> HealthReports:
    """A report begins."""
    share = delays.jitter(state.node_id or "", reports.number)
    due = now.boot + every * (1 - delays.JITTER * share)
    return replace(reports, due=due, number=reports.number + 1)


def heard(reports: HealthReports, result: HealthReported, now: Instant) -> tuple[HealthReports, LogEntry | None]:
    """What came of a report, and what to log of it."""
    if not result.is_due:
        return reports, None
    is_shown = not result.code
    said = None if is_shown and reports.is_shown else daily.news(reports.said, result.code, now)
    reports = replace(reports, is_shown=is_shown, said=reports.said if said is None else said)
    if said is None:
        return reports, None
    if is_shown:
        message = f"Systems Manager shows {result.node_id} as online"
        return reports, LogEntry("health_reported", "info", message, _about(result))
    return reports, LogEntry("health_unreported", "warning", result.message, _about(result))


def _about(result: HealthReported) -> Mapping[str, str]:
    fields = {"node_id": result.node_id or "", "code": result.code, "hint": result.hint}
    return {name: value for name, value in fields.items() if value}
