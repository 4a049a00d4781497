"""A command of ours called as a function, in streams and an environment of its own: it saves the start of a process.

What a command changes of its process, which would end with it, is put back afterwards: streams, environment, signals,
timers, the limit of cores, and whether others may look into its memory. What a process reads only when it starts
(PYTHON*, LD_*, TZ) does not work here, and neither do two commands at once.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO

import pytest

from rolekeeper import cli

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4  # linux/prctl.h
AT_START = ("PYTHON", "LD_", "TZ")
LIBC = ctypes.CDLL(None)
SET_LIMIT = resource.setrlimit
STREAMS = ("stdin", "stdout", "stderr")


def call(words: list[str], environment: Mapping[str, str], stdin: str = "") -> tuple[int, str, str]:
    """The exit code of the command, and what it wrote to standard output and standard error."""
    wrong = [name for name in environment if name.startswith(AT_START)]
    assert not wrong, f"only a process that starts reads {wrong}"
    with _kept(), ExitStack() as files, pytest.MonkeyPatch.context() as patch:
        contents = [files.enter_context(_in_place_of(number, text)) for number, text in enumerate((stdin, "", ""))]
        for number, name in enumerate(STREAMS):
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            patch.setattr(sys, name, files.enter_context(stream))
        patch.setattr(sys, "argv", words)
        patch.setattr(resource, "setrlimit", _set_soft_limit)
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        code = cli.main()
        sys.stdout.flush()
        return code, *(_text(file) for file in contents[1:])


@contextmanager
def _in_place_of(number: int, text: str) -> Iterator[IO[bytes]]:
    """A file that holds the text, in the place of a descriptor."""
    kept = os.dup(number)
    with tempfile.TemporaryFile() as file:
        file.write(text.encode(errors="surrogateescape"))
        file.seek(0)
        os.dup2(file.fileno(), number)
        try:
            yield file
        finally:
            os.dup2(kept, number)
            os.close(kept)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@contextmanager
def _kept() -> Iterator[None]:
    """What a command does to its process is undone."""
    limits, dumpable = resource.getrlimit(resource.RLIMIT_CORE), LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    timer, handler = signal.setitimer(signal.ITIMER_REAL, 0), signal.getsignal(signal.SIGALRM)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
        LIBC.prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, limits)
        gc.enable()


def _set_soft_limit(which: int, limits: tuple[int, int]) -> None:
    """Leave the hard limit as it is: without CAP_SYS_RESOURCE nothing could raise it again for the next test."""
    SET_LIMIT(which, (limits[0], resource.getrlimit(which)[1]))
