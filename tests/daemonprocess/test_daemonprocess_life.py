"""The daemon from start to stop: what it publishes, how it is told things, and how it ends."""

import os
import signal
from datetime import timedelta

from tests.conftest import Server
from tests.daemonprocess.conftest import TOKEN, Daemon, Start, processes, published, until

from rolekeeper.core.loop.status import FIELDS


def test_it_publishes_and_refreshes_by_itself_and_gets_over_a_short_outage(node: Server, start: Start) -> None:
    node.emulator.token_lifetime = timedelta(seconds=2)
    daemon = start(node)
    until(lambda: len(node.tokens()) >= 2, "two tokens")
    node.emulator.fail(TOKEN, error="InternalServerError")
    daemon.until_logged("backing_off")
    count = len(node.tokens())
    until(lambda: len(node.tokens()) > count, "a token after the outage")
    until(lambda: published(node) == node.tokens()[-1].access_key_id, "its publication")
    assert daemon.records()[0]["event"] == "started"
    assert len(daemon.records("credentials_published")) >= 2


def test_status_tells_everything_and_no_secret(daemon: Daemon) -> None:
    node, status = daemon.server, daemon.status()
    assert tuple(status) == FIELDS
    assert (status["state"], status["node_id"], status["region"]) == ("waiting", node.node_id, "us-east-1")
    assert (status["freshness"], status["attempts"], status["pid"]) == ("fresh", 1, daemon.pid)
    assert status["outputs"][0]["path"] == str(node.output)
    assert status["last_outcome"]["outcome"] == "issued"
    assert status["last_outcome"]["at"] < status["refresh_at"] < status["expires_at"]
    said, plain = node.run("status", "--json"), node.run("status")
    assert (said.code, said.json) == (0, status)
    assert (plain.code, plain.err) == (0, "")
    assert f"Node:         {node.node_id}" in plain.out
    assert (node.runtime / "status.json").stat().st_mode & 0o777 == 0o644
    assert node.run("wait", "--timeout", "1ms").code == 0


def test_sigterm_ends_it_asleep_and_nothing_is_left(daemon: Daemon) -> None:
    before = daemon.server.output.read_bytes()
    assert daemon.stop() == 0
    daemon.until_nothing_is_left()
    assert daemon.records()[-1]["event"] == "stopping"
    assert daemon.server.output.read_bytes() == before
    assert daemon.server.run("status").code == 3


def test_it_ends_while_an_attempt_waits_for_a_silent_service(daemon: Daemon) -> None:
    daemon.server.emulator.fail(TOKEN, hang=True, times=None)
    daemon.refresh_until_asked()
    assert daemon.stop() == 0
    daemon.until_nothing_is_left()


def test_it_ends_while_an_attempt_does_nothing_any_more(daemon: Daemon) -> None:
    """Stopped, it stands for one that hangs in a dead resolver or on a disk: it answers nothing and nobody."""
    daemon.server.emulator.fail(TOKEN, hang=True)
    daemon.refresh_until_asked()
    os.kill(daemon.attempt(), signal.SIGSTOP)
    daemon.send(signal.SIGINT)
    assert daemon.wait() == 0
    daemon.until_nothing_is_left()


def test_an_attempt_that_does_nothing_any_more_is_ended_at_its_deadline_and_the_daemon_goes_on(
    node: Server, start: Start
) -> None:
    node.configure(daemon='attempt_timeout = "4s"')  # enough to get to the request on a machine that is busy
    node.emulator.fail(TOKEN, hang=True)
    daemon = start(node)
    until(daemon.requests, "a request")
    stuck = daemon.attempt()
    os.kill(stuck, signal.SIGSTOP)  # its own deadline cannot end it now
    record = daemon.until_logged("backing_off")[0]
    assert record["code"] == "attempt-timeout"
    node.configure()
    daemon.send(signal.SIGHUP)
    daemon.until_state("waiting")
    assert published(node) == node.tokens()[-1].access_key_id
    assert stuck not in processes(node)


def test_an_attempt_that_is_killed_costs_one_attempt(node: Server, start: Start) -> None:
    node.emulator.fail(TOKEN, hang=True)
    daemon = start(node)
    until(daemon.requests, "a request")
    os.kill(daemon.attempt(), signal.SIGKILL)
    record = daemon.until_logged("backing_off")[0]
    assert (record["code"], record["outcome"]) == ("attempt-crashed", "failed")
    daemon.until_state("waiting")
    assert daemon.process.poll() is None


def test_refresh_asks_for_a_new_token_though_the_old_one_is_fresh(daemon: Daemon) -> None:
    first = published(daemon.server)
    said = daemon.server.run("refresh")
    assert (said.code, said.out) == (0, "Refreshed.\n")
    assert published(daemon.server) not in ("", first)
    assert daemon.status()["attempts"] == 2


def test_refresh_ends_as_an_attempt_would_and_backing_off_with_valid_credentials_counts_one(daemon: Daemon) -> None:
    node = daemon.server
    node.emulator.fail(TOKEN, error="AccessDeniedException", times=None)
    said = node.run("refresh")
    assert (said.code, said.out) == (77, "")
    assert "refused: " in said.err
    assert "AccessDeniedException" in said.err
    assert daemon.status()["state"] == "backing-off"
    assert node.run("status").code == 1
    node.emulator.clear_faults()
    node.emulator.fail(TOKEN, error="InternalServerError", times=None)
    document = node.run("refresh", "--json")
    assert document.code == 69
    assert (set(document.json), document.json["code"]) == (
        {"outcome", "code", "message", "hint", "at"},
        "service-failed",
    )


def test_refresh_does_not_wait_for_ever(daemon: Daemon) -> None:
    daemon.server.emulator.fail(TOKEN, hang=True)
    said = daemon.server.run("refresh", "--timeout", "200ms")
    assert (said.code, said.out) == (69, "")
    assert "No outcome within 200ms" in said.err


def test_credentials_that_expired_count_two(node: Server, start: Start) -> None:
    node.emulator.token_lifetime = timedelta(seconds=2)
    node.emulator.fail(TOKEN, apply=True)
    node.emulator.fail(TOKEN, error="InternalServerError", times=None)
    daemon = start(node)
    daemon.until_logged("credentials_published")
    until(lambda: daemon.status()["freshness"] == "expired", "their end")
    assert node.run("status").code == 2
    assert node.run("wait", "--timeout", "1ms").code == 69
    assert published(node) == node.tokens()[0].access_key_id


def test_an_unregistered_server_waits_and_goes_on_when_it_is_registered(server: Server, start: Start) -> None:
    daemon = start(server)
    daemon.until_state("unregistered")
    assert server.run("status").code == 3
    assert server.run("refresh").code == 77
    server.activation = server.emulator.create_activation()
    said = server.run(*server.registration(), "--json", stdin=server.activation.code)
    assert (said.code, said.err) == (0, "")
    server.node_id = said.json["node_id"]
    daemon.until_state("waiting")
    assert published(server) == server.tokens()[0].access_key_id
    assert len(daemon.records("unregistered")) == 1


def test_a_vault_that_cannot_be_read_costs_neither_daemon_nor_registration(daemon: Daemon) -> None:
    node, first = daemon.server, daemon.server.vault()
    token, file = published(node), node.directory / "vault" / "vault.json"
    whole = file.read_bytes()
    file.write_bytes(b"")
    said = node.run("refresh")
    assert said.code == 74
    assert str(file) in said.err
    assert (daemon.status()["last_outcome"]["outcome"], published(node)) == ("vault-unreadable", token)
    assert (file.read_bytes(), len(daemon.requests())) == (b"", 1)
    file.write_bytes(whole)
    daemon.until_state("waiting")
    assert published(node) == node.tokens()[-1].access_key_id
    assert node.vault().node == first.node


def test_a_killed_daemon_leaves_the_file_whole_and_the_next_one_spares_the_request(
    daemon: Daemon, start: Start
) -> None:
    node = daemon.server
    before = node.output.read_bytes()
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert node.output.read_bytes() == before
    assert node.run("status").code == 3
    second = start(node)
    until(lambda: second.status().get("pid") == second.pid and second.status()["state"] == "waiting", "the second")
    assert second.status()["freshness"] == "fresh"
    assert len(node.tokens()) == 1
    assert node.output.read_bytes() == before


def test_an_attempt_does_not_outlive_a_killed_daemon_by_more_than_its_deadline(node: Server, start: Start) -> None:
    node.configure(daemon='attempt_timeout = "4s"')
    node.emulator.fail(TOKEN, hang=True)
    daemon = start(node)
    until(daemon.requests, "a request")
    daemon.send(signal.SIGKILL)
    daemon.wait()
    daemon.until_nothing_is_left()
