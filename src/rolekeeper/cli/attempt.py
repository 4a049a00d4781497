"""`rolekeeper attempt`: one cycle by hand."""

import argparse

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.attempt.look import LOOKS
from rolekeeper.attempt.run import run as run_attempt
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_report
from rolekeeper.core.outcomes import exit_code

EXAMPLE = "rolekeeper attempt && aws sts get-caller-identity"


def configure(parser: argparse.ArgumentParser) -> None:
    """The hidden option is for scripts that ask every verb for JSON."""
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)  # it always is


def run(options: argparse.Namespace) -> int:
    """Make one attempt."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    give_up_after(settings.daemon.attempt_timeout)
    report = run_attempt(compose.world(settings, looks=LOOKS), settings, reuse=False)
    print_report(report)
    for entry in report.entries:
        if entry.level == "warning":  # such as an unfinished key change: it fails nothing, and is in no report
            say(entry.message, entry.fields.get("hint", ""))
    return exit_code(report, (one.problem for one in report.outputs))
