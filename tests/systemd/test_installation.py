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
DEPENDENCIES = ("glibc = 2.34", "libgcc_s.so.1()(64bit)", "ca-certificates", "dmidecode", "systemd = 252", "/bin/sh")
STAND_IN = """\
Name: stand-in
Version: 1
Release: 1
Summary: What rolekeeper depends on
License: none
BuildArch: noarch
Provides: {provides}
%description
Nothing.
%files
"""


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
def bare_rpm_machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server with rpm, which here knows of no package at all."""
    need("rpmbuild", "rpm")
    machine = new_machine()
    machine.configure()
    return machine


def stand_in(machine: Machine, python: str) -> str:
    """A package in the machine that provides what ours depends on; the files themselves are Debian's."""
    spec = STAND_IN.format(provides=", ".join((*DEPENDENCIES, python)))
    name = python.replace(" ", "")
    machine.write(f"/root/{name}.spec", spec)
    machine.run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir /root/{name}", f"/root/{name}.spec")
    return machine.shell(f"ls /root/{name}/RPMS/noarch/*.rpm").out.strip()


@pytest.mark.parametrize(
    ("python", "missing"),
    [
        ("python3 = 3.12.3", ""),
        ("python3.11 = 3.11.9", ""),
        ("python3.12 = 3.12.1", ""),
        ("python3 = 3.9.18", "(python3 >= 3.11 or python3.12 or python3.11) is needed"),
        ("", "dmidecode is needed"),
    ],
)
def test_rpm_installs_it_where_its_dependencies_are_and_nowhere_else(
    python: str, missing: str, bare_rpm_machine: Machine
) -> None:
    database = ("rpm", "--dbpath", f"/root/database-{python.replace(' ', '') or 'empty'}")
    if python:
        bare_rpm_machine.run(*database, "--install", "--justdb", stand_in(bare_rpm_machine, python))
    package = f"{PACKAGES}/rolekeeper-{NEW_VERSION}-1.x86_64.rpm"
    said = bare_rpm_machine.run(*database, "--install", "--test", package, expect=None)
    assert (bool(said.code), missing in said.err) == (bool(missing), True)


@pytest.fixture(scope="module")
def rpm_machine(bare_rpm_machine: Machine) -> Machine:
    """The same, with the dependencies and the package installed."""
    machine = bare_rpm_machine
    machine.run("rpm", "--install", stand_in(machine, "python3 = 3.11.2"))
    rpm(machine, "--install", OLD_VERSION)
    machine.register()
    machine.until_published()
    return machine


def rpm(machine: Machine, what: str, version: str) -> None:
    machine.run("rpm", what, f"{PACKAGES}/rolekeeper-{version}-1.x86_64.rpm")


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
