"""The daemon's signals: each with its meaning, one at a time, and none before it is waited for."""

import os
import signal
from datetime import timedelta

import pytest

from rolekeeper.adapters.supervision.signals import MEANING, BlockedSignals, wake_self
from rolekeeper.ports import Wakeup

pytestmark = pytest.mark.alone

NOT_LONG = timedelta(milliseconds=1)
LONG = timedelta(seconds=20)

EXPECTED = {
    signal.SIGTERM: Wakeup.STOP,
    signal.SIGINT: Wakeup.STOP,
    signal.SIGHUP: Wakeup.RELOAD,
    signal.SIGUSR1: Wakeup.REFRESH,
    signal.SIGCHLD: Wakeup.ATTEMPT,
    signal.SIGIO: Wakeup.ATTEMPT,
}


@pytest.mark.parametrize("number", EXPECTED)
def test_every_signal_has_its_meaning(signals: BlockedSignals, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    assert signals.wait(LONG) is EXPECTED[number]
    assert signals.wait(timedelta(0)) is None


def test_no_other_signal_is_taken_from_whoever_expects_it(signals: BlockedSignals) -> None:
    assert signals.wait(timedelta(0)) is None
    assert set(MEANING) == set(EXPECTED) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGALRM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_signals_are_taken_one_at_a_time_and_none_is_lost(signals: BlockedSignals) -> None:
    for number in EXPECTED:
        os.kill(os.getpid(), number)
    taken = [signals.wait(timedelta(0)) for _ in EXPECTED]
    assert sorted(one.value for one in taken if one) == sorted(one.value for one in EXPECTED.values())


def test_without_a_signal_the_wait_ends_by_itself(signals: BlockedSignals) -> None:
    assert signals.wait(NOT_LONG) is None


def test_the_daemon_can_wake_itself(signals: BlockedSignals) -> None:
    wake_self()
    assert signals.wait(LONG) is Wakeup.ATTEMPT


def test_a_child_is_seen_to_end_although_who_started_us_ignores_it() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        BlockedSignals()
        child = os.posix_spawn("/bin/true", ["true"], {})
        assert os.waitpid(child, 0)[0] == child
    finally:
        signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MEANING)
