"""`make install` on a server with systemd: to credentials, again after Python has changed, and on to a package.

One machine lives through all of it, in this order.
"""

from collections.abc import Callable

import pytest
from tests.systemd.conftest import CHECKOUT, NEW_VERSION, ROOT, UNIT, Machine

HOME = "/usr/local/lib/rolekeeper"


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server that sees the checkout, and on which nothing is installed yet."""
    machine = new_machine(*CHECKOUT)
    machine.configure()
    return machine


def make(machine: Machine, target: str, expect: int | None = 0) -> str:
    said = machine.run("make", "--silent", "--directory", str(ROOT), target, expect=expect)
    return said.out + said.err


def test_two_commands_lead_to_credentials(machine: Machine) -> None:
    make(machine, "install")
    assert machine.property(UNIT, "UnitFileState") == "enabled"
    machine.register()
    machine.until_published()
    assert machine.rolekeeper("status").code == 0


def test_installed_again_the_service_runs_the_new_files_with_the_same_registration(machine: Machine) -> None:
    before = machine.pid()
    make(machine, "install")
    machine.until("another process runs", lambda: machine.pid() not in (0, before))
    machine.until_status("Waiting")
    assert len(machine.service.nodes) == 1


def test_the_journal_explains_its_entries(machine: Machine) -> None:
    said = machine.run("journalctl", "--catalog", "--quiet", "ROLEKEEPER_EVENT=started").out
    assert "Rolekeeper has started" in said


def test_when_its_python_is_gone_the_service_says_so_and_installing_again_repairs_it(machine: Machine) -> None:
    machine.shell(f"for link in {HOME}/bin/python3*; do ln -sfn /usr/bin/python-of-old $link; done")
    machine.systemctl("restart", UNIT, expect=None)
    machine.until(
        "the journal says which Python is missing",
        lambda: any("none of these is here" in entry["MESSAGE"] for entry in machine.journal(f"_SYSTEMD_UNIT={UNIT}")),
    )
    make(machine, "install")
    machine.systemctl("restart", UNIT)
    machine.until_status("Waiting")


def test_a_package_takes_its_place(machine: Machine) -> None:
    machine.install(NEW_VERSION)
    machine.run("test", "-e", HOME, expect=1)
    assert machine.property(UNIT, "FragmentPath") in (f"/usr/lib/systemd/system/{UNIT}", f"/lib/systemd/system/{UNIT}")
    machine.run("test", "-e", "/etc/rolekeeper/config.toml")
    assert machine.property(UNIT, "UnitFileState") == "enabled"
    machine.until_status("Waiting")
    machine.rolekeeper("refresh")
    assert len(machine.service.nodes) == 1


def test_beside_a_package_it_is_not_installed(machine: Machine) -> None:
    assert "Cannot install: /usr/lib/rolekeeper belongs to a package" in make(machine, "install", expect=2)
