"""`rolekeeper attempt`: one cycle by hand, or, for the daemon, as its child."""

import argparse
import gc

from rolekeeper import compose
from rolekeeper.adapters.process import die_after, give_up_after, keep_secrets_in_memory
from rolekeeper.adapters.supervision.attemptpipe import BROKEN_WORD as CANNOT_REPORT
from rolekeeper.adapters.supervision.attemptpipe import SupervisorPipe
from rolekeeper.attempt.health import report
from rolekeeper.attempt.look import LOOKS
from rolekeeper.attempt.run import run as run_attempt
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_report
from rolekeeper.core.loop.delays import READING_CONFIGURATION
from rolekeeper.core.loop.health import LONGEST_REPORT
from rolekeeper.core.outcomes import exit_code
from rolekeeper.errors import ConfigurationError
from rolekeeper.ports import World
from rolekeeper.settings import Settings

EXAMPLE = "rolekeeper attempt && aws sts get-caller-identity"


def configure(parser: argparse.ArgumentParser) -> None:
    """The hidden options are for the daemon, and for scripts that ask every verb for JSON."""
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)  # it always is
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--report-health", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Make one attempt."""
    keep_secrets_in_memory()
    gc.disable()  # an attempt ends before garbage matters, and collecting it costs a tenth of its start
    if options.supervised:
        return _supervised(options.config)
    if options.report_health:
        return _report_health()
    settings = compose.settings(options.config)
    give_up_after(settings.daemon.attempt_timeout)
    report = run_attempt(_world(settings), settings, reuse=False)
    print_report(report)
    for entry in report.entries:
        if entry.level == "warning":  # such as an unfinished key change: it fails nothing, and is in no report
            say(entry.message, entry.fields.get("hint", ""))
    return exit_code(report.outcome, report.code)


def _supervised(configuration: str | None) -> int:
    die_after(READING_CONFIGURATION)
    pipe = SupervisorPipe()
    order = pipe.order()
    settings = order.settings
    if settings is None or order.reload:
        settings = _read(configuration, pipe, settings)
    die_after(settings.daemon.attempt_timeout)
    run_attempt(
        _world(settings),
        settings,
        reuse=order.reuse,
        owns_outputs=True,
        deliver=pipe.report,
        deliver_found=pipe.found,
    )
    return 0


def _report_health() -> int:
    """Report the node as online, for the daemon, with the settings in force."""
    die_after(LONGEST_REPORT)
    pipe = SupervisorPipe()
    settings = pipe.order().settings
    if settings is None:
        return CANNOT_REPORT
    pipe.health(report(compose.vault(settings), compose.clock(), compose.role_calls(settings), compose.health_facts()))
    return 0


def _world(settings: Settings) -> World:
    return compose.world(settings, looks=LOOKS)


def _read(configuration: str | None, pipe: SupervisorPipe, old: Settings | None) -> Settings:
    """The configuration of this moment; the old one when there is one and the new one is wrong."""
    try:
        settings = compose.settings(configuration)
    except ConfigurationError as error:
        pipe.rejected(error.message)
        if old is None:
            raise
        return old
    pipe.accepted(settings, wait=old is None)
    return settings
