"""`rolekeeper status --check`: one line and an exit code, as monitoring plugins of Nagios and Icinga have them.

The line is always there and always begins with OK, WARNING, CRITICAL or UNKNOWN; performance data follow the bar.
"""

from enum import IntEnum
from pathlib import Path

from rolekeeper import compose
from rolekeeper.cli import condition
from rolekeeper.cli.condition import Condition, ExitCode
from rolekeeper.core.loop.status import OutputStatus
from rolekeeper.errors import ConfigurationError, RolekeeperError
from rolekeeper.model import Freshness, Phase


class Severity(IntEnum):
    """What the monitoring shows."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


NO_DAEMON = "no daemon runs"
SEVERITIES = {ExitCode.FRESH: Severity.OK, ExitCode.STALE: Severity.WARNING, ExitCode.BAD: Severity.CRITICAL}


def run(configuration: str | None) -> int:
    """Print the line; the exit code is the severity.

    A wrong configuration is often the reason why no daemon runs. Its runtime directory is known from what is right in
    the configuration; if a file cannot be read, it is the default one for the service, and unknown for --config.
    """
    from rolekeeper.config.load import load

    try:
        loaded = load(Path(configuration) if configuration is not None else None)
        now = condition.of_everything(loaded.settings, compose.clock())
    except RolekeeperError as error:
        return _print(Severity.UNKNOWN, error.message, "")
    if loaded.problems:
        is_directory_known = configuration is None or all(problem.key for problem in loaded.problems)
        is_dead = now.pid is None and is_directory_known
        words = ConfigurationError(loaded.problems).message.splitlines()[0]
        if is_dead:
            return _print(Severity.CRITICAL, f"{NO_DAEMON}; {words}", "")
        return _print(Severity.UNKNOWN, words, "")
    severity = Severity.CRITICAL if now.pid is None else SEVERITIES.get(now.exit_code, Severity.CRITICAL)
    return _print(severity, _words(now), _performance(now))


def _print(severity: Severity, words: str, performance: str) -> int:
    print(f"{severity.name}: {words.replace('|', '/')}" + (f" | {performance}" if performance else ""))
    return severity


def _words(now: Condition) -> str:
    if now.pid is None:
        return NO_DAEMON
    if now.reported is None or now.state is Phase.UNREGISTERED:
        return "this machine is not registered"
    if now.is_outdated:
        return "the daemon runs by an older configuration"
    last = now.reported.last_outcome
    trouble = f"; {last.words}" if last is not None and last.code else ""
    bad = [one for one in now.outputs() if one.freshness is not Freshness.FRESH or one.problem]
    if bad:
        return f"{', '.join(_output(one) for one in bad)}; {now.state}{trouble}"
    if now.unserved:
        return f"endpoints: {now.unserved.message}{trouble}"
    count = len(now.outputs())
    return f"{now.reported.node_id} has fresh credentials in {count} output{'s' * (count > 1)}{trouble}"


def _output(one: OutputStatus) -> str:
    return f"{one.name} {one.freshness}" + (f" ({one.problem.code})" if one.problem else "")


def _performance(now: Condition) -> str:
    """Seconds until the first credentials expire, outputs that are fresh, and attempts."""
    if now.reported is None:
        return ""
    fresh = sum(one.freshness is Freshness.FRESH for one in now.outputs())
    values = [f"fresh_outputs={fresh};;;0;{len(now.outputs())}", f"attempts={now.reported.attempts}c"]
    if now.reported.expires_at is not None:
        left = (now.reported.expires_at - condition.service_now(now.reported, compose.clock())).total_seconds()
        values.insert(0, f"expires_in={max(0, round(left))}s")
    return " ".join(values)
