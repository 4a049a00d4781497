"""What attempts say over the pipe, whole, in pieces, or garbled; and what is made of it."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.adapters.supervision.attemptpipe import BROKEN_WORD, CANNOT_START
from rolekeeper.core.jsonvalues import encode
from rolekeeper.model import AttemptReport
from rolekeeper.ports import Accepted, Ended, Rejected, Wakeup

pytestmark = pytest.mark.alone

GARBAGE = {
    "text": r"b'Traceback (most recent call last):\n'",
    "bytes that are no UTF-8": r"b'\xff\xfe\x00\n'",
    "no object": r"b'[1, 2]\n'",
    "a number": r"b'7\n'",
    "a string": r"b'\"settings\"\n'",
    "null": r"b'null\n'",
    "an object of no kind": r"b'{}\n'",
    "a report with an unknown field": r"b'{\"report\": {\"outcome\": \"issued\", \"surprise\": 1}}\n'",
    "a report of an unknown outcome": r"b'{\"report\": {\"outcome\": \"splendid\"}}\n'",
    "a report that is none": r"b'{\"report\": null}\n'",
    "a wrong time": r"b'{\"report\": {\"outcome\": \"issued\", \"expires_at\": \"2026-11-23T12:00:00\"}}\n'",
    "settings that are none": r"b'{\"settings\": {\"outputs\": []}}\n'",
    "nesting without end": r"b'[' * 100_000 + b'\n'",
    "an empty line": r"b'\n'",
    "a line without end": r"b'x' * (3 << 20)",
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_ends_the_attempt_and_nothing_else(attempts: Any, garbage: str) -> None:
    running = attempts.start(
        f"tell(os.getpid())\n"
        "sys.stdin.readline()\n"
        f"data = {GARBAGE[garbage]}\n"
        "while data:\n"
        "    data = data[os.write(1, data):]\n"
        "time.sleep(600)"
    )
    gone = attempts.ends(json.loads(attempts.hear(running, Rejected).problems))
    running.proceed()
    assert attempts.hear(running, Ended) == Ended(BROKEN_WORD)
    assert gone()
    assert running.messages() == []


def test_what_follows_a_report_is_not_heard(attempts: Any) -> None:
    running = attempts.start("os.write(1, (REPORT + '\\ngarbage\\n' + REPORT + '\\n').encode())")
    assert attempts.hear(running, AttemptReport) == attempts.report
    assert running.messages() == []


class Litter:
    """Refers to itself, so that nothing but a collection of all generations takes it away for certain."""

    def __init__(self) -> None:
        self.itself = self


def test_after_each_attempt_everything_is_collected_that_would_add_up(attempts: Any) -> None:
    running = attempts.start("say(REPORT)")
    gc.disable()
    try:
        litter = weakref.ref(Litter())
        assert litter() is not None
        attempts.hear(running, AttemptReport)
        assert litter() is None
    finally:
        gc.enable()


def test_an_order_of_more_than_a_pipes_worth_is_handed_over_without_waiting(attempts: Any, kit: Any) -> None:
    (plain,) = kit.settings.credentials_files
    outputs = tuple(replace(plain, path=f"/srv/application-{number}/credentials") for number in range(2000))
    large = replace(kit.settings, credentials_files=outputs)
    assert len(json.dumps(encode(large))) > 3 << 16
    running = attempts.start("say(json.dumps({'settings': order['settings']})); say(REPORT)", settings=large)
    assert attempts.hear(running, Accepted).settings == large  # and as large a word comes back
    assert attempts.hear(running, AttemptReport) == attempts.report


SHORT_OF_PIPES = """
import fcntl, json, os, sys
from contextlib import suppress
from datetime import timedelta
from rolekeeper.adapters.supervision.attemptpipe import AttemptProcesses
from rolekeeper.adapters.supervision.signals import BlockedSignals
from rolekeeper.core.jsonvalues import decode
from rolekeeper.settings import Settings
settings = decode(Settings, json.load(sys.stdin))
if os.geteuid() == 0:
    os.setuid(65534)  # root may have more
taken = []
with suppress(OSError):
    while True:
        taken.append(os.pipe())
        fcntl.fcntl(taken[-1][1], fcntl.F_SETPIPE_SZ, 1 << 20)
while fcntl.fcntl(os.pipe()[1], fcntl.F_GETPIPE_SZ) > 8192:
    pass
signals = BlockedSignals()
script = "read -r order; read -r word; printf '{\\"rejected\\": \\"%s %s\\"}\\\\n' ${#order} $word"
attempts = AttemptProcesses(("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"})
attempts.start(settings=settings, reload=True, reuse=True)
attempts.proceed()
while not (said := attempts.messages()):
    signals.wait(timedelta(minutes=1))
print(said[0].problems)
"""


def test_a_user_whose_pipes_are_small_waits_for_no_attempt_to_read_its_order(kit: Any) -> None:
    """Past its quota of pipe buffers, a user other than root gets pipes of 8192 bytes, or 4096."""
    (plain,) = kit.settings.credentials_files
    settings = encode(replace(kit.settings, credentials_files=(plain,) * 500))
    command = [sys.executable, "-I", "-c", SHORT_OF_PIPES]
    done = subprocess.run(command, input=json.dumps(settings), capture_output=True, text=True, check=False, timeout=120)
    order = json.dumps({"settings": settings, "reload": True, "reuse": True})
    assert (done.stdout, done.stderr) == (f"{len(order)} go\n", "")


def test_a_report_that_comes_in_pieces_is_heard_when_it_is_whole(attempts: Any) -> None:
    halfway, theirs = os.pipe()
    os.set_inheritable(theirs, True)  # noqa: FBT003 - its only argument
    running = attempts.start(
        "word = (REPORT + '\\n').encode()\n"
        "for at in range(len(word)):\n"
        "    os.write(1, word[at:at + 1])\n"
        "    if at == len(word) // 2:\n"
        f"        os.write({theirs}, b'.')\n"
        "        sys.stdin.readline()\n"
    )
    assert os.read(halfway, 1) == b"."
    os.close(halfway)
    os.close(theirs)
    assert running.messages() == []
    running.proceed()
    assert attempts.hear(running, AttemptReport) == attempts.report


@pytest.mark.parametrize("detached", [False, True])
def test_a_grandchild_that_holds_the_pipe_open_delays_no_report(attempts: Any, *, detached: bool) -> None:
    running = attempts.start(
        f"other = subprocess.Popen(['/bin/sleep', '600'], start_new_session={detached})\ntell(other.pid)\nsay(REPORT)"
    )
    other = json.loads(attempts.hear(running, Rejected).problems)
    try:
        assert attempts.hear(running, AttemptReport) == attempts.report
    finally:
        with suppress(ProcessLookupError):  # unless detached, it goes with the attempt
            os.kill(other, signal.SIGKILL)


def test_a_grandchild_that_holds_the_pipe_open_hides_no_end_and_goes_with_the_attempt(attempts: Any) -> None:
    running = attempts.start("other = subprocess.Popen(['/bin/sleep', '600'])\ntell(other.pid)\nos._exit(3)")
    gone = attempts.ends(json.loads(attempts.hear(running, Rejected).problems))
    assert attempts.hear(running, Ended) == Ended(3)
    assert gone()


@pytest.mark.parametrize(
    ("script", "status"), [("sys.exit(78)", 78), ("os.kill(os.getpid(), 9)", -9), ("os.close(1)\nos._exit(0)", 0)]
)
def test_an_end_without_a_report_is_told_with_its_status(attempts: Any, script: str, status: int) -> None:
    assert attempts.hear(attempts.start(script), Ended) == Ended(status)


def test_an_attempt_that_cannot_be_started_wakes_the_daemon_and_shows_as_ended(attempts: Any) -> None:
    running = attempts.run(("/nonexistent/python",))
    assert attempts.signals.wait(attempts.longest) is Wakeup.ATTEMPT
    (ended,) = running.messages()
    assert isinstance(ended, Ended)
    assert ended.status == CANNOT_START
    assert ended.why.startswith("/nonexistent/python: ")
    assert running.messages() == []
    running.end()


def test_a_daemon_that_has_no_descriptor_left_for_an_attempt_is_woken_to_try_later(attempts: Any) -> None:
    running = attempts.run(("/nonexistent/python",))
    running.messages()
    attempts.signals.wait(attempts.longest)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        running.start(settings=None, reload=True, reuse=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert attempts.signals.wait(attempts.longest) is Wakeup.ATTEMPT
    (ended,) = running.messages()
    assert isinstance(ended, Ended)
    assert ended.status == CANNOT_START
    assert ended.why.startswith("/nonexistent/python: ")


def test_descriptors_do_not_pile_up(attempts: Any) -> None:
    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    running = attempts.run(("/nonexistent/python",))
    before = open_now()
    for _ in range(10):
        running.start(settings=None, reload=True, reuse=True)
        running.messages()
    ended = attempts.start("say(REPORT)")
    for _ in range(5):
        attempts.hear(ended, AttemptReport)
        ended.start(settings=None, reload=True, reuse=True)
    ended.end()
    assert open_now() == before


ATTEMPT = """
import sys
from rolekeeper.adapters.supervision.attemptpipe import SupervisorPipe
from rolekeeper.model import AttemptReport, Outcome
pipe = SupervisorPipe()
order = pipe.order()
if order.settings is not None:
    pipe.accepted(order.settings, wait=not order.reload)
else:
    pipe.rejected("nothing to go by")
pipe.report(AttemptReport(Outcome.FAILED, code="unreachable", message="Cannot reach \\u00fcn\\u00efcode"))
"""


def test_both_ends_of_the_pipe_speak_alike(attempts: Any, kit: Any) -> None:
    attempts.script.write_text(ATTEMPT, encoding="utf-8")
    running = attempts.run((sys.executable, "-I", str(attempts.script)), settings=kit.settings, reload=False)
    assert attempts.hear(running, Accepted) == Accepted(kit.settings)
    assert running.messages() == []  # it waits until its settings are taken over
    running.proceed()
    assert attempts.hear(running, AttemptReport) == attempts.report


def test_an_attempt_whose_daemon_is_gone_asks_for_nothing_more(tmp_path: Path, kit: Any) -> None:
    script = tmp_path / "attempt.py"
    script.write_text(ATTEMPT, encoding="utf-8")
    order = json.dumps({"settings": encode(kit.settings), "reload": False, "reuse": True})
    for said in ("", order + "\n"):
        ended = subprocess.run([sys.executable, "-I", script], input=said, capture_output=True, text=True, check=False)
        assert ended.returncode == BROKEN_WORD
        assert '"report":' not in ended.stdout
