"""How attempts are started and ended, as real child processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rolekeeper import __version__
from rolekeeper.adapters.supervision.attemptpipe import SETTINGS, AttemptProcesses, SettingsInForce
from rolekeeper.model import AttemptReport
from rolekeeper.ports import Ended, Rejected

pytestmark = pytest.mark.alone


def test_a_report_is_heard_and_the_attempt_is_gone_without_a_trace(attempts: Any) -> None:
    running = attempts.start("tell(os.getpid()); say(REPORT)")
    pid = json.loads(attempts.hear(running, Rejected).problems)
    gone = attempts.ends(pid)
    assert attempts.hear(running, AttemptReport) == attempts.report
    assert gone()
    running.reap()
    assert not Path(f"/proc/{pid}").exists()  # not even as a zombie
    assert running.messages() == []


def test_an_attempt_is_told_what_to_do(attempts: Any) -> None:
    running = attempts.start("tell(order)", reload=True, reuse=False, passed_over=("reports", "backup"))
    told = json.loads(attempts.hear(running, Rejected).problems)
    passed_over = ["backup", "reports"]
    assert told == {
        "version": __version__,
        "digest": None,
        "reload": True,
        "reuse": False,
        "passed_over": passed_over,
    }


def test_an_order_is_no_longer_than_a_pipe_holds(attempts: Any) -> None:
    names = [f"role-{number}" for number in range(4000)]
    running = attempts.start("tell(len(order) < 4096)", passed_over=names)
    assert json.loads(attempts.hear(running, Rejected).problems) is True


def test_an_attempt_begins_with_no_signal_blocked_or_ignored(attempts: Any) -> None:
    show = r"""sed -n 's/^Sig[BI]..:.//p' /proc/self/status | tr '\n' ' '"""
    running = attempts.run(("/bin/sh", "-c", f"""read order; printf '{{"rejected": "%s"}}\\n' "$({show})" """))
    blocked, ignored = (int(mask, 16) for mask in attempts.hear(running, Rejected).problems.split())
    of_libc = 1 << 31 | 1 << 32  # two that the C library keeps to itself
    assert (blocked, ignored & ~of_libc) == (0, 0)


def test_an_attempt_has_a_session_of_its_own(attempts: Any) -> None:
    assert attempts.fact("tell(os.getsid(0) == os.getpgrp() == os.getpid())") is True


def test_an_attempt_inherits_the_settings_and_no_other_descriptor_of_the_daemons(attempts: Any) -> None:
    given = {int(one.name) for one in Path("/proc/self/fd").iterdir() if one.exists() and is_inheritable(one)}
    attempts.start("time.sleep(600)")  # whose pipes are open here
    listed = attempts.fact(
        "tell([int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)])"
    )
    assert set(listed) == given | {0, 1, 2, SETTINGS}


def is_inheritable(descriptor: Path) -> bool:
    return os.get_inheritable(int(descriptor.name))


def test_an_attempt_has_the_environment_that_it_was_given(attempts: Any) -> None:
    assert attempts.fact("tell(os.environ['PATH'])") == "/usr/bin:/bin"
    assert attempts.fact("tell('HOME' in os.environ)") is False


def test_ending_an_attempt_kills_it_and_what_it_has_started(attempts: Any) -> None:
    running = attempts.start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "other = subprocess.Popen(['/bin/sleep', '600'])\n"
        "tell([os.getpid(), other.pid])\n"
        "time.sleep(600)"
    )
    gone = [attempts.ends(pid) for pid in json.loads(attempts.hear(running, Rejected).problems)]
    running.end()
    assert all(ask() for ask in gone)
    assert running.messages() == []


LOOKING = """
import json, sys
from datetime import timedelta
from pathlib import Path
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.hardware import HardwareProbe, Sources
sys.stdin.readline()
HardwareProbe(SystemClock(), Sources(dmidecode=Path(sys.argv[1]), patience=timedelta(minutes=10))).look()
"""
HANGING = """#!/bin/sh
sleep 600 &
printf '{"rejected": "[%s, %s, %s]"}\\n' $PPID $$ $! > /proc/$PPID/fd/1
wait
"""


@pytest.mark.parametrize("by", ["the daemon", "its own alarm"])
def test_an_attempt_that_ends_while_it_looks_at_the_hardware_leaves_no_program_behind(
    attempts: Any, tmp_path: Path, by: str
) -> None:
    dmidecode = tmp_path / "dmidecode"
    dmidecode.write_text(HANGING, encoding="ascii")
    dmidecode.chmod(0o755)
    attempts.script.write_text(LOOKING, encoding="ascii")
    running = attempts.run((sys.executable, "-I", str(attempts.script), str(dmidecode)))
    told = [json.loads(attempts.hear(running, Rejected).problems) for _ in range(4)]
    gone = [attempts.ends(pid) for pids in told for pid in pids]
    if by == "the daemon":
        running.end()
    else:
        os.kill(told[0][0], signal.SIGALRM)
        assert attempts.hear(running, Ended) == Ended(-signal.SIGALRM)
    assert [ask() for ask in gone] == [True] * len(gone)


def test_ending_twice_or_nothing_at_all_does_nothing(attempts: Any) -> None:
    running = attempts.start("time.sleep(600)")
    running.end()
    running.end()
    AttemptProcesses(("/bin/true",), {}, SettingsInForce()).end()


def test_another_attempt_can_be_started_while_the_last_one_is_still_dying(attempts: Any) -> None:
    running = attempts.start("time.sleep(600)")
    for _ in range(5):
        running.end()
        running.start(reload=True, reuse=True)
    assert running.messages() == []


def in_a_process(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False, timeout=60)


def test_an_attempt_does_not_outlive_its_deadline_whatever_is_blocked_or_ignored() -> None:
    ended = in_a_process(
        "import signal, time\n"
        "from datetime import timedelta\n"
        "from rolekeeper.adapters.process import die_after\n"
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "die_after(timedelta(milliseconds=1))\n"
        "time.sleep(50)"
    )
    assert ended.returncode == -signal.SIGALRM


def test_an_attempt_leaves_no_core_dump_and_lets_nobody_look_into_it() -> None:
    ended = in_a_process(
        "import ctypes, resource\n"
        "from rolekeeper.adapters.process import keep_secrets_in_memory\n"
        "keep_secrets_in_memory()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    assert ended.stdout == "(0, 0) 0\n"
