"""`rolekeeper status`: how the running daemon and the credentials are, and what to do first."""

import argparse
from datetime import datetime, timedelta

from rolekeeper import compose, durations
from rolekeeper.adapters.supervision import unit
from rolekeeper.cli import health, plugin
from rolekeeper.cli.health import Health
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.core import similarity
from rolekeeper.core.jsonvalues import rfc3339
from rolekeeper.core.loop import status
from rolekeeper.core.loop.status import Document, OutputStatus
from rolekeeper.model import Freshness, OutputKind
from rolekeeper.settings import Settings

EXAMPLE = "rolekeeper status || journalctl -u rolekeeper -n 20"
OUTDATED = "the daemon runs by an older configuration"
EVERY = timedelta(seconds=2)


def configure(parser: argparse.ArgumentParser) -> None:
    """Three forms for three readers; the exit codes are this verb's own."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "--check", action="store_true", help="one line and exit code for monitoring plugins (Nagios, Icinga)"
    )
    form.add_argument("--watch", action="store_true", help="print it again when it changes, until interrupted")
    parser.epilog = (
        f"{parser.epilog}\n\nexit codes:\n  0  fresh credentials in every output\n"
        "  1  stale, backing off with valid credentials, or an older configuration\n"
        "  2  expired, absent, held by another program, or hibernating\n"
        "  3  not registered, or no daemon runs\n  78 the configuration is wrong\n\n"
        "with --check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN"
    )


def run(options: argparse.Namespace) -> int:
    """Print it."""
    if options.check:
        return plugin.run(options.config)
    settings = compose.settings(options.config)
    if options.watch:
        _watch(settings)
    now = health.read(settings, compose.clock())
    if options.json:
        print_json(now.document if now.document is not None else dict.fromkeys(status.FIELDS))
    _complain(now, settings)
    if not options.json and now.document is not None:
        print(_text(now.document, compose.clock().now().wall))
    return now.exit_code


def _watch(settings: Settings) -> None:
    clock, last = compose.clock(), ""
    while True:
        now = health.read(settings, clock)
        text = (
            _text(now.document, clock.now().wall) if now.document is not None and now.pid is not None else "No daemon"
        )
        if text != last:
            print(f"{rfc3339(clock.now().wall.replace(microsecond=0))}\n{text}\n", flush=True)
            last = text
        clock.sleep(EVERY)


def _complain(now: Health, settings: Settings) -> None:
    """Say what is wrong, and what to do about it, the most important first."""
    if now.pid is None:
        why, remedy = unit.why_not_running(unit.state())
        say(f"no daemon runs on {settings.daemon.runtime_directory}" + (f": {why}" if why else ""), remedy)
        return
    if now.document is None:
        say(f"the daemon {now.pid} has not reported its state yet", "try again; its log says why if it stays so")
        return
    if now.is_outdated:
        say(OUTDATED, "systemctl reload rolekeeper")
    last = now.document.last_outcome
    if last is not None and last.code:
        say(last.message, last.hint, code=last.code)
    for one in now.document.outputs:
        if one.problem is not None and (last is None or one.problem.message != last.message):
            say(one.problem.message, one.problem.hint, code=one.problem.code)


def _text(document: Document, now: datetime) -> str:
    lines = [
        ("State", document.state.value),
        ("Node", document.node_id),
        ("Region", document.region),
        ("Credentials", document.freshness.value),
        ("Expire", _moment(document.expires_at, now)),
        ("Refresh", _moment(document.refresh_at, now)),
        ("Next attempt", _moment(document.next_attempt_at, now)),
        ("Last success", _moment(document.last_success_at, now)),
        ("Last outcome", _outcome(document, now)),
        ("Hardware", _hardware(document)),
    ]
    shown = [f"{f'{title}:':14}{value}" for title, value in lines if value is not None]
    return "\n".join([*shown, *_table(document, now)])


def _moment(at: datetime | None, now: datetime) -> str | None:
    """The exact time, and how far it is."""
    if at is None:
        return None
    left = at - now
    far = durations.text(timedelta(seconds=round(abs(left).total_seconds())))
    return f"{rfc3339(at)} ({f'in {far}' if left > timedelta(0) else f'{far} ago'})"


def _outcome(document: Document, now: datetime) -> str | None:
    last = document.last_outcome
    if last is None:
        return None
    words = ": ".join(word for word in (last.outcome.value, last.code, last.message) if word)
    return f"{words} ({_moment(last.at, now)})"


def _hardware(document: Document) -> str | None:
    return similarity.explain(document.fingerprint) if document.fingerprint is not None else None


def _table(document: Document, now: datetime) -> list[str]:
    """A line for each output; the columns are as wide as their longest entry."""
    rows = [_row(one, now) for one in document.outputs]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    return ["Outputs:", *("  " + "  ".join(_padded(row, widths)).rstrip() for row in rows)] if rows else []


def _padded(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), *row[len(widths) :]]


def _row(one: OutputStatus, now: datetime) -> tuple[str, ...]:
    name = f"endpoint {one.name}" if one.kind is OutputKind.ENDPOINT else f"{one.name} [{one.profile}]"
    until = _moment(one.expires_at, now) if one.freshness in (Freshness.FRESH, Freshness.STALE) else None
    words = f"until {until}" if until else f"published {rfc3339(one.published_at) if one.published_at else 'never'}"
    problem = f"; {one.problem.code}" if one.problem else ""
    return name, one.freshness.value, f"role {one.role}" if one.role else "", words + problem
