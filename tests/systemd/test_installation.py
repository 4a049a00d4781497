"""Install, upgrade, remove, purge, install again: what happens to service, registration and configuration.

One machine lives through all of it, in this order; another through the same with the .rpm.
"""

from collections.abc import Callable

import pytest
from tests.packages.conftest import need
from tests.systemd.conftest import NEW_VERSION, OLD_VERSION, OUTPUT, PACKAGES, UNIT, Machine

VAULT = "/var/lib/rolekeeper/vault"
BYTECODE = "find /usr/lib/rolekeeper -name 'model.cpython-*.pyc'"
EDITED = "/etc/rolekeeper/config.toml"


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server on which nothing is installed yet."""
    return new_machine()


def test_the_quick_start_is_install_and_register_and_nothing_else(machine: Machine) -> None:
    machine.configure()  # a server at AWS needs none of it
    machine.install(OLD_VERSION)
    machine.register()
    machine.until_published()
    assert machine.rolekeeper("status").code == 0


def test_an_upgrade_restarts_the_service_and_keeps_registration_and_edited_files(machine: Machine) -> None:
    machine.shell(f"echo '# mine' >>{EDITED}")
    before = machine.pid()
    said = machine.install(NEW_VERSION)
    assert machine.rolekeeper("version").out.strip().endswith(NEW_VERSION)
    assert machine.until_event("started", 2)["MESSAGE"] == f"Started rolekeeper {NEW_VERSION}"
    machine.until_status("Waiting")
    assert machine.pid() != before
    assert machine.property(UNIT, "UnitFileState") == "enabled"
    assert "# mine" in machine.read(EDITED), said
    machine.rolekeeper("refresh")
    assert len(machine.service.nodes) == 1


def test_an_upgrade_does_not_enable_what_was_disabled(machine: Machine) -> None:
    machine.systemctl("disable", UNIT)
    machine.install(NEW_VERSION)
    assert machine.property(UNIT, "UnitFileState") == "disabled"
    machine.systemctl("enable", UNIT)


def test_removed_and_installed_again_the_registration_is_still_there(machine: Machine) -> None:
    machine.run("dpkg", "--remove", "rolekeeper")
    assert machine.property(UNIT, "ActiveState") == "inactive"
    assert machine.access_key_id() == machine.issued()[-1]
    machine.run("test", "-d", VAULT)
    machine.install(NEW_VERSION)
    machine.until_status("Waiting")
    assert len(machine.service.nodes) == 1


def test_purged_the_vault_is_gone_which_is_said(machine: Machine) -> None:
    said = machine.run("dpkg", "--purge", "rolekeeper")
    assert next(iter(machine.service.nodes)) in said.out + said.err
    machine.run("test", "-e", VAULT, expect=1)
    machine.run("test", "-e", OUTPUT)
    machine.install(NEW_VERSION)
    machine.until_status("Unregistered")


@pytest.fixture(scope="module")
def rpm_machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server with rpm, which here knows nothing of the packages that ours depends on."""
    need("rpm", "rpm")
    machine = new_machine()
    machine.configure()
    rpm(machine, "--install", OLD_VERSION)
    machine.register()
    machine.until_published()
    return machine


def rpm(machine: Machine, what: str, version: str) -> None:
    machine.run("rpm", what, "--nodeps", f"{PACKAGES}/rolekeeper-{version}-1.x86_64.rpm")


def test_the_rpm_enables_and_starts_the_service(rpm_machine: Machine) -> None:
    assert rpm_machine.property(UNIT, "UnitFileState") == "enabled"
    assert rpm_machine.rolekeeper("status").code == 0
    assert rpm_machine.shell(BYTECODE).out
    explained = rpm_machine.run("journalctl", "--catalog", "--quiet", "ROLEKEEPER_EVENT=started").out
    assert "Rolekeeper has started" in explained


def test_an_upgrade_by_rpm_restarts_the_service_and_keeps_registration_and_edited_files(rpm_machine: Machine) -> None:
    rpm_machine.shell(f"echo '# mine' >>{EDITED}")
    rpm(rpm_machine, "--upgrade", NEW_VERSION)
    assert rpm_machine.until_event("started", 2)["MESSAGE"] == f"Started rolekeeper {NEW_VERSION}"
    rpm_machine.until_status("Waiting")
    assert rpm_machine.property(UNIT, "UnitFileState") == "enabled"
    assert "# mine" in rpm_machine.read(EDITED)
    assert rpm_machine.shell(BYTECODE).out
    assert len(rpm_machine.service.nodes) == 1


def test_erased_by_rpm_and_installed_again_the_registration_is_still_there(rpm_machine: Machine) -> None:
    rpm_machine.run("rpm", "--erase", "rolekeeper")
    rpm_machine.run("test", "-e", "/usr/lib/rolekeeper", expect=1)
    assert rpm_machine.property(UNIT, "ActiveState") == "inactive"
    assert "# mine" in rpm_machine.read(f"{EDITED}.rpmsave")
    assert rpm_machine.access_key_id() == rpm_machine.issued()[-1]
    rpm(rpm_machine, "--install", NEW_VERSION)
    rpm_machine.until_status("Waiting")
    assert len(rpm_machine.service.nodes) == 1
