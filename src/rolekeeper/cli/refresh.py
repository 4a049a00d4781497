"""`rolekeeper refresh`: the running daemon tries now, and we wait for the outcome.

Every output that has a problem is named, with what to do about it, also when only programs may not use what is there.
"""

import argparse
import signal
from datetime import timedelta

from rolekeeper import compose
from rolekeeper.adapters.supervision import runtime
from rolekeeper.cli import condition
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.cli.parser import duration
from rolekeeper.cli.status import OUTDATED
from rolekeeper.core.loop.states import LastOutcome
from rolekeeper.core.outcomes import exit_code
from rolekeeper.errors import UnavailableError
from rolekeeper.model import Outcome

EXAMPLE = "rolekeeper refresh --timeout 45s"
POLL = timedelta(milliseconds=50)


def configure(parser: argparse.ArgumentParser) -> None:
    """How long to wait, and the usual option."""
    parser.add_argument("--timeout", default="45s", help="give up (69) after this long, default 45s")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Signal the daemon, and wait until status.json shows a newer outcome."""
    longest = duration("--timeout", options.timeout)
    settings = compose.settings(options.config)
    directory = settings.daemon.runtime_directory
    before = _last_outcome(directory)
    if not runtime.send(directory, signal.SIGUSR1):
        raise UnavailableError("no-daemon", f"No daemon runs on {directory}", "`systemctl start rolekeeper`")
    outcome = _wait(directory, before, longest)
    if outcome is None:
        raise UnavailableError(
            "timeout", f"No outcome within {options.timeout}", "`rolekeeper status` says what the daemon does"
        )
    _print(outcome, as_json=options.json)
    now = condition.read(settings, compose.clock())
    problems = [one.problem for one in now.outputs() if one.problem is not None]
    for problem in dict.fromkeys(problems):
        if problem.message != outcome.message or options.json:
            say(problem.message, problem.hint, code=problem.code)
    if now.is_outdated:
        say(OUTDATED, "systemctl reload rolekeeper")
    return exit_code(outcome, problems)


def _wait(directory: str, before: LastOutcome | None, longest: timedelta) -> LastOutcome | None:
    clock = compose.clock()
    until = clock.now().boot + longest
    while clock.now().boot < until:
        outcome = _last_outcome(directory)
        if outcome is not None and outcome != before:
            return outcome
        clock.sleep(POLL)
    return None


def _last_outcome(directory: str) -> LastOutcome | None:
    reported = condition.reported(directory)
    return reported.last_outcome if reported is not None else None


def _print(outcome: LastOutcome, *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    elif outcome.outcome is Outcome.ISSUED and not outcome.code:
        print("Refreshed.")
    else:
        say(f"{outcome.outcome}: {outcome.message}", outcome.hint, code=outcome.code)
