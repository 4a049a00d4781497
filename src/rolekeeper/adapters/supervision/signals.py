"""The daemon's signals: blocked, and taken one at a time with sigtimedwait(2), so that none interrupts anything."""

import os
import signal
from datetime import timedelta

from rolekeeper.ports import Wakeup

MEANING = {
    signal.SIGTERM: Wakeup.STOP,
    signal.SIGINT: Wakeup.STOP,
    signal.SIGHUP: Wakeup.RELOAD,
    signal.SIGUSR1: Wakeup.REFRESH,
    signal.SIGCHLD: Wakeup.ATTEMPT,
    signal.SIGIO: Wakeup.ATTEMPT,  # the pipe from the attempt has something to read
}


class BlockedSignals:
    """Blocks the signals when it is made; it is made before the first attempt is started."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, MEANING)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if the parent process ignores it, children would vanish unseen

    def wait(self, longest: timedelta) -> Wakeup | None:
        """Sleep until a signal comes, `longest` at most."""
        taken = signal.sigtimedwait(MEANING, longest.total_seconds())
        return MEANING[signal.Signals(taken.si_signo)] if taken else None


def wake_self() -> None:
    """Make the next `wait` return at once with Wakeup.ATTEMPT."""
    os.kill(os.getpid(), signal.SIGIO)
