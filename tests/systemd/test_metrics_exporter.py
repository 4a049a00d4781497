"""metrics.prom with Debian's own prometheus-node-exporter, which one symlink makes serve it, and with promtool."""

import socket
import subprocess
import urllib.request
from collections.abc import Callable

import pytest
from tests.packages.conftest import need
from tests.systemd.conftest import UNIT, Machine

METRICS = "/run/rolekeeper/metrics.prom"
LINK = "/var/lib/prometheus/node-exporter/rolekeeper.prom"
EXPORTER = "prometheus-node-exporter.service"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


PORT = free_port()


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server with the exporter as Debian installs it, and the one symlink that docs/operating.md names."""
    need("prometheus-node-exporter", "prometheus-node-exporter")
    need("promtool", "prometheus")
    machine = new_machine()
    machine.configure('[[credentials_file]]\n[[endpoint]]\nname = "backup"\n')
    machine.install()
    machine.write("/etc/default/prometheus-node-exporter", f'ARGS="--web.listen-address=127.0.0.1:{PORT}"\n')
    machine.run("ln", "-s", METRICS, LINK)
    machine.systemctl("start", EXPORTER)
    return machine


def served() -> dict[str, float]:
    """What Prometheus would scrape of ours; empty while the exporter starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    found = (line.rpartition(" ") for line in lines if line.startswith(("rolekeeper_", "node_textfile_")))
    return {name: float(value) for name, _, value in found}


def check(machine: Machine) -> "subprocess.CompletedProcess[str]":
    command = ["promtool", "check", "metrics"]
    return subprocess.run(command, input=machine.read(METRICS), capture_output=True, text=True, check=False, timeout=60)


def test_before_a_registration_the_metrics_are_there_and_valid(machine: Machine) -> None:
    machine.until_status("Unregistered")
    found = machine.until(
        "the exporter serves the state", lambda: served().get('rolekeeper_state{state="unregistered"}')
    )
    assert found == 1
    done = check(machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_credentials_are_served_as_they_were_issued_by_one_symlink(machine: Machine) -> None:
    machine.register()
    machine.until_published()
    machine.until("the daemon waits", lambda: served().get('rolekeeper_state{state="waiting"}') == 1)
    found = served()
    (token,) = machine.service.tokens.values()
    expiry = [value for name, value in found.items() if name.startswith("rolekeeper_output_expiry_timestamp_seconds")]
    assert expiry == [pytest.approx(token.expires_at.timestamp(), abs=1)] * 2  # the service tells whole seconds
    assert found["rolekeeper_credentials_expiry_timestamp_seconds"] == expiry[0]
    assert found[f'rolekeeper_node_info{{node_id="{token.node_id}",region="{machine.service.region}"}}'] == 1
    assert found["rolekeeper_fingerprint_components_matched"] == found["rolekeeper_fingerprint_components_compared"] > 0
    assert found["node_textfile_scrape_error"] == 0
    assert f'node_textfile_mtime_seconds{{file="{LINK}"}}' in found
    done = check(machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.run("stat", "-c", "%a %U", METRICS).out.strip() == "644 root"


def test_a_stopped_daemon_says_so_to_the_last(machine: Machine) -> None:
    machine.systemctl("stop", UNIT)
    found = served()
    assert found['rolekeeper_state{state="stopping"}'] == 1
    assert "rolekeeper_next_attempt_timestamp_seconds" not in found
