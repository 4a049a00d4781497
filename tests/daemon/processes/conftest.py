"""Real child processes in the place of attempts: small scripts, which are heard as the daemon hears an attempt."""

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.adapters.supervision.attemptpipe import AttemptProcesses, SettingsInForce
from rolekeeper.adapters.supervision.signals import BlockedSignals
from rolekeeper.core.jsonvalues import encode
from rolekeeper.model import AttemptReport, Outcome
from rolekeeper.ports import Rejected, Wakeup

LONG = timedelta(seconds=20)  # no test waits for so long unless it fails
REPORT = AttemptReport(Outcome.FAILED, code="unreachable", message="Cannot reach ünïcode")
SAID = json.dumps({"report": encode(REPORT)})

PROLOGUE = f"""
import json, os, signal, subprocess, sys, time
order = json.loads(sys.stdin.readline())
def say(word):
    sys.stdout.write(word + "\\n")
    sys.stdout.flush()
def tell(fact):
    say(json.dumps({{"rejected": json.dumps(fact)}}))
REPORT = {SAID!r}
"""


@pytest.fixture
def signals() -> Iterator[BlockedSignals]:
    """The daemon's signals, which are this process's again afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield BlockedSignals()
    while signal.sigtimedwait([signal.SIGIO, signal.SIGCHLD, signal.SIGUSR1], 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Attempts:
    """Attempt processes that run the script of a test, and what they said."""

    report = REPORT
    longest = LONG

    def __init__(self, signals: BlockedSignals, directory: Path) -> None:
        self.signals = signals
        self.script = directory / "attempt.py"
        self.processes: list[AttemptProcesses] = []
        self.heard: list[object] = []  # and not looked at yet

    def start(self, script: str, **order: Any) -> AttemptProcesses:
        self.script.write_text(PROLOGUE + script, encoding="utf-8")
        return self.run((sys.executable, "-I", "-S", str(self.script)), **order)

    def run(self, command: tuple[str, ...], **order: Any) -> AttemptProcesses:
        self.heard.clear()  # what an attempt before this one said to its end is not of this one
        attempts = AttemptProcesses(command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, SettingsInForce())
        self.processes.append(attempts)
        attempts.start(**({"reload": True, "reuse": True} | order))
        return attempts

    def hear(self, attempts: AttemptProcesses, kind: type | tuple[type, ...]) -> Any:
        """Sleep as the daemon does until a message comes; it is of this kind."""
        while not self.heard:
            self.heard += attempts.messages()
            if not self.heard:
                assert self.signals.wait(LONG) is Wakeup.ATTEMPT
        message = self.heard.pop(0)
        assert isinstance(message, kind)
        return message

    def fact(self, script: str) -> Any:
        """What a script tells about itself."""
        attempts = self.start(script)
        told = json.loads(self.hear(attempts, Rejected).problems)
        attempts.end()
        return told

    def ends(self, pid: int) -> Callable[[], bool]:
        """A question to ask later: whether this process has ended by then, or does so soon."""
        try:
            pinned = os.pidfd_open(pid)
        except ProcessLookupError:  # so soon that it is reaped already
            return lambda: True

        def ask() -> bool:
            try:
                return bool(select.select([pinned], [], [], LONG.total_seconds())[0])
            finally:
                os.close(pinned)

        return ask


@pytest.fixture
def attempts(signals: BlockedSignals, tmp_path: Path) -> Iterator[Attempts]:
    started = Attempts(signals, tmp_path)
    yield started
    for process in started.processes:
        process.end()
