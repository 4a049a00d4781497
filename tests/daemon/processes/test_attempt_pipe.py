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
from pathlib import Path
from typing import Any

import pytest
from tests.daemon import conftest as daemon

from rolekeeper import __version__
from rolekeeper.adapters.supervision.attemptpipe import BROKEN_WORD, CANNOT_START, SETTINGS
from rolekeeper.core.jsonvalues import encode
from rolekeeper.model import AttemptReport
from rolekeeper.ports import Accepted, Ended, Outdated, Rejected, Wakeup
from rolekeeper.settings import Settings, supervisor_settings
from rolekeeper.values import replace

pytestmark = pytest.mark.alone

GARBAGE = {
    "text": r"b'Traceback (most recent call last):\n'",
    "bytes that are no UTF-8": r"b'\xff\xfe\x00\n'",
    "no object": r"b'[1, 2]\n'",
    "a number": r"b'7\n'",
    "a string": r"b'\"settings\"\n'",
    "null": r"b'null\n'",
    "an object of no kind": r"b'{}\n'",
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


def test_what_an_attempt_says_may_be_more_than_a_pipes_worth(attempts: Any) -> None:
    (plain,) = daemon.SETTINGS.credentials_files
    outputs = tuple(replace(plain, path=f"/srv/application-{number}/credentials") for number in range(1500))
    large = supervisor_settings(replace(daemon.SETTINGS, credentials_files=outputs))
    word = json.dumps({"settings": encode(large)})
    assert len(word) > 3 << 16
    running = attempts.start(f"say({word!r}); say(REPORT)")
    assert attempts.hear(running, Accepted).settings == large
    assert attempts.hear(running, AttemptReport) == attempts.report


def test_what_a_newer_version_adds_to_a_report_is_ignored(attempts: Any) -> None:
    running = attempts.start(
        "said = json.loads(REPORT)\nsaid['report']['surprise'] = said['surprise'] = 1\nsay(json.dumps(said))"
    )
    assert attempts.hear(running, AttemptReport) == attempts.report


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
        running.start(reload=True, reuse=True)
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

    running, ended = attempts.run(("/nonexistent/python",)), attempts.start("say(REPORT)")
    attempts.hear(ended, AttemptReport)
    before = open_now()
    for _ in range(10):
        running.start(reload=True, reuse=True)
        running.messages()
    for _ in range(5):
        ended.start(reload=True, reuse=True)
        attempts.hear(ended, AttemptReport)
    assert open_now() == before


ATTEMPT = """
import json, os, sys
from rolekeeper.adapters.supervision.attemptpipe import SETTINGS, SupervisorPipe
from rolekeeper.core.jsonvalues import decode, encode
from rolekeeper.model import AttemptReport, Outcome
from rolekeeper.settings import Settings
if sys.argv[2:]:
    os.dup2(os.memfd_create("settings"), SETTINGS)
pipe = SupervisorPipe()
order = pipe.order()
if order.settings is None:
    pipe.accepted(decode(Settings, json.load(open(sys.argv[1]))), wait=True)
else:
    pipe.rejected(json.dumps([encode(order.settings), order.reload, order.reuse]))
pipe.report(AttemptReport(Outcome.FAILED, code="unreachable", message="Cannot reach \\u00fcn\\u00efcode"))
"""


@pytest.fixture
def with_password(tmp_path: Path) -> Settings:
    """Settings that hold a secret, in the place where the script above finds them."""
    service = replace(daemon.SETTINGS.service, proxy_url="http://me:a-password@proxy.example:3128")
    settings: Settings = replace(daemon.SETTINGS, service=service, digest="of the files")
    (tmp_path / "settings.json").write_text(json.dumps(encode(settings)), encoding="utf-8")
    return settings


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    """An attempt that is one end of the pipe and nothing more."""
    (tmp_path / "pipe.py").write_text(ATTEMPT, encoding="utf-8")
    return (sys.executable, "-I", f"{tmp_path}/pipe.py", f"{tmp_path}/settings.json")


def test_both_ends_of_the_pipe_speak_alike(attempts: Any, command: tuple[str, ...], with_password: Settings) -> None:
    running = attempts.run(command)
    assert attempts.hear(running, Accepted) == Accepted(supervisor_settings(with_password))
    assert running.messages() == []  # it waits until its settings are taken over
    running.proceed()
    assert attempts.hear(running, AttemptReport) == attempts.report


def test_later_attempts_inherit_the_settings_in_force_which_the_daemon_does_not_see(
    attempts: Any, command: tuple[str, ...], with_password: Settings
) -> None:
    running = attempts.run(command)
    assert "a-password" not in repr(attempts.hear(running, Accepted))
    running.proceed()
    attempts.hear(running, AttemptReport)
    for reload, reuse in ((True, False), (False, True)):
        running.start(reload=reload, reuse=reuse)
        assert json.loads(attempts.hear(running, Rejected).problems) == [encode(with_password), reload, reuse]
        attempts.hear(running, AttemptReport)


@pytest.mark.parametrize("written", [200, None], ids=["half of them", "all of them"])
def test_settings_are_read_anew_after_an_attempt_that_was_killed_before_it_reported_them(
    attempts: Any, command: tuple[str, ...], with_password: Settings, written: int | None
) -> None:
    script, whole = Path(command[2]), Path(command[2]).read_text()
    settings = json.dumps(encode(with_password)).encode()[:written]
    script.write_text(f"import os\nos.pwrite({SETTINGS}, {settings!r}, 0)\nos.kill(os.getpid(), 9)")
    running = attempts.run(command)
    attempts.hear(running, Ended)
    script.write_text(whole)
    running.start(reload=False, reuse=True)
    attempts.hear(running, Accepted)


def answers(command: tuple[str, ...], said: str) -> subprocess.CompletedProcess[str]:
    """An attempt whose supervisor says this and is gone."""
    return subprocess.run([*command, "alone"], input=said, capture_output=True, text=True, check=False, timeout=60)


def order(**more: Any) -> str:
    return json.dumps({"version": __version__, "digest": None, "reload": False, "reuse": True, **more}) + "\n"


@pytest.mark.parametrize("said", ["", "go\n", "[]\n", "{}\n", order(), order(surprise=1)])
def test_an_attempt_whose_daemon_is_gone_asks_for_nothing_more(
    command: tuple[str, ...], with_password: Settings, said: str
) -> None:
    ended = answers(command, said)
    assert ended.returncode == BROKEN_WORD
    assert '"report":' not in ended.stdout
    assert bool(ended.stdout) is ("version" in said)  # the order was understood
    assert with_password.service.proxy_url not in ended.stdout + ended.stderr


def test_an_attempt_of_another_version_does_nothing_and_says_which_it_is(
    attempts: Any, command: tuple[str, ...]
) -> None:
    ended = answers(command, json.dumps({"version": "0.0.1", "settings": {"of": "that version"}}) + "\n")
    assert (ended.returncode, ended.stdout) == (0, json.dumps({"outdated": __version__}) + "\n")
    running = attempts.start(f"say({ended.stdout.strip()!r})")
    assert attempts.hear(running, Outdated) == Outdated(__version__)
    assert running.messages() == []  # its end is no end of an attempt
