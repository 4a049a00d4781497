"""`status` for eyes, for plugins and for watching: with a daemon, without one, and when something is wrong."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import TOKEN, Daemon, daemons, until

from rolekeeper.cli.status import distance
from rolekeeper.emulator import Emulator

LINE = re.compile(r"(OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+( \| \S+=\S+( \S+=\S+)*)?\n")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \((in )?(\d+ (d|h|min|s) ?)+( ago)?\)")


@pytest.fixture
def daemon(node: Server) -> Iterator[Daemon]:
    """The daemon of a registered server, with an endpoint beside the file."""
    node.configure('[[endpoint]]\nname = "app"\n')
    with daemons() as start:
        running = start(node)
        running.until_state("waiting")
        yield running


@pytest.fixture(autouse=True)
def ordinary_service(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.clear_faults()


def test_what_goes_well_is_said_in_facts_and_a_table(daemon: Daemon) -> None:
    said = daemon.server.run("status")
    assert (said.code, said.err) == (0, "")
    facts, _, outputs = said.out.partition("\n\n")
    assert facts.startswith(f"State:        waiting\nNode:         {daemon.server.node_id}\n")
    moments = {line[:13].strip(): line[14:] for line in facts.splitlines() if MOMENT.search(line)}
    assert list(moments) == ["Expire:", "Refresh:", "Next attempt:", "Last success:", "Last outcome:"]
    assert re.search(r"\(in (59 min|1 h)\)", moments["Expire:"])
    heading, *rows = outputs.splitlines()
    assert heading.split() == ["OUTPUT", "CREDENTIALS", "EXPIRE"]
    starts = [heading.index(word) for word in heading.split()]
    table = [[row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for row in rows]
    assert [row[:2] for row in table] == [[f"{daemon.server.output} [default]", "fresh"], ["endpoint app", "fresh"]]
    assert all(MOMENT.fullmatch(row[2]) for row in table)


DISTANCES = {
    timedelta(0): "0 s",
    timedelta(seconds=59.9): "59 s",
    timedelta(seconds=60): "1 min",
    timedelta(minutes=23, seconds=59): "23 min",
    timedelta(hours=1): "1 h",
    timedelta(hours=1, minutes=5, seconds=7): "1 h 5 min",
    timedelta(days=2, minutes=5): "2 d",
    timedelta(days=2, hours=3, minutes=5): "2 d 3 h",
}


@pytest.mark.parametrize("far", DISTANCES, ids=str)
def test_how_far_a_time_is_takes_two_units_at_most(far: timedelta) -> None:
    assert distance(far) == DISTANCES[far]


def test_how_far_the_expiry_is_goes_by_the_services_clock(node: Server) -> None:
    node.emulator.offset = -timedelta(hours=3)
    try:
        with daemons() as start:
            start(node).until_state("waiting")
            out = node.run("status").out
    finally:
        node.emulator.offset = timedelta(0)
    (expire,) = re.findall(r"^Expire: +(\S+) \((.+)\)$", out, re.MULTILINE)
    assert datetime.fromisoformat(expire[0]) < datetime.now(UTC)
    assert expire[1] in ("in 59 min", "in 1 h")


def test_what_is_wrong_comes_first_with_what_to_do(daemon: Daemon) -> None:
    node = daemon.server
    node.emulator.fail(TOKEN, error="MachineFingerprintDoesNotMatch")
    assert node.run("refresh").code == 77
    daemon.until_state("hibernating")
    said = node.run("status")
    assert said.code == 2
    first, hint = said.err.splitlines()
    assert "MachineFingerprintDoesNotMatch" in first
    assert "rolekeeper fingerprint accept" in hint


def test_a_file_that_another_program_wrote_is_said_before_the_next_attempt_finds_it(daemon: Daemon) -> None:
    node = daemon.server
    text = node.output.read_text()
    node.output.write_text(re.sub("aws_access_key_id = .*", "aws_access_key_id = ASIAOTHEROTHEROTHERO", text))
    said = node.run("status")
    assert said.code == 2
    assert f"the credentials in {node.output} [default] are held-by-another\n  hint: stop the program" in said.err
    node.output.unlink()
    assert f"the credentials in {node.output} [default] are absent\n  hint: `rolekeeper refresh`" in (
        node.run("status").err
    )


def check(server: Server, code: int, word: str) -> str:
    said = server.run("status", "--check")
    assert (said.code, said.err) == (code, "")
    assert LINE.fullmatch(said.out), said.out
    assert said.out.startswith(f"{word}: ")
    return said.out


def test_a_plugin_gets_one_line_with_performance_data(daemon: Daemon) -> None:
    line = check(daemon.server, 0, "OK")
    words, _, data = line.partition(" | ")
    assert f"{daemon.server.node_id} has fresh credentials in 2 outputs" in words
    values = dict(value.split("=") for value in data.split())
    assert values.keys() == {"expires_in", "fresh_outputs", "attempts"}
    assert 3500 < int(values["expires_in"].removesuffix("s")) <= 3600
    assert values["fresh_outputs"] == "2;;;0;2"


def test_a_plugin_calls_a_dead_daemon_critical_and_is_never_silent(daemon: Daemon) -> None:
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert check(daemon.server, 2, "CRITICAL").startswith("CRITICAL: no daemon runs")


def test_a_plugin_calls_no_daemon_at_all_critical(server: Server) -> None:
    assert check(server, 2, "CRITICAL") == "CRITICAL: no daemon runs\n"


def test_a_plugin_says_what_a_daemon_waits_for(server: Server) -> None:
    with daemons() as start:
        start(server).until_state("unregistered")
        assert "not registered" in check(server, 2, "CRITICAL")


def test_a_plugin_warns_while_credentials_are_good_and_attempts_fail(daemon: Daemon) -> None:
    node = daemon.server
    node.emulator.fail(TOKEN, error="InternalServerError", status=500, times=None)
    node.run("refresh")
    daemon.until_state("backing-off")
    assert "InternalServerError" in check(node, 1, "WARNING")


def test_a_plugin_warns_of_an_older_configuration(daemon: Daemon) -> None:
    daemon.server.configure('[[endpoint]]\nname = "another"\n')
    assert "older configuration" in check(daemon.server, 1, "WARNING")


WRONG = "[nonsense]\nfirst = 1\n[more_nonsense]\n"
BROKEN = ["", "{", '{"state": 5}']


def break_configuration(server: Server) -> None:
    server.config.write_text(server.config.read_text() + WRONG)


def test_a_plugin_does_not_know_what_a_living_daemon_does_with_a_wrong_configuration(daemon: Daemon) -> None:
    break_configuration(daemon.server)
    line = check(daemon.server, 3, "UNKNOWN")
    assert str(daemon.server.config) in line
    assert line.count("\n") == 1


def test_a_plugin_calls_a_dead_daemon_critical_with_a_wrong_configuration_too(server: Server) -> None:
    break_configuration(server)
    line = check(server, 2, "CRITICAL")
    assert line.startswith(f"CRITICAL: no daemon runs; {server.config}: ")
    assert line.count("\n") == 1
    server.config.write_text("[")  # which daemon it is about is not known
    assert str(server.config) in check(server, 3, "UNKNOWN")


@pytest.mark.parametrize("left", BROKEN)
def test_a_plugin_calls_a_dead_daemon_critical_whatever_it_has_left(server: Server, left: str) -> None:
    server.runtime.mkdir()
    (server.runtime / "status.json").write_text(left)
    assert check(server, 2, "CRITICAL") == "CRITICAL: no daemon runs\n"


def test_a_plugin_does_not_know_what_a_living_daemon_says_that_nobody_understands(daemon: Daemon) -> None:
    for left in BROKEN:
        (daemon.server.runtime / "status.json").write_text(left)
        assert "status.json" in check(daemon.server, 3, "UNKNOWN")


def watched(node: Server, output: int) -> subprocess.Popen[bytes]:
    command = node.command("status", "--watch")
    return subprocess.Popen(command, stdout=output, stderr=output, env=node.environment())


def test_watching_lives_through_everything_until_it_is_interrupted(daemon: Daemon) -> None:
    node = daemon.server
    seen = node.directory / "seen"
    with seen.open("wb") as output, watched(node, output.fileno()) as watching:
        try:
            until(lambda: "State:        waiting" in seen.read_text(), "the daemon")
            right = node.config.read_text()
            node.config.write_text("[nonsense]")
            until(lambda: "nonsense" in seen.read_text(), "the wrong configuration")
            node.config.write_text(right)
            daemon.send(signal.SIGKILL)
            until(lambda: "no daemon runs on" in seen.read_text(), "its end")
            assert watching.poll() is None
        finally:
            watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
    assert "Traceback" not in seen.read_text()
    assert seen.read_text().count("State:        waiting") <= 3  # at changes, and not every two seconds


def test_watching_on_a_terminal_stays_at_its_top(daemon: Daemon) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        with watched(daemon.server, theirs) as watching:
            heard = b""

            def drawn_twice() -> bool:
                nonlocal heard
                heard += os.read(ours, 65536)
                return heard.count(b"\x1b[H\x1b[2J") >= 2

            until(drawn_twice, "it is drawn again")
            watching.send_signal(signal.SIGINT)
            assert watching.wait() == 130
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"State:        waiting" in heard
