"""A vault that is worth nothing on another machine: sealed for the host, and for a TPM, by a real systemd."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import memory
from tests.packages.conftest import left_out
from tests.systemd import tpm
from tests.systemd.conftest import NEW_VERSION, OLD_VERSION, UNIT, Machine
from tests.systemd.tpm import Tpm

VAULT = "/var/lib/rolekeeper/vault/vault.json"
KEY = "/etc/credstore.encrypted/rolekeeper-vault-key"
HOST_KEY = "/var/lib/systemd/credential.secret"
DROP_IN = "/etc/systemd/system/rolekeeper.service.d/vault-key.conf"
RECOVERY = "/root/recovery-key"
OUTCOMES = Path(__file__).parents[2] / "docs" / "outcomes.md"
GRACE = 20  # seconds, after which a daemon is ready whose first attempt still runs
QUICK = "[Service]\nRestartSec=200ms\n"
EVERYTHING_OF = f"/var/lib/rolekeeper /etc/rolekeeper /etc/systemd/system/{UNIT}.d {KEY} /etc/machine-id"
PROCESSES = "for process in /proc/[0-9]*; do cat $process/cmdline $process/environ 2>/dev/null || true; done"


def seal_setting(machine: Machine, setting: str) -> None:
    machine.configure(f'[vault]\nseal = "{setting}"\n')


def registered(machine: Machine, setting: str) -> Machine:
    """A machine that runs, registered and plain, and is to be sealed."""
    machine.set_up()
    machine.drop_in(QUICK)
    seal_setting(machine, setting)
    return machine


def sealed_with(machine: Machine) -> str:
    document = json.loads(machine.read(VAULT))
    assert "RegistrationKey" not in document
    return str(document["sealed"]["key"])


def node_ids(machine: Machine) -> set[str]:
    return set(machine.service.nodes)


def refreshes(machine: Machine) -> None:
    """The daemon gets and publishes new credentials, as the node that it was."""
    machine.until("the daemon lives", lambda: machine.rolekeeper("refresh", expect=None).code == 0)
    machine.until_published()


def refused(machine: Machine) -> dict[str, str]:
    """What `attempt` says, which cannot read the vault, and asks the service nothing."""
    asked = len(machine.service.requests)
    said = machine.rolekeeper("attempt", expect=74)
    report: dict[str, str] = json.loads(said.out)
    assert report["outcome"] == "vault-unreadable"
    assert report["message"].startswith("Cannot ")
    assert report["hint"]
    assert f"| `{report['code']}` |" in OUTCOMES.read_text()
    assert len(machine.service.requests) == asked
    return report


def until_kept_from_starting(machine: Machine) -> None:
    """systemd cannot decrypt the unit's credential; it tries again and again, `status` says so, nothing is asked."""
    asked = len(machine.service.requests)
    machine.systemctl("restart", "--no-block", UNIT)

    def says_so() -> bool:
        said = machine.rolekeeper("status", expect=3).err
        return "243/CREDENTIALS" in said and "`rolekeeper attempt` as root says why" in said

    machine.until("the unit fails, and status says why", says_so)
    assert len(machine.service.requests) == asked


def copy(machine: Machine, other: Machine, *more: str) -> None:
    """What is on the disk of `machine`, to another machine of the same service."""
    other.emulator = machine.emulator
    other.install()
    other.systemctl("stop", UNIT)
    archive = Path("/dev/shm") / f"{machine.name}.tar"
    try:
        machine.run("tar", "-cf", "/root/copy.tar", *EVERYTHING_OF.split(), *more)
        archive.write_bytes((machine.root / "root/copy.tar").read_bytes())
        (other.root / "root/copy.tar").write_bytes(archive.read_bytes())
    finally:
        archive.unlink(missing_ok=True)
    other.run("tar", "-C", "/", "-xf", "/root/copy.tar")
    other.systemctl("daemon-reload")


@pytest.fixture(scope="module")
def host(new_machine: Callable[..., Machine]) -> Machine:
    machine = registered(new_machine(state=True), "host")
    machine.rolekeeper("seal", "--save-recovery-key", RECOVERY)
    return machine


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    return registered(new_machine(), "host")


def test_seal_writes_the_drop_in_shows_it_and_the_daemon_goes_on(machine: Machine) -> None:
    issued = machine.issued()
    began = time.monotonic()
    said = machine.rolekeeper("seal")
    assert time.monotonic() - began < GRACE  # the daemon's first attempt does not wait for the command's lock
    assert "LoadCredentialEncrypted=rolekeeper-vault-key" in said.out
    assert machine.read(DROP_IN).startswith("# Written by `rolekeeper seal`")
    assert sealed_with(machine) in said.out
    assert machine.issued() == issued  # a restart asks for nothing that is fresh
    refreshes(machine)
    assert len(node_ids(machine)) == 1
    again = json.loads(machine.rolekeeper("seal", "--json").out)
    assert again == {"seal": "host", "key": sealed_with(machine), "credential": KEY, "drop_in": DROP_IN}
    machine.rolekeeper("unseal", expect=77)
    machine.configure()
    machine.rolekeeper("unseal")
    assert "RegistrationKey" in json.loads(machine.read(VAULT))
    assert machine.run("ls", KEY, DROP_IN, expect=None).out == ""
    refreshes(machine)
    assert machine.run("ls", f"/run/credentials/{UNIT}", expect=None).out == ""


def test_register_and_adopt_seal_at_once(machine: Machine) -> None:
    machine.rolekeeper("clear", "--yes")
    known = node_ids(machine)
    seal_setting(machine, "host")
    machine.systemctl("reload", UNIT)
    machine.register()
    machine.until_published()
    name = sealed_with(machine)
    machine.rolekeeper("export", "--to", "/root/agent")
    machine.rolekeeper("clear", "--yes")
    assert machine.run("ls", KEY, DROP_IN, VAULT, expect=None).out == ""
    machine.rolekeeper("adopt", "--from", "/root/agent")
    refreshes(machine)
    assert sealed_with(machine) != name
    assert len(node_ids(machine) - known) == 1


def test_a_registration_without_a_person_waits_for_the_key(machine: Machine) -> None:
    """In the sandbox no key can be made: the node key is never written in plain, not even at first."""
    machine.rolekeeper("clear", "--yes")
    machine.service.forget_requests()
    activation = machine.service.create_activation()
    machine.write("/etc/credstore/activation-code", activation.code, 0o600)
    machine.configure(
        f'[vault]\nseal = "host"\n[node]\nregion = "{machine.service.region}"\n'
        f'activation_id = "{activation.activation_id}"\n'
    )
    machine.systemctl("restart", UNIT)
    machine.until_status("no key to seal it with")
    assert not machine.service.requests
    machine.rolekeeper("seal")
    machine.until_published()
    sealed_with(machine)


def test_the_key_is_in_memory_of_attempts_alone(host: Machine) -> None:
    key = host.read(RECOVERY).strip()
    seen = host.shell(PROCESSES + "\njournalctl --all --output=json\ncat /run/rolekeeper/*.*").out
    supervisor = memory(host.root / "proc" / str(host.pid()))
    assert key not in seen
    assert key.encode() not in supervisor
    assert bytes.fromhex(key) not in supervisor
    found = host.run("grep", "-rlF", key, "/run", "/var", "/etc", "/tmp", expect=None).out.split()
    assert found == [f"/run/credentials/{UNIT}/rolekeeper-vault-key"]
    assert host.run("stat", "-fc%T", f"/run/credentials/{UNIT}").out.strip() in ("ramfs", "tmpfs")
    assert host.property(UNIT, "MemorySwapMax") == "0"


def test_rotation_reboot_and_upgrade_find_the_vault_as_sealed_as_before(host: Machine) -> None:
    name, (node,) = sealed_with(host), node_ids(host)
    host.service.request_rotation(node)
    refreshes(host)
    assert not host.service.nodes[node].rotation_wanted
    host.stop()
    host.start()
    host.until_published()
    for version in (OLD_VERSION, NEW_VERSION):
        host.install(version)
        refreshes(host)
    assert (sealed_with(host), node_ids(host)) == (name, {node})


def test_a_backup_that_is_restored_on_the_same_machine_works(host: Machine) -> None:
    host.run("cp", "-a", VAULT, KEY, "/root")
    host.rolekeeper("seal", "--rekey", "--save-recovery-key", "/root/second")
    refreshes(host)
    host.run("cp", "-a", "/root/vault.json", VAULT)
    assert refused(host)["code"] == "vault-key-other"
    host.rolekeeper("refresh", expect=74)
    host.until_status("sealed with the key")
    host.run("cp", "-a", "/root/rolekeeper-vault-key", KEY)
    host.systemctl("restart", UNIT)
    refreshes(host)


def test_a_daemon_without_the_credential_waits_and_wakes(host: Machine) -> None:
    host.run("mv", DROP_IN, "/root")
    host.systemctl("daemon-reload")
    host.systemctl("restart", UNIT)
    host.until_status("the unit has no credential")
    known = host.service.requests[:]
    status = json.loads(host.rolekeeper("status", "--json", expect=None).out)
    assert status["last_outcome"]["code"] == "vault-key-missing"
    assert "rolekeeper seal" in status["last_outcome"]["hint"]
    assert host.service.requests == known
    host.rolekeeper("seal")
    refreshes(host)


def test_a_box_that_was_changed_is_damaged_and_a_lost_key_is_missing(host: Machine) -> None:
    host.run("cp", "-a", VAULT, KEY, "/root")
    document = json.loads(host.read(VAULT))
    box = document["sealed"]["box"]
    document["sealed"]["box"] = f"{box[:100]}{'A' if box[100] != 'A' else 'B'}{box[101:]}"
    host.systemctl("stop", UNIT)  # an attempt that runs would write what it has read before
    host.write(VAULT, json.dumps(document), 0o600)
    host.systemctl("start", UNIT)
    assert refused(host)["code"] == "vault-damaged"
    host.rolekeeper("refresh", expect=74)
    host.until_status("its box was changed")
    host.run("cp", "-a", "/root/vault.json", VAULT)
    host.until_status("Waiting")
    host.systemctl("stop", UNIT)
    host.run("rm", KEY)
    assert refused(host)["code"] == "vault-key-missing"
    host.shell(f"head -c 100 /root/rolekeeper-vault-key >{KEY}")
    assert refused(host)["code"] == "vault-key-damaged"
    until_kept_from_starting(host)
    host.run("cp", "-a", "/root/rolekeeper-vault-key", KEY)
    refreshes(host)


def test_without_its_host_key_nothing_is_asked_and_the_recovery_key_opens_the_vault(host: Machine) -> None:
    known = node_ids(host)
    host.rolekeeper("seal", "--rekey", "--save-recovery-key", "/root/third")
    host.systemctl("stop", UNIT)
    for spoil, code in ((f"mv {HOST_KEY} /root/", "host-key-gone"), ("systemd-creds setup", "host-key-changed")):
        host.shell(spoil)
        assert refused(host)["code"] == code
        until_kept_from_starting(host)
    host.rolekeeper("seal", "--rekey", "--recovery-key", "/root/third")
    refreshes(host)
    assert node_ids(host) == known


def test_the_sealed_files_on_another_machine_are_worth_nothing(
    host: Machine, new_machine: Callable[..., Machine]
) -> None:
    other = new_machine(emulated=None)
    copy(host, other)
    assert refused(other)["code"] == "host-key-gone"
    until_kept_from_starting(other)


def test_purging_the_package_deletes_the_key_with_its_vault_and_keeps_that_of_a_vault_elsewhere(host: Machine) -> None:
    (node,) = node_ids(host)
    host.run("mv", "/var/lib/rolekeeper/vault", "/srv/vault")
    elsewhere = '[vault]\nseal = "host"\ndirectory = "/srv/vault"\n'
    host.configure(elsewhere)
    host.rolekeeper("seal")
    said = host.run("dpkg", "--purge", "rolekeeper").out
    assert f"keeping {KEY} and {DROP_IN}, because they open the vault /srv/vault" in said
    host.configure(elsewhere)
    host.install()
    host.rolekeeper("attempt")
    assert host.access_key_id() == host.issued()[-1]
    assert node_ids(host) == {node}
    host.systemctl("stop", UNIT)
    host.run("mv", "/srv/vault", "/var/lib/rolekeeper/vault")
    seal_setting(host, "host")
    host.rolekeeper("seal")
    host.systemctl("start", UNIT)
    refreshes(host)
    said = host.run("dpkg", "--purge", "rolekeeper").out
    assert f"AWS still lists {node}: " in said
    assert f"deleting the vault's key, {KEY}, and {DROP_IN}" in said
    host.run("ls", "/var/lib/rolekeeper", KEY, str(Path(DROP_IN).parent / "vault-key.conf"), expect=2)


@pytest.fixture(scope="module")
def chip(boxes: Path) -> Iterator[Tpm]:
    if reason := tpm.why_not():
        left_out(f"sealing with a TPM is not tested: {reason}")
    one = Tpm(boxes / "chip")
    one.power_on()
    yield one
    if one.process is not None:
        one.power_fails()


@pytest.fixture(scope="module")
def with_tpm(new_machine: Callable[..., Machine], chip: Tpm) -> Machine:
    machine = registered(new_machine(state=True, variable=chip.variable), "tpm2")
    machine.rolekeeper("seal", "--save-recovery-key", RECOVERY)
    return machine


def test_a_tpm_gives_the_key_to_the_same_machine_after_a_reboot(with_tpm: Machine, chip: Tpm) -> None:
    known = node_ids(with_tpm)
    refreshes(with_tpm)
    with_tpm.stop()
    chip.reboot()
    with_tpm.start()
    refreshes(with_tpm)
    assert node_ids(with_tpm) == known


def test_a_copy_of_everything_but_the_tpm_is_useless(
    with_tpm: Machine, chip: Tpm, new_machine: Callable[..., Machine], boxes: Path
) -> None:
    another = Tpm(boxes / "another")
    another.power_on()
    try:
        other = new_machine(emulated=None, variable=another.variable)
        copy(with_tpm, other)
        assert refused(other)["code"] == "tpm-changed"
        until_kept_from_starting(other)
    finally:
        another.power_fails()
    assert chip.process is not None
    refreshes(with_tpm)


def fails_then_recovers(machine: Machine, code: str) -> None:
    """With the daemon down, the vault cannot be read; a new key by the recovery key, and the same node goes on."""
    known = node_ids(machine)
    machine.systemctl("stop", UNIT)
    assert refused(machine)["code"] == code
    until_kept_from_starting(machine)
    machine.systemctl("stop", UNIT)  # two clients at a time are too many for this TPM
    machine.rolekeeper("seal", "--rekey", "--recovery-key", RECOVERY)
    machine.systemctl("start", UNIT)
    refreshes(machine)
    machine.run("rm", RECOVERY)
    machine.rolekeeper("seal", "--save-recovery-key", RECOVERY)
    assert node_ids(machine) == known


def test_another_firmware_state_keeps_the_key(with_tpm: Machine, chip: Tpm) -> None:
    chip.reboot("firmware 2")
    fails_then_recovers(with_tpm, "tpm-pcrs-changed")


def test_rekey_before_the_reboot_into_a_new_firmware_needs_no_recovery_key(with_tpm: Machine, chip: Tpm) -> None:
    with_tpm.rolekeeper("seal", "--rekey", "--pcrs", "23")
    chip.reboot("firmware 3")
    with_tpm.systemctl("restart", UNIT)
    refreshes(with_tpm)
    with_tpm.run("rm", RECOVERY)
    with_tpm.rolekeeper("seal", "--rekey", "--save-recovery-key", RECOVERY)


def test_a_tpm_that_was_cleared_or_replaced_is_named(with_tpm: Machine, chip: Tpm, boxes: Path) -> None:
    chip.clear()
    chip.reboot()
    fails_then_recovers(with_tpm, "tpm-changed")
    chip.is_replaced(boxes / "thrown-away")
    fails_then_recovers(with_tpm, "tpm-changed")


def test_host_and_tpm_together_take_both(with_tpm: Machine, chip: Tpm) -> None:
    known = node_ids(with_tpm)
    seal_setting(with_tpm, "host+tpm2")
    with_tpm.run("rm", RECOVERY)
    with_tpm.rolekeeper("seal", "--rekey", "--save-recovery-key", RECOVERY)
    with_tpm.stop()
    chip.reboot()
    with_tpm.start()
    refreshes(with_tpm)
    with_tpm.run("mv", HOST_KEY, "/root")
    with_tpm.systemctl("stop", UNIT)
    assert refused(with_tpm)["code"] == "host-key-gone"
    until_kept_from_starting(with_tpm)
    with_tpm.run("mv", "/root/credential.secret", HOST_KEY)
    refreshes(with_tpm)
    chip.clear()
    chip.reboot()
    fails_then_recovers(with_tpm, "tpm-changed")
    assert node_ids(with_tpm) == known


def test_a_tpm_that_is_absent_or_unsupported_or_locked_itself_is_named_and_waited_for(
    with_tpm: Machine, chip: Tpm
) -> None:
    with_tpm.systemctl("stop", UNIT)
    chip.power_off()
    assert refused(with_tpm)["code"] == "tpm-absent"
    until_kept_from_starting(with_tpm)
    chip.power_on()
    refreshes(with_tpm)
    with_tpm.systemctl("stop", UNIT)
    library = with_tpm.shell("ls /usr/lib/*/libtss2-esys.so.0").out.strip()
    with_tpm.run("mv", library, f"{library}.away")
    assert refused(with_tpm)["code"] == "tpm-unsupported"
    until_kept_from_starting(with_tpm)
    with_tpm.run("mv", f"{library}.away", library)
    refreshes(with_tpm)
    with_tpm.systemctl("stop", UNIT)
    for _ in range(4):
        with_tpm.run("systemd-creds", "decrypt", KEY, "/dev/null", expect=None)
        chip.power_fails()
        chip.power_on()
    assert refused(with_tpm)["code"] == "tpm-locked"
    until_kept_from_starting(with_tpm)
    chip.unlock()
    refreshes(with_tpm)
