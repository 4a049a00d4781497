"""The installed command under clocks that are wrong by more than a little, and in far time zones (libfaketime)."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conftest import LONGEST, Said, Server
from tests.daemonprocess.conftest import TOKEN, Start, published, until
from tests.packages.conftest import need
from tests.ssm.certificates import Authority

from rolekeeper.emulator import Emulator, Tls

FLAT_BATTERY = f"-{(datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days}d"  # as far back as 1970
LOCALTIME, ZONES = Path("/etc/localtime"), Path("/usr/share/zoneinfo")


@pytest.fixture(scope="module")
def library() -> str:
    """What is to be loaded before everything else."""
    need("faketime", "faketime")
    asked = ["faketime", "-f", "+0d", "printenv", "LD_PRELOAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def showing(library: str, time: str) -> dict[str, str]:
    """The environment in which the wall clock shows this; CLOCK_BOOTTIME is left alone, as by a wrong clock."""
    return {"LD_PRELOAD": library, "FAKETIME": time, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Server]:
    """A registered server whose service has a certificate that is good today."""
    authority = Authority(tmp_path)
    ca, chain = authority.file, authority.chain()
    with Emulator(tls=Tls(chain, chain)) as emulator:
        server = Server(tmp_path, emulator)
        server.configure(service=f'ca_bundle = "{ca}"')
        server.register()
        yield server


@pytest.mark.parametrize("time", ["-1h", "+365d", FLAT_BATTERY])
def test_a_wrong_clock_costs_one_request(node: Server, library: str, time: str) -> None:
    node.emulator.forget_requests()
    said = node.process("attempt", env=showing(library, time))
    assert (said.code, said.json["outcome"]) == (0, "issued")
    assert [request.code for request in node.emulator.requests] == ["InvalidSignatureException", ""]
    assert said.json["expires_at"].startswith(f"{node.tokens()[-1].expires_at:%Y-%m-%dT%H:%M:%S}.")


def test_a_daemon_whose_clock_is_behind_renews_in_time_and_nothing_expired_is_called_fresh(
    node: Server, start: Start, library: str
) -> None:
    behind = showing(library, "-1h")
    node.emulator.token_lifetime = timedelta(seconds=3)
    daemon = start(node, **behind)
    until(lambda: len(node.tokens()) >= 3, "three tokens")
    assert len(daemon.requests()) <= 2 * daemon.status()["attempts"] + 2  # one more each, and one attempt under way
    node.emulator.fail(TOKEN, error="ServiceUnavailable", times=None)
    daemon.until_logged("backing_off")
    until(lambda: daemon.status()["freshness"] == "expired", "their end")
    for environment in (behind, {}, showing(library, "-1d")):
        said = node.process("status", "--json", env=environment)
        assert (said.code, said.json["freshness"]) == (2, "expired")
    assert published(node) == node.tokens()[-1].access_key_id


def test_without_a_clock_the_log_names_the_clock_and_the_daemon_recovers_by_itself(
    secure: Server, start: Start, library: str
) -> None:
    time = secure.directory / "time"
    time.write_text(FLAT_BATTERY)
    follows = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(time), "FAKETIME_NO_CACHE": "1"}
    daemon = start(secure, **follows, FAKETIME_DONT_FAKE_MONOTONIC="1")
    record = daemon.until_logged("backing_off")[0]
    assert record["code"] == "tls-failed"
    assert "not yet valid by this machine's clock, which says 1970-01-0" in record["message"]
    assert record["hint"].startswith("set this machine's clock")
    assert len(record["message"].splitlines()) == 1
    time.write_text("+0d")  # somebody sets the clock
    daemon.until_state("waiting")
    assert published(secure) == secure.tokens()[-1].access_key_id


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_a_time_zone_changes_neither_the_times_nor_the_hardware(node: Server, zone: str) -> None:
    first = node.run("attempt")
    said = node.process("attempt", env={"TZ": zone})
    assert (first.code, said.code) == (0, 0)
    assert said.json["fingerprint"] == first.json["fingerprint"]
    assert said.json["fingerprint"]["matched"] == said.json["fingerprint"]["compared"]
    handed_out = node.process("credential-process", "--file", str(node.output), env={"TZ": zone})
    assert handed_out.json["Expiration"] == f"{node.tokens()[-1].expires_at:%Y-%m-%dT%H:%M:%SZ}"


# A /dev in which `ls -l` has something with a date to list, and this time zone as /etc/localtime.
ANOTHER_ZONE = """
for device in null urandom; do
    touch "$0/$device"
    mount --bind "/dev/$device" "$0/$device"
done
mount --rbind "$0" /dev
test -z "$1" || mount --bind "$1" /etc/localtime
shift
exec "$@"
"""


def run_in(zone: str, node: Server, *arguments: str, stdin: str = "") -> Said:
    """Run a command where `timedatectl set-timezone` was called with this zone; with none, where it was not."""
    devices = node.directory / "dev"
    file = str(ZONES / zone) if zone else ""
    command = ["unshare", "--mount", "sh", "-ec", ANOTHER_ZONE, str(devices), file, *node.command(*arguments)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=LONGEST, check=False, env=node.environment()
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def dated_disk(server: Server) -> Iterator[Server]:
    """A server that is to have another /dev, with one disk."""
    disks = server.directory / "dev" / "disk" / "by-uuid"
    disks.mkdir(parents=True)
    (disks / "0ad1-01").symlink_to("../../sda1")
    return server


@pytest.mark.skipif(os.geteuid() != 0 or not LOCALTIME.exists(), reason="only root can put another time zone in place")
def test_another_time_zone_of_the_machine_is_one_component_of_nine(dated_disk: Server) -> None:
    """`ls -l` prints dates by /etc/localtime: as with SSM Agent, the listing of the disks is another then."""
    server = dated_disk
    server.activation = server.emulator.create_activation()
    said = run_in("", server, *server.registration(), "--json", stdin=server.activation.code)
    server.node_id = said.json["node_id"]
    before = run_in("", server, "attempt")
    assert (before.code, before.json["fingerprint"]["matched"]) == (0, 9)
    accepted = server.vault().fingerprint
    after = run_in("Pacific/Kiritimati", server, "attempt")
    assert (after.code, after.json["outcome"], after.err) == (0, "issued", "")
    assert (after.json["fingerprint"]["matched"], after.json["fingerprint"]["compared"]) == (8, 9)
    listed = run_in("Pacific/Kiritimati", server, "fingerprint", "--json").json["components"]
    assert [one["name"] for one in listed if one["state"] == "changed"] == ["disk-info"]
    assert published(server) == server.tokens()[-1].access_key_id
    assert server.vault().fingerprint == accepted
