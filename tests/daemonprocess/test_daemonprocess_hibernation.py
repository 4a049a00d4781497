"""Hibernation as an operator sees it, everything that ends it, and reloading."""

import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.conftest import LONGEST, Server, rebound
from tests.daemonprocess.conftest import TOKEN, Daemon, Start, published, until

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault

REFUSED = "MachineFingerprintDoesNotMatch"


@pytest.fixture
def asleep(node: Server, start: Start) -> Daemon:
    """A daemon in hibernation: the service expects another fingerprint."""
    node.emulator.change_fingerprint(node.node_id)
    daemon = start(node, WATCHDOG_USEC="200000")  # half of it is the longest that it sleeps without a look at the vault
    daemon.until_state("hibernating")
    return daemon


def accept_again(server: Server) -> None:
    fingerprint = server.vault().fingerprint
    assert fingerprint is not None
    server.emulator.change_fingerprint(server.node_id, fingerprint.fingerprint)


def write_vault(server: Server) -> None:
    """Change something in the vault behind the daemon's back, as a restored backup would."""
    vault = FileVault(server.directory / "vault", SystemClock())
    with vault.lock(timedelta(seconds=LONGEST)):
        vault.save(rebound(vault.load(), threshold=50))


def test_a_refused_fingerprint_is_told_everywhere_and_in_the_agents_words(asleep: Daemon) -> None:
    node, status = asleep.server, asleep.status()
    assert (status["last_outcome"]["outcome"], status["last_outcome"]["code"]) == ("fingerprint-refused", REFUSED)
    assert status["freshness"] == "absent"
    assert status["next_attempt_at"] > status["last_outcome"]["at"]
    (entered,) = asleep.records("hibernation_entered")
    words = f"hibernate - error occurred in {TOKEN}: {REFUSED}"
    assert words in entered["message"]
    assert "Fingerprint does not match" in entered["message"]
    assert entered["level"] == "warning"
    assert node.run("status").code == 2
    assert node.run("wait", "--timeout", "1ms").code == 69
    said = node.run("refresh")  # a probe, which the service refuses again
    assert (said.code, said.out) == (77, "")
    assert "fingerprint-refused" in said.err
    asleep.until_state("hibernating")
    assert len(asleep.records("hibernation_entered")) == 1


WAKERS: dict[str, Callable[[Daemon], object]] = {
    "refresh": lambda asleep: asleep.server.run("refresh"),
    "a reload": lambda asleep: asleep.send(signal.SIGHUP),
    "a changed vault": lambda asleep: write_vault(asleep.server),
    "the hardware accepted": lambda asleep: asleep.server.run("fingerprint", "accept"),
    "the threshold switched off": lambda asleep: asleep.server.run("fingerprint", "threshold", "off"),
}


@pytest.mark.parametrize("waker", WAKERS)
def test_it_ends_at_once_when_the_service_accepts_again_and_something_wakes_it(asleep: Daemon, waker: str) -> None:
    accept_again(asleep.server)
    WAKERS[waker](asleep)
    asleep.until_state("waiting")
    assert len(asleep.until_logged("hibernation_left")) == 1
    assert published(asleep.server)
    assert asleep.server.run("status").code == 0


def test_a_new_registration_probes_at_once(asleep: Daemon) -> None:
    node = asleep.server
    node.activation = node.emulator.create_activation()
    said = node.run(*node.registration(), "--force", "--json", stdin=node.activation.code)
    assert said.code == 0
    status = asleep.until_state("waiting")
    assert status["node_id"] == said.json["node_id"] != node.node_id
    assert said.json["node_id"] in asleep.until_logged("hibernation_left")[0]["message"]


def test_probes_come_by_themselves(node: Server, start: Start) -> None:
    node.configure('[hibernation]\nfirst_probe = "100ms"\nlongest_probe = "2s"\n')
    node.emulator.fail(TOKEN, error=REFUSED, times=2)
    daemon = start(node)
    daemon.until_state("waiting")
    assert len(daemon.records("hibernation_entered")) == 1
    assert [request.code for request in daemon.requests()] == [REFUSED] * 2 + [""]


def test_a_reload_without_a_change_spares_the_request(daemon: Daemon) -> None:
    daemon.send(signal.SIGHUP)
    until(lambda: daemon.status()["attempts"] == 2, "the attempt that reads")
    daemon.until_state("waiting")
    assert len(daemon.server.tokens()) == 1


def test_a_wrong_configuration_is_rejected_at_a_reload_and_the_old_one_stays(daemon: Daemon) -> None:
    node = daemon.server
    right = node.config.read_text()
    node.configure("[nonsense]", output='mode = "0777"')
    daemon.send(signal.SIGHUP)
    (record,) = daemon.until_logged("configuration_rejected")
    assert record["level"] == "error"
    assert "nonsense" in record["message"]
    assert "credentials_file[0].mode" in record["message"]
    daemon.until_state("waiting")
    daemon.send(signal.SIGUSR1)
    until(lambda: len(node.tokens()) == 2, "a token by the old configuration")
    assert daemon.process.poll() is None
    node.config.write_text(right)
    daemon.send(signal.SIGHUP)
    daemon.until_logged("reloaded")
