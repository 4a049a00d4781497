"""What `status` and `wait` make of what a daemon has written, at the moment when they are asked."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.conftest import LONGEST, Said, Server
from tests.daemonprocess.conftest import TOKEN, Daemon, Start, daemons, published, until

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault

# Root reads everything, unless it has given these up.
POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
HOUR = timedelta(hours=1)
GONE = "no daemon runs"


def edit(server: Server, output: Mapping[str, Any] = {}, **changes: Any) -> None:
    """Change fields of status.json, and of the first output in it; of its life those that are given."""
    path = server.runtime / "status.json"
    document = json.loads(path.read_text()) | changes
    first = document["outputs"][0]
    document["outputs"][0] = first | output | {"life": first["life"] | output.get("life", {})}
    path.write_text(json.dumps(document))


def since_boot(ago: timedelta) -> float:
    return (SystemClock().now().boot - ago).total_seconds()


def said_to_a_bystander(server: Server, *options: str) -> Said:
    """What `status` says to somebody who may not read the daemon's lock."""
    (server.runtime / "lock").chmod(0)
    command = [*POWERLESS, *server.command("status", *options)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST, check=False, env=server.environment()
    )
    return Said(done.returncode, done.stdout, done.stderr)


EARLIER, AN_HOUR_BEFORE = "2020-01-01T00:00:00Z", "2019-12-31T23:00:00Z"
# What has happened since the daemon wrote status.json, to the clocks or to the output; and what is said now.
MOMENTS: dict[str, tuple[Callable[[Server], Any], str, int]] = {
    "nothing": (lambda _: None, "fresh", 0),
    "three quarters of the life have passed": (
        lambda server: edit(server, {"life": {"issued_boot": since_boot(HOUR * 0.76)}}),
        "stale",
        1,
    ),
    "the machine was suspended for an hour, and nobody has written anything since": (
        lambda server: edit(server, {"life": {"issued_boot": since_boot(HOUR)}}),
        "expired",
        2,
    ),
    "the wall clock is years ahead": (
        lambda server: edit(
            server, {"expires_at": EARLIER, "life": {"issued_at": AN_HOUR_BEFORE, "expires_at": EARLIER}}
        ),
        "fresh",
        0,
    ),
    "the machine was started again": (lambda server: edit(server, boot_id="another"), "fresh", 0),
    "the machine was started again, and the time of expiry has come": (
        lambda server: edit(server, {"expires_at": EARLIER}, boot_id="another"),
        "expired",
        2,
    ),
    "nothing told the daemon which boot this is": (lambda server: edit(server, boot_id=""), "fresh", 0),
    "the file is garbled": (lambda server: server.output.write_text("[default\n"), "unknown", 2),
}


@pytest.mark.parametrize("what", MOMENTS)
def test_freshness_is_that_of_the_moment_when_it_is_asked_for(daemon: Daemon, what: str) -> None:
    happens, freshness, code = MOMENTS[what]
    happens(daemon.server)
    said = daemon.server.run("status", "--json")
    assert (said.json["freshness"], said.code) == (freshness, code)
    assert daemon.server.run("wait", "--timeout", "1ms").code == (0 if freshness == "fresh" else 69)


def test_a_bystander_is_told_whether_the_daemon_runs(daemon: Daemon) -> None:
    server, bystander = daemon.server, os.getpid()
    said = said_to_a_bystander(server, "--json")
    assert (said.code, said.json["pid"], said.err) == (0, daemon.pid, "")
    daemon.send(signal.SIGKILL)
    daemon.wait()
    said = said_to_a_bystander(server, "--json")
    assert (said.code, said.json["pid"]) == (3, None)
    assert GONE in said.err
    edit(server, pid=bystander)  # as if this process had been given the daemon's pid
    assert said_to_a_bystander(server, "--json").code == 3


NONE = ["", "{}", "[]", '"x"', "[" * 100_000, '{"state": 5}', '{"state": "waiting"}', '{"outputs": [{}]}']


def test_a_status_that_is_none_is_named(daemon: Daemon) -> None:
    for content in NONE:
        (daemon.server.runtime / "status.json").write_text(content)
        for verb in ("status", "wait"):
            said = daemon.server.run(verb)
            assert (said.code, said.out) == (74, "")
            assert f"Cannot read {daemon.server.runtime}/status.json: " in said.err


@pytest.mark.parametrize("content", NONE)
def test_whatever_a_dead_daemon_has_left_it_is_dead(server: Server, content: str) -> None:
    server.runtime.mkdir()
    (server.runtime / "status.json").write_text(content)
    said = server.run("status")
    assert (said.code, GONE in said.err) == (3, True)
    said = server.run("refresh")
    assert (said.code, said.out) == (69, "")


def test_a_daemon_that_starts_before_a_silent_service_knows_what_is_published(daemon: Daemon, start: Start) -> None:
    assert daemon.stop() == 0
    node = daemon.server
    more = f'[[credentials_file]]\npath = "{node.directory}/more"\n'  # so that it asks for a token
    node.configure(more, daemon='attempt_timeout = "5s"')
    node.emulator.fail(TOKEN, hang=True)
    second = start(node)
    until(
        lambda: (second.status()["state"], freshness(second)) == ("attempting", ["fresh", "absent"]), "its credentials"
    )
    assert second.status()["node_id"] == node.node_id
    assert node.run("wait", "--file", str(node.output), "--timeout", "1ms").code == 0
    second.until_state("backing-off")  # the attempt was killed, and left no report
    assert freshness(second) == ["fresh", "absent"]


def freshness(daemon: Daemon) -> list[str]:
    """That of each output, as the daemon has written it."""
    return [one["freshness"] for one in daemon.status()["outputs"]]


def test_a_reload_that_drops_an_output_before_a_silent_service_leaves_what_the_other_holds(
    node: Server, start: Start
) -> None:
    kept, new = (f'[[credentials_file]]\npath = "{node.directory}/{name}"\n' for name in ("kept", "new"))
    node.configure(kept)
    daemon = start(node)
    daemon.until_state("waiting")
    node.emulator.fail(TOKEN, hang=True)
    dropped = f'[[credentials_file]]\npath = "{node.output}"\n'
    node.configure(kept)
    node.config.write_text(node.config.read_text().replace(dropped, new))  # which is why a token is asked for
    daemon.send(signal.SIGHUP)
    until(lambda: daemon.status()["outputs"][0]["path"].endswith("/new"), "the new configuration")
    until(
        lambda: (daemon.status()["state"], freshness(daemon)) == ("attempting", ["absent", "fresh"]), "what they hold"
    )


def test_a_probe_of_a_hibernation_is_told_as_hibernation(node: Server, start: Start) -> None:
    daemon = start(node)
    daemon.until_state("waiting")
    node.emulator.deregister(node.node_id)
    assert node.run("refresh").code == 77
    node.emulator.fail(TOKEN, hang=True)
    daemon.refresh_until_asked()
    until(lambda: daemon.status()["attempts"] == 3, "the probe in the status")
    said = node.run("status")
    assert (said.code, said.out.splitlines()[0]) == (2, "State:        hibernating")


def test_credentials_of_a_forgotten_registration_are_nothing_to_wait_for(daemon: Daemon) -> None:
    server = daemon.server
    assert server.run("clear", "--yes").code == 0
    assert daemon.until_state("unregistered")["node_id"] is None
    assert server.output.exists()
    said = server.run("wait", "--timeout", "1ms")
    assert said.code == 69
    assert "the machine is not registered" in said.err
    server.emulator.fail(TOKEN, error="InternalServerError", times=None)
    server.activation = server.emulator.create_activation()
    assert server.run(*server.registration(), stdin=server.activation.code).code == 0
    daemon.until_state("backing-off")
    assert daemon.status()["freshness"] == "absent"  # the node that it is now has published nothing
    assert server.run("wait", "--timeout", "1ms").code == 69
    server.emulator.clear_faults()
    assert server.run("wait").code == 0


def test_a_refresh_that_meets_an_attempt_which_spares_the_request_has_one_made(daemon: Daemon) -> None:
    server, first = daemon.server, published(daemon.server)
    vault = FileVault(server.directory / "vault", SystemClock())
    with vault.lock(timedelta(seconds=LONGEST)):  # so that the attempt waits here
        daemon.send(signal.SIGHUP)
        daemon.until_state("attempting")
        daemon.send(signal.SIGUSR1)
    until(lambda: published(server) not in ("", first), "another token")
    assert len(server.tokens()) == 2


def test_each_output_tells_the_time_of_its_own_publication(node: Server, start: Start) -> None:
    """Two profiles in one file, one of which holds long-lived keys at first, and a file whose place is taken."""
    second = node.directory / "second"
    second.mkdir()
    node.output.parent.mkdir(exist_ok=True)
    node.output.write_text("[taken]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = theirs\n")
    node.configure(
        f'[[credentials_file]]\npath = "{node.output}"\nprofile = "taken"\n[[credentials_file]]\npath = "{second}"\n'
    )
    daemon = start(node)
    first, taken, other = daemon.until_state("backing-off")["outputs"]
    assert (first["profile"], taken["profile"]) == ("default", "taken")
    assert first["published_at"]
    assert (taken["published_at"], other["published_at"]) == (None, None)
    second.rmdir()
    until(second.exists, "the second file")
    text = node.output.read_text()
    node.output.write_text(text[text.index("[default]") :])
    later = daemon.until_state("waiting")["outputs"]
    assert later[0] == first
    assert first["published_at"] < later[2]["published_at"] < later[1]["published_at"]


def test_who_may_not_look_at_an_output_reads_that_the_last_attempt_did(node: Server) -> None:
    node.configure('[[endpoint]]\nname = "app"\n')
    with daemons() as start:
        start(node).until_state("waiting")
        assert "may not read" not in node.run("status").out
        (node.runtime / "endpoint").chmod(0)
        node.output.chmod(0)
        said = said_to_a_bystander(node)
    assert said.code == 0, said.err
    assert f"This user may not read {node.output} [default], endpoint app: as the last attempt saw it." in said.out
