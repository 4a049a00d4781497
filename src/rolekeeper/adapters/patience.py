"""Work that may hang, such as a disk, a file server or a resolver: it has a time limit, and is abandoned after that.

A system call that hangs cannot be interrupted. So the work runs in a thread of its own, and the caller goes on without
it when the time is over. The thread ends with the process.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


def within(longest: timedelta, work: Callable[[], T]) -> T:
    """What `work` returns or raises, if it ends in time; TimeoutError when it does not."""
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
            done.append(partial(_raise, error))
        else:
            done.append(lambda: result)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(longest.total_seconds(), 0.0))
    if not done:
        raise TimeoutError("it does not end in time")
    return done[0]()


def _raise(error: BaseException) -> Any:
    raise error
