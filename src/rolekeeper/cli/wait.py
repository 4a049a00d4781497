"""`rolekeeper wait`: for units that start after fresh credentials are there."""

import argparse
from datetime import timedelta

from rolekeeper import compose
from rolekeeper.cli import standing
from rolekeeper.cli.arguments import duration
from rolekeeper.core.loop.states import Phase
from rolekeeper.errors import UnavailableError
from rolekeeper.model import Freshness

EXAMPLE = "rolekeeper wait --timeout 90s && aws s3 ls"
POLL = timedelta(milliseconds=200)


def configure(parser: argparse.ArgumentParser) -> None:
    """How long to wait."""
    parser.add_argument("--timeout", default="5min", help="give up (69) after this long, default 5min")


def run(options: argparse.Namespace) -> int:
    """Wait until a running daemon has published fresh credentials; those of a forgotten registration do not count."""
    longest = duration("--timeout", options.timeout)
    settings = compose.settings(options.config)
    clock = compose.clock()
    until = clock.now().boot + longest
    while True:
        now = standing.read(settings, clock)
        registered = now.state not in (None, Phase.UNREGISTERED)
        if registered and now.freshness is Freshness.FRESH:
            return 0
        left = until - clock.now().boot
        if left <= timedelta(0):
            message = f"No fresh credentials within {options.timeout}: {_lacking(now)}"
            raise UnavailableError("timeout", message, "`rolekeeper status` says why")
        clock.sleep(min(POLL, left))


def _lacking(now: standing.Standing) -> str:
    if now.pid is None:
        return "no daemon runs"
    return "the machine is not registered" if now.state is Phase.UNREGISTERED else f"credentials are {now.freshness}"
