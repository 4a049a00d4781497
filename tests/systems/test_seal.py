"""A sealed vault on the systemd of Debian 13 (257), whose systemd-creds has other words than that of Debian 12."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.systemd import tpm
from tests.systemd.conftest import NEW_VERSION, PACKAGES, UNIT, Machine
from tests.systemd.test_seal import (
    HOST_KEY,
    KEY,
    QUICK,
    RECOVERY,
    VAULT,
    fails_then_recovers,
    node_ids,
    refreshes,
    refused,
    seal_setting,
    sealed_with,
    until_kept_from_starting,
)
from tests.systemd.tpm import Tpm
from tests.systems.conftest import whole

TSS = "libtss2-esys-3.0.2-0t64 libtss2-rc0t64 libtss2-tcti-swtpm0t64"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
pytestmark = [whole, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def chip(boxes: Path) -> Iterator[Tpm]:
    if reason := tpm.why_not():
        pytest.skip(f"no TPM to test with: {reason}")
    one = Tpm(boxes / "chip-of-trixie")
    one.power_on()
    yield one
    if one.process is not None:
        one.power_fails()


@pytest.fixture(scope="module")
def machine(machine_of: Callable[..., Machine], chip: Tpm) -> Machine:
    machine = machine_of("trixie", state=True, variable=chip.variable)
    machine.configure()
    fetched = machine.shell(f"apt-get update && {INSTALL} {TSS}", expect=None)
    if fetched.code:
        pytest.skip(f"the libraries for a TPM are not to be had: {fetched.err.strip()}")
    machine.shell(f"{INSTALL} {PACKAGES}/rolekeeper_{NEW_VERSION}_amd64.deb")
    machine.register()
    machine.until_published()
    machine.drop_in(QUICK)
    assert machine.run("systemctl", "--version").out.startswith("systemd 257")
    return machine


def test_a_seal_for_the_host_survives_a_reboot_and_its_failures_are_named(machine: Machine) -> None:
    known = node_ids(machine)
    seal_setting(machine, "host")
    machine.rolekeeper("seal", "--save-recovery-key", RECOVERY)
    refreshes(machine)
    machine.stop()
    machine.start()
    refreshes(machine)
    machine.systemctl("stop", UNIT)
    machine.shell(f"cp -a {KEY} /root/kept; head -c 100 /root/kept >{KEY}")
    assert refused(machine)["code"] == "vault-key-damaged"
    machine.shell(f"rm {KEY}")
    assert refused(machine)["code"] == "vault-key-missing"
    machine.shell(f"cp -a /root/kept {KEY}")
    for spoil, code in ((f"mv {HOST_KEY} /root/", "host-key-gone"), ("systemd-creds setup", "host-key-changed")):
        machine.shell(spoil)
        assert refused(machine)["code"] == code
        until_kept_from_starting(machine)
    machine.rolekeeper("seal", "--rekey", "--recovery-key", RECOVERY)
    refreshes(machine)
    assert node_ids(machine) == known


def test_a_daemon_without_the_credential_waits_and_wakes(machine: Machine) -> None:
    machine.run("mv", f"/etc/systemd/system/{UNIT}.d/vault-key.conf", "/root")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", UNIT)
    machine.until_status("the unit has no credential")
    machine.rolekeeper("seal")
    refreshes(machine)


@pytest.mark.parametrize("setting", ["tpm2", "host+tpm2"])
def test_a_seal_for_the_tpm_survives_a_reboot_and_its_failures_are_named(
    setting: str, machine: Machine, chip: Tpm
) -> None:
    seal_setting(machine, setting)
    machine.run("rm", RECOVERY)
    machine.rolekeeper("seal", "--rekey", "--save-recovery-key", RECOVERY)
    name = sealed_with(machine)
    machine.stop()
    chip.reboot()
    machine.start()
    refreshes(machine)
    assert sealed_with(machine) == name
    chip.reboot(f"firmware of {setting}")
    fails_then_recovers(machine, "tpm-pcrs-changed")
    chip.clear()
    chip.reboot()
    fails_then_recovers(machine, "tpm-changed")
    machine.systemctl("stop", UNIT)
    chip.power_off()
    assert refused(machine)["code"] == "tpm-absent"
    until_kept_from_starting(machine)
    chip.power_on()
    refreshes(machine)
    machine.systemctl("stop", UNIT)
    library = machine.shell("ls /usr/lib/*/libtss2-esys.so.0").out.strip()
    machine.run("mv", library, f"{library}.away")
    assert refused(machine)["code"] == "tpm-unsupported"
    machine.run("mv", f"{library}.away", library)
    machine.systemctl("start", UNIT)
    refreshes(machine)


def test_unsealed_it_is_plain_again(machine: Machine) -> None:
    machine.configure()
    machine.rolekeeper("unseal")
    assert "RegistrationKey" in json.loads(machine.read(VAULT))
    refreshes(machine)
