"""What `doctor` promises as a whole: the order, the forms, what it spends, what it leaves alone, and its time."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import Daemon
from tests.doctor.conftest import Doctor
from tests.doctor.test_doctor_faults import configured, deaf

from rolekeeper import compose
from rolekeeper.adapters.patience import within
from rolekeeper.adapters.supervision.transient import sandbox
from rolekeeper.cli.probes.case import Case
from rolekeeper.cli.probes.chain import CHAIN, Link, walk
from rolekeeper.config.load import load
from rolekeeper.core.findings import Finding, Level, exit_code, ok, summary
from rolekeeper.emulator import Emulator
from rolekeeper.errors import RolekeeperError

OF_THIS_MACHINE = ("hardware", "environment", "ssm-agent")  # warnings that tests cannot rule out
PROMISED = 30  # seconds that the command takes at most
CODED = re.compile(r"^(ok|skipped|warning|failed) +([a-z-]+) +(.*?)(?: \[([a-zA-Z-]+)\])?$", re.MULTILINE)


@pytest.mark.usefixtures("running")
def test_on_a_healthy_node_no_link_is_broken(doctor: Doctor) -> None:
    said = doctor.says("--token")
    findings = said.json["findings"]
    assert (said.code, said.err, said.json["exit_code"]) == (0, "", 0)
    wrong = [one for one in findings if one["level"] not in ("ok", "skipped") and one["name"] not in OF_THIS_MACHINE]
    assert wrong == []
    assert [one["name"] for one in findings if one["level"] == "skipped"] == ["unit"]


@pytest.mark.usefixtures("running")
def test_the_links_are_told_in_the_order_of_the_chain(doctor: Doctor) -> None:
    names = list(dict.fromkeys(one["name"] for one in doctor.findings()))
    chain = [link.name for link in CHAIN]
    assert [name for name in names if name in chain] == [name for name in chain if name in names]
    assert {"configuration", "daemon", "vault", "hardware", "name", "service", "output", "reader"} <= set(names)


def test_it_goes_on_after_a_failure_as_far_as_that_makes_sense(doctor: Doctor) -> None:
    (doctor.server.directory / "vault" / "vault.json").write_bytes(b"{")
    levels = {one["name"]: one["level"] for one in doctor.findings("--token")}
    assert (levels["vault"], levels["hardware"], levels["token"]) == ("failed", "skipped", "skipped")
    assert (levels["service"], levels["clock"], levels["output"], levels["ssm-agent"]) == ("ok",) * 4


def test_the_text_has_the_same_findings_with_the_remedies_and_the_one_to_begin_with(doctor: Doctor) -> None:
    said = doctor.server.run("doctor")
    found = doctor.findings()
    assert said.err == ""
    assert [(level, name, code) for level, name, _, code in CODED.findall(said.out)] == [
        (one["level"], one["name"], one["code"]) for one in found
    ]
    assert all(one["hint"].splitlines()[0] in said.out for one in found if one["hint"])
    assert said.out.splitlines()[-1].endswith("begin with: daemon")


def test_a_remedy_stands_once_however_many_links_need_it(doctor: Doctor) -> None:
    more = [f"{doctor.server.directory}/file/{name}" for name in "ab"]
    (doctor.server.directory / "file").touch()
    doctor.server.configure("".join(f'[[credentials_file]]\npath = "{path}"\n' for path in more))
    hints = {one["hint"] for one in doctor.findings() if one["code"] == "no-such-directory"}
    assert len(hints) == 1
    text = doctor.server.run("doctor").out
    assert text.count(hints.pop()) == 1
    assert text.count("-> as above\n") == 1


def on_a_terminal(server: Server, **environment: str) -> str:
    ours, theirs = pty.openpty()
    command = server.command("doctor")
    with subprocess.Popen(command, stdout=theirs, env=server.environment(TERM="xterm", **environment)) as process:
        os.close(theirs)
        said = b"".join(pieces(ours))
        os.close(ours)
    assert process.returncode == 69
    return said.decode()


def pieces(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            return
        if not piece:
            return
        yield piece


def test_a_terminal_gets_colours_and_nothing_else_does(doctor: Doctor) -> None:
    assert "\x1b[1;31mfailed  \x1b[0mdaemon" in on_a_terminal(doctor.server)
    assert "\x1b" not in on_a_terminal(doctor.server, NO_COLOR="1")
    assert "\x1b" not in doctor.server.run("doctor").out


@pytest.mark.usefixtures("running")
def test_it_spends_a_token_only_when_told_to(doctor: Doctor) -> None:
    issued = len(doctor.server.tokens())
    doctor.says()
    assert len(doctor.server.tokens()) == issued
    doctor.says("--token")
    assert len(doctor.server.tokens()) == issued + 1


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, status.st_mode, status.st_uid, status.st_gid, status.st_ino)
    return found


@pytest.mark.parametrize("options", [(), ("--token",)])
def test_it_changes_nothing(doctor: Doctor, options: tuple[str, ...]) -> None:
    more = f'[[endpoint]]\nname = "web"\n[[credentials_file]]\npath = "{doctor.server.directory}/deep/file"\n'
    doctor.server.configure(more)
    doctor.server.output.parent.mkdir()
    doctor.server.output.write_text("[another]\nregion = eu-central-1\n")
    before = snapshot(doctor.server.directory)
    doctor.says(*options)
    assert snapshot(doctor.server.directory) == before


def test_it_changes_nothing_that_a_daemon_has_published(doctor: Doctor, running: Daemon) -> None:
    running.stop()
    before = snapshot(doctor.server.directory)
    doctor.says("--token")
    assert snapshot(doctor.server.directory) == before


@pytest.mark.usefixtures("running")
def test_no_secret_is_shown(doctor: Doctor) -> None:
    said = [doctor.says("--token").out, doctor.server.run("doctor", "--token").out]
    assert [secret for secret in doctor.server.secrets() if any(secret in text for text in said)] == []


def test_a_dead_network_ends_in_time(doctor: Doctor) -> None:
    with deaf() as port:
        configured(doctor, f"http://127.0.0.1:{port}")
        command = ["timeout", str(PROMISED), *doctor.server.command("doctor", "--token")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=doctor.server.environment())
    assert done.returncode == 69
    assert re.search(r"^failed +route ", done.stdout, re.MULTILINE)


def test_a_service_that_hangs_ends_in_time(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fail("*", hang=True, times=None)
    command = ["timeout", str(PROMISED), *doctor.server.command("doctor", "--token")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=doctor.server.environment())
    assert done.returncode == 69
    assert re.search(r"^failed +service ", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +output ", done.stdout, re.MULTILINE)


def case_of(doctor: Doctor) -> Case:
    return Case(None, with_token=False, clock=compose.clock(), environment={}, loaded=load(doctor.server.config))


def test_a_link_that_hangs_costs_its_own_time_and_those_that_need_it(doctor: Doctor) -> None:
    reader, writer = os.pipe()

    def hangs(_: Case) -> Iterator[Finding]:
        yield ok("disk", "so far")
        os.read(reader, 1)

    links = (
        Link("disk", hangs, longest=timedelta(seconds=1)),
        Link("file", lambda _: iter([ok("file", "")]), ("disk",)),
        Link("else", lambda _: iter([ok("else", "")])),
    )
    found = walk(case_of(doctor), links=links)
    os.close(writer)
    assert [(one.name, one.level, one.code) for one in found] == [
        ("disk", Level.OK, ""),
        ("disk", Level.FAILED, "timeout"),
        ("file", Level.SKIPPED, ""),
        ("else", Level.OK, ""),
    ]
    assert "within 1 s" in found[1].message


def test_when_the_time_of_all_is_over_what_is_left_is_skipped(doctor: Doctor) -> None:
    found = walk(case_of(doctor), timedelta(0))
    assert {one.level for one in found} == {Level.SKIPPED}
    assert [one.name for one in found] == [link.name for link in CHAIN]


def test_work_that_hangs_is_left_behind() -> None:
    reader, writer = os.pipe()
    with pytest.raises(TimeoutError):
        within(timedelta(milliseconds=50), lambda: os.read(reader, 1))
    os.close(writer)


def of(name: str, level: Level, code: int = 0) -> Finding:
    return Finding(name, level, "", exit_code=code)


@pytest.mark.parametrize(
    ("found", "code", "line"),
    [
        ([ok("a", "")], 0, "Everything that was looked at is ok."),
        ([of("a", Level.SKIPPED)], 0, "Everything that was looked at is ok."),
        ([of("a", Level.WARNING)], 0, "1 warning; begin with: a"),
        ([of("a", Level.WARNING), of("b", Level.FAILED, 74)], 74, "1 failed, 1 warning; begin with: b"),
        ([of("a", Level.FAILED, 69), of("b", Level.FAILED, 78)], 69, "2 failed; begin with: a"),
        ([of("a", Level.WARNING), of("b", Level.WARNING)], 0, "2 warnings; begin with: a"),
    ],
)
def test_the_first_link_that_failed_gives_the_exit_code(found: list[Finding], code: int, line: str) -> None:
    assert (exit_code(found), summary(found)) == (code, line)


SHOWN = {
    "CapabilityBoundingSet": "",
    "User": "",
    "ProtectSystem": "strict",
    "ReadWritePaths": "-/srv/aws",
    "BindPaths": "",
    "StateDirectory": "rolekeeper",
    "RuntimeDirectory": "rolekeeper",
}


def test_the_sandbox_of_a_unit_is_repeated_with_its_own_directories_and_without_privileges() -> None:
    assert sandbox(SHOWN) == [
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ReadWritePaths=-/srv/aws",
        "ReadWritePaths=-/var/lib/rolekeeper",
        "ReadWritePaths=-/run/rolekeeper",
    ]


def test_a_sandbox_that_systemd_does_not_show_whole_is_not_repeated() -> None:
    with pytest.raises(RolekeeperError) as caught:
        sandbox({**SHOWN, "ReadWritePaths": "[unprintable]"})
    assert caught.value.code == "sandbox-unknown"
