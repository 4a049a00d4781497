"""A real daemon in a short outage, from three states: nothing changes, few requests are made, and it recovers."""

import signal
from collections.abc import Callable

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import Daemon, Start, published, until

from rolekeeper.emulator.faults import ANY

PATIENCE = 'read_timeout = "2s"'
OTHERS = "[work]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
TROUBLES = {
    "500 and silence": ({"error": "InternalServerError"}, {"hang": True}),
    "a captive portal and throttling": ({"body": "<html>Sign in</html>"}, {"error": "ThrottlingException"}),
    "a lost connection and a cut answer": ({"drop": True}, {"cut_body": 30}),
}


def fail(server: Server, trouble: str) -> None:
    """One answer is spoilt by the first, and every other one by the second until the service is well again."""
    first, second = TROUBLES[trouble]
    server.emulator.fail(ANY, **first)
    server.emulator.fail(ANY, times=None, **second)


def waiting(server: Server, start: Start, trouble: str) -> Daemon:
    server.register()
    daemon = start(server)
    daemon.until_state("waiting")
    fail(server, trouble)
    daemon.send(signal.SIGUSR1)
    return daemon


def starting(server: Server, start: Start, trouble: str) -> Daemon:
    server.register()
    fail(server, trouble)
    return start(server)


def unregistered(server: Server, start: Start, trouble: str) -> Daemon:
    """With an activation in the configuration."""
    activation = server.emulator.create_activation(limit=9)
    code = server.directory / "code"
    code.write_text(activation.code)
    node = f'region = "{server.emulator.region}"\nactivation_id = "{activation.activation_id}"'
    server.configure(f'[node]\n{node}\nactivation_code_file = "{code}"\n', service=PATIENCE)
    fail(server, trouble)
    return start(server)


@pytest.mark.parametrize(("trouble", "state"), list(zip(TROUBLES, [waiting, starting, unregistered], strict=True)))
def test_an_outage_costs_its_attempts_and_nothing_else(
    server: Server, start: Start, trouble: str, state: Callable[[Server, Start, str], Daemon]
) -> None:
    server.configure(service=PATIENCE)
    server.output.parent.mkdir(mode=0o700)
    server.output.write_text(OTHERS)
    daemon = state(server, start, trouble)
    before = server.output.read_bytes()
    backed_off = daemon.until_logged("backing_off", 2)
    assert server.output.read_bytes() == before
    server.emulator.clear_faults()
    daemon.send(signal.SIGUSR1)  # after a hang it would wait for minutes
    assert {record["outcome"] for record in backed_off} == {"failed"}
    status = daemon.until_state("waiting")
    server.node_id = status["node_id"]
    until(lambda: published(server) == server.tokens()[-1].access_key_id, "its publication")
    assert server.output.read_text().startswith(OTHERS)
    assert len(server.emulator.requests) <= 2 * daemon.status()["attempts"]
