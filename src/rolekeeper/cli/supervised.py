"""What the daemon starts: an attempt or a health report, as its child (adapters/supervision/attemptpipe.py).

It is started twice an hour for years, so it goes past argparse and what only people need.
"""

import gc

from rolekeeper import __version__, compose
from rolekeeper.adapters.process import die_after, keep_secrets_in_memory
from rolekeeper.adapters.supervision.attemptpipe import BROKEN_WORD, SupervisorPipe
from rolekeeper.attempt.look import LOOKS
from rolekeeper.attempt.run import run as run_attempt
from rolekeeper.core.loop.delays import READING_CONFIGURATION
from rolekeeper.errors import ConfigurationError
from rolekeeper.settings import Settings


def main(arguments: list[str]) -> int:
    """Make one attempt, or one health report; returns the exit code."""
    configuration = arguments[1] if arguments[0] == "--config" else None
    keep_secrets_in_memory()
    gc.disable()  # an attempt ends before garbage matters, and collecting it costs a tenth of its start
    return _report_health() if arguments[-1] == "--report-health" else _attempt(configuration)


def _attempt(configuration: str | None) -> int:
    die_after(READING_CONFIGURATION)
    pipe = SupervisorPipe()
    order = pipe.order()
    settings = order.settings
    if settings is None or order.reload:
        settings = _read(configuration, pipe, settings)
    die_after(settings.daemon.attempt_timeout)
    run_attempt(
        compose.world(settings, looks=LOOKS),
        settings,
        reuse=order.reuse,
        passed_over=order.passed_over,
        owns_outputs=True,
        deliver=pipe.report,
        deliver_found=pipe.found,
    )
    return 0


def _read(configuration: str | None, pipe: SupervisorPipe, old: Settings | None) -> Settings:
    """The configuration of this moment; the old one when there is one and the new one is wrong."""
    try:
        settings = compose.settings(configuration, anew=old is not None, keep=True)
    except ConfigurationError as error:
        pipe.rejected(error.message)
        if old is None:
            raise
        return old
    pipe.accepted(settings, wait=old is None)
    return settings


def _report_health() -> int:
    """Report the node as online, with the settings in force."""
    from rolekeeper.adapters.platform import facts
    from rolekeeper.attempt.health import report
    from rolekeeper.core.loop.health import LONGEST_REPORT

    die_after(LONGEST_REPORT)
    pipe = SupervisorPipe()
    settings = pipe.order().settings
    if settings is None:
        return BROKEN_WORD
    pipe.health(report(compose.vault(settings), compose.clock(), compose.service(settings), facts(__version__)))
    return 0
