"""A test in a process that has no other thread: a signal to a process is taken by any of its threads.

pytest-xdist reads its commands in a thread of its own, which takes such a signal from the test, or dies of it.
"""

import json
import os
import signal
import tempfile
import warnings
from typing import IO

import pytest
from _pytest.runner import runtestprotocol

LONGEST = 120  # seconds


def run(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """What pytest_runtest_protocol does, with the test and its fixtures in a child; its reports come back."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item, nextitem):
        item.ihook.pytest_runtest_logreport(report=report)
    item.session._setupstate.teardown_exact(nextitem)  # what tests before it have left set up in this process
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    with tempfile.TemporaryFile("w+") as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the other threads hold no lock that the test needs
            pid = os.fork()
        if pid == 0:
            _child(item, nextitem, file)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        file.seek(0)
        told = file.read()
    if status:
        text = f"its process ended with {status}"
        return [pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")]
    return [item.config.hook.pytest_report_from_serializable(config=item.config, data=one) for one in json.loads(told)]


def _child(item: pytest.Item, nextitem: pytest.Item | None, file: IO[str]) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LONGEST)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    hook = item.config.hook.pytest_report_to_serializable
    json.dump([hook(config=item.config, report=report) for report in reports], file)
    file.flush()
    os._exit(0)
