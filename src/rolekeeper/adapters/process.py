"""What a command that opens the vault does to its own process before it touches a secret."""

import atexit
import ctypes
import math
import resource
import signal
from datetime import timedelta
from types import FrameType

from rolekeeper.errors import ServiceError

PR_SET_DUMPABLE = 4  # linux/prctl.h
MCL_CURRENT, MCL_FUTURE = 1, 2  # asm-generic/mman.h


def keep_secrets_in_memory() -> None:
    """No core dump, no ptrace, no reading of /proc/PID/mem by others of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def keep_out_of_swap() -> None:
    """Lock this process in memory, where that is allowed without a limit that would make a later allocation fail.

    The unit's sandbox does not allow it; its drop-in has MemorySwapMax= instead.
    """
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return
    ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE)


def die_after(longest: timedelta) -> None:
    """Be killed by SIGALRM after `longest` (rounded up to seconds), whether or not anything still waits for us."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(max(1, math.ceil(longest.total_seconds())))


def give_up_after(longest: timedelta) -> None:
    """Have ServiceError `deadline` raised after `longest`: for a command that a person waits for."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(max(1, math.ceil(longest.total_seconds())))
    atexit.register(signal.alarm, 0)  # once the interpreter lets go of the handler, the signal would kill


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise ServiceError(
        "deadline",
        "Cannot finish in time: the service, a resolver or a disk hangs",
        "try again; `[daemon] attempt_timeout` says how long it may take",
    )
