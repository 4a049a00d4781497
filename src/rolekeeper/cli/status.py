"""`rolekeeper status`: how the running daemon and the credentials are, and what to do first.

What is wrong comes first, the most important above, each with what to do. Then come the facts. Times are exact, with
how far they are from now: those of the service by the service's clock, as far as it is known.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

from rolekeeper import compose
from rolekeeper.adapters.supervision import unit
from rolekeeper.cli import condition
from rolekeeper.cli.condition import Condition
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import label, print_json
from rolekeeper.core import similarity
from rolekeeper.core.jsonvalues import shown
from rolekeeper.core.loop import status
from rolekeeper.core.loop.status import OutputStatus, Status
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import Freshness, OutputProblem
from rolekeeper.ports import Clock
from rolekeeper.settings import Settings
from rolekeeper.values import replace

EXAMPLE = "rolekeeper status || journalctl -u rolekeeper -n 20"
OUTDATED = "the daemon runs by an older configuration"
EVERY = timedelta(seconds=2)
CLEAR = "\x1b[H\x1b[2J"  # a terminal's screen
_RETRY = "`rolekeeper refresh` requests new ones at once; if it fails, it says why"
NOT_FRESH = {
    Freshness.STALE: _RETRY,
    Freshness.EXPIRED: _RETRY,
    Freshness.ABSENT: "`rolekeeper refresh` publishes there again",
    Freshness.HELD_BY_ANOTHER: (
        "stop the program that writes there (SSM Agent?), or publish to a file or profile of its own; `rolekeeper "
        "refresh` publishes there again"
    ),
    Freshness.UNKNOWN: "see whether it can be read, by the daemon's user and by you",
}
UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("min", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)
HEADINGS = ("OUTPUT", "CREDENTIALS", "ROLE", "EXPIRE", "PROBLEM")


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
        "  1  stale, backing off with valid credentials, an older configuration, an output with a problem,\n"
        "     or an endpoint that nothing serves\n"
        "  2  expired, absent, held by another program, or hibernating\n"
        "  3  not registered, or no daemon runs\n  78 the configuration is wrong\n\n"
        "with --check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN"
    )


def run(options: argparse.Namespace) -> int:
    """Print it."""
    if options.check:
        from rolekeeper.cli import plugin

        return plugin.run(options.config)
    if options.watch:
        _watch(options.config)
    settings, clock = compose.settings(options.config), compose.clock()
    now = condition.of_everything(settings, clock)
    if options.json:
        print_json(now.reported if now.reported is not None else dict.fromkeys(status.FIELDS))
    for complaint in _complaints(now, settings):
        say(complaint.message, complaint.hint, code=complaint.code)
    if not options.json and now.reported is not None:
        print(_text(now, now.reported, clock))
    return now.exit_code


def _watch(configuration: str | None) -> NoReturn:
    """Print it anew on a terminal; elsewhere when something has changed. Nothing but an interrupt ends it."""
    clock, last = compose.clock(), None
    while True:
        seen, lines = _seen(configuration, clock)
        is_terminal = sys.stdout.isatty()
        if is_terminal or seen != last:
            time = shown(clock.now().wall)
            print(CLEAR * is_terminal + "\n".join((time, *lines)), end="\n\n", flush=True)
        last = seen
        clock.sleep(EVERY)


def _seen(configuration: str | None, clock: Clock) -> tuple[object, list[str]]:
    """What is seen now, without what only time changes; and how it is printed."""
    try:
        settings = compose.settings(configuration)
        now = condition.of_everything(settings, clock)
        complaints = [*_complaints(now, settings)]
    except RolekeeperError as error:
        complaint = OutputProblem(error.code, error.message, error.hint)
        return complaint, [_complaint_text(complaint)]
    facts = [_text(now, now.reported, clock)] if now.reported is not None and now.pid is not None else []
    return (now, complaints), [*map(_complaint_text, complaints), *facts]


def _complaint_text(complaint: OutputProblem) -> str:
    code = f" [{complaint.code}]" if complaint.code else ""
    return f"{complaint.message}{code}" + (f"\n  hint: {complaint.hint}" if complaint.hint else "")


def _complaints(now: Condition, settings: Settings) -> Iterator[OutputProblem]:
    """What is wrong, and what to do about it, the most important first."""
    if now.pid is None:
        why, remedy = unit.why_not_running(unit.state())
        where = settings.daemon.runtime_directory
        yield OutputProblem("", f"no daemon runs on {where}" + (f": {why}" if why else ""), remedy)
        return
    if now.reported is None:
        hint = "try again; its log says why if it stays so"
        yield OutputProblem("", f"the daemon {now.pid} has not reported its state yet", hint)
        return
    if now.is_outdated:
        yield OutputProblem("", OUTDATED, "systemctl reload rolekeeper")
    last = now.reported.last_outcome
    if last is not None and last.code:
        yield OutputProblem(last.code, last.message, last.hint)
    yield from _output_complaints(now.reported)
    if now.unserved:
        for endpoint in settings.endpoints:
            yield replace(now.unserved, message=f"endpoint {endpoint.name}: {now.unserved.message}")


def _output_complaints(reported: Status) -> Iterator[OutputProblem]:
    last = reported.last_outcome
    for one in reported.outputs:
        if one.problem is not None:
            if last is None or one.problem.message != last.message:
                yield one.problem
        elif one.freshness in NOT_FRESH and last is not None and not last.code:  # else the reason was said
            yield OutputProblem(
                "", f"the credentials in {label(one.output_name)} are {one.freshness}", NOT_FRESH[one.freshness]
            )


def _text(now: Condition, reported: Status, clock: Clock) -> str:
    here, service = clock.now().wall, condition.service_now(reported, clock)
    lines = [
        ("State", reported.state.value),
        ("Node", reported.node_id),
        ("Region", reported.region),
        ("Credentials", reported.freshness.value),
        ("Expire", _moment(reported.expires_at, service)),
        ("Refresh", _moment(reported.refresh_at, service)),
        ("Next attempt", _moment(reported.next_attempt_at, here)),
        ("Last success", _moment(reported.last_success_at, here)),
        ("Last outcome", _outcome(reported, here)),
        ("Hardware", _hardware(reported)),
    ]
    shown = [f"{f'{title}:':14}{value}" for title, value in lines if value is not None]
    unseen = ", ".join(map(label, now.unseen))
    note = [f"This user may not read {unseen}: as the last attempt saw it."] if unseen else []
    return "\n".join([*shown, *_table([_row(one, service) for one in reported.outputs]), *note])


def _moment(at: datetime | None, now: datetime) -> str | None:
    """The exact time, and how far it is."""
    if at is None:
        return None
    far = distance(abs(at - now))
    return f"{shown(at)} ({f'in {far}' if at > now else f'{far} ago'})"


def distance(far: timedelta) -> str:
    """A duration for eyes, in its two largest units: `23 min`, `1 h 5 min`, `2 d`; below a minute in seconds."""
    number = next((number for number, (_, unit) in enumerate(UNITS) if far >= unit), len(UNITS) - 1)
    name, unit = UNITS[number]
    text = f"{far // unit} {name}"
    if number < len(UNITS) - 2:  # the seconds of minutes do not matter
        smaller, its_unit = UNITS[number + 1]
        rest = far % unit // its_unit
        text += f" {rest} {smaller}" if rest else ""
    return text


def _outcome(reported: Status, now: datetime) -> str | None:
    last = reported.last_outcome
    if last is None:
        return None
    words = ": ".join(dict.fromkeys(word for word in (last.outcome.value, last.words) if word))
    return f"{words} ({_moment(last.at, now)})"


def _hardware(reported: Status) -> str | None:
    return similarity.explain(reported.fingerprint) if reported.fingerprint is not None else None


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A line for each output below headings, without the columns in which nothing is."""
    columns = [(heading, *cells) for heading, *cells in zip(HEADINGS, *rows, strict=True) if any(cells)]
    padded = [[f"{cell:{max(map(len, column))}}" for cell in column] for column in columns]
    return ["", *("  ".join(line).rstrip() for line in zip(*padded, strict=True))] if rows else []


def _row(one: OutputStatus, now: datetime) -> tuple[str, ...]:
    is_ours = one.freshness in condition.HELD
    expires = _moment(one.expires_at, now) if is_ours else None
    published = f"published {shown(one.published_at)}" if one.published_at else "never published"
    return (
        label(one.output_name),
        one.freshness.value,
        one.role or "",
        expires or published,
        one.problem.code if one.problem else "",
    )
