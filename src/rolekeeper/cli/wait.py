"""`rolekeeper wait`: for units that start once fresh credentials are there."""

import argparse
from datetime import timedelta

from rolekeeper import compose
from rolekeeper.cli import condition
from rolekeeper.cli.condition import Condition
from rolekeeper.cli.parser import duration
from rolekeeper.errors import UnavailableError, UsageError
from rolekeeper.model import Freshness, OutputName, Phase
from rolekeeper.settings import Endpoint, Output, Settings

EXAMPLE = "rolekeeper wait --file /srv/app/aws/credentials --timeout 90s && aws s3 ls"
POLL = timedelta(milliseconds=200)


def configure(parser: argparse.ArgumentParser) -> None:
    """For what to wait, and how long."""
    parser.add_argument("--file", metavar="PATH", help="wait for this credentials file alone, default all outputs")
    parser.add_argument("--profile", metavar="NAME", help="with --file: for this profile alone")
    parser.add_argument("--endpoint", metavar="NAME", help="wait for this endpoint alone")
    parser.add_argument("--timeout", default="5min", help="give up (69) after this long, default 5min")


def run(options: argparse.Namespace) -> int:
    """Wait until the running daemon, on the configuration of now, has fresh credentials where they are wanted."""
    longest = duration("--timeout", options.timeout)
    settings = compose.settings(options.config)
    names = _names(options, settings)
    clock = compose.clock()
    until = clock.now().boot + longest
    while True:
        lacking = _lacking(condition.read(settings, clock), names)
        if not lacking:
            return 0
        left = until - clock.now().boot
        if left <= timedelta(0):
            message = f"No fresh credentials within {options.timeout}: {lacking}"
            raise UnavailableError("timeout", message, "`rolekeeper status` says why")
        clock.sleep(min(POLL, left))


def _names(options: argparse.Namespace, settings: Settings) -> tuple[OutputName, ...]:
    """The outputs to wait for; UsageError for one that the configuration does not have."""
    if (options.profile is not None and options.file is None) or (options.file and options.endpoint):
        hint = "write --file PATH, --file PATH --profile NAME, or --endpoint NAME"
        raise UsageError("argument-invalid", "--profile goes with --file, and --endpoint with neither", hint)
    wanted = tuple(one.output_name for one in settings.outputs if _is_wanted(options, one))
    if not wanted:
        hint = "`rolekeeper check` prints the outputs of the configuration"
        raise UsageError("argument-invalid", "No such output in the configuration", hint)
    return wanted


def _is_wanted(options: argparse.Namespace, output: Output) -> bool:
    if options.endpoint is not None:
        return isinstance(output, Endpoint) and output.name == options.endpoint
    if options.file is None:
        return True
    if isinstance(output, Endpoint):
        return False
    return output.path == options.file and options.profile in (None, output.profile)


def _lacking(now: Condition, names: tuple[OutputName, ...]) -> str:
    """What there is still to wait for; empty when nothing is. Credentials of a dropped registration do not count."""
    if now.pid is None:
        return "no daemon runs"
    if now.state is Phase.UNREGISTERED:
        return "the machine is not registered"
    if now.is_outdated:
        return "the daemon runs by an older configuration: systemctl reload rolekeeper"
    known = {one.output_name: one.freshness for one in now.outputs()}
    bad = {name: known.get(name, Freshness.UNKNOWN) for name in names}
    return ", ".join(f"{name.name} is {one}" for name, one in bad.items() if one is not Freshness.FRESH)
