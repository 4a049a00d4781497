"""Hardware that changes under a running service, and comes back: the journal names the component, and all is well.

The machine has a network of its own, with one card, and a name server: nothing else in these tests is reached by name.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.systemd import smbios_tables
from tests.systemd.conftest import CHECKOUT, UNIT, Machine

TABLES = "/sys/firmware/dmi/tables"
CARD, OTHER_CARD = ("02:00:00:00:00:01", "192.0.2.1/24"), ("02:00:00:00:00:02", "192.0.2.2/24")
SMBIOS = {"processor-hash", "memory-hash", "system-hash"}  # the BIOS has no serial number
SERVER = "ssm.rolekeeper.test"


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Iterator[Machine]:
    """Registered at the emulator that runs inside."""
    machine = new_machine(*CHECKOUT, emulated=None, private_network=True)
    machine.shell(
        f"""
        ip link set lo up
        ip link add eth0 type dummy || ip link add eth0 type bridge
        ip link set eth0 up
        mount -t tmpfs tmpfs /sys/firmware
        mkdir -p {TABLES}
        rm -f /etc/resolv.conf
        echo nameserver 127.0.0.1 >/etc/resolv.conf
        """
    )
    set_card(machine, *CARD)
    set_tables(machine, "SN-1")
    with machine.background(sys.executable, str(Path(__file__).with_name("inside.py"))) as service:
        assert service.stdout is not None
        facts = json.loads(service.stdout.readline())
        machine.write(
            "/etc/rolekeeper/conf.d/test.toml", f'[service]\nendpoint_url = "http://{SERVER}:{facts["port"]}"\n'
        )
        machine.install()
        options = ("--activation-id", facts["activation_id"], "--region", facts["region"])
        machine.rolekeeper("register", *options, stdin=facts["code"])
        machine.until_status("Waiting")
        yield machine
        machine.crash()


def set_card(machine: Machine, address: str, network: str) -> None:
    machine.shell(f"ip link set eth0 address {address}; ip addr flush dev eth0; ip addr add {network} dev eth0")


def set_tables(machine: Machine, serial: str) -> None:
    smbios_tables.write(machine.root / TABLES[1:], serial)


def changed(machine: Machine, *, matched: int, code: int) -> dict[str, Any]:
    """What the journal says of the hardware after the next attempt."""
    known = len(machine.events("hardware_changed"))
    machine.rolekeeper("refresh", expect=code)
    entry = machine.until_event("hardware_changed", known + 1)
    assert entry["ROLEKEEPER_MATCHED"] == str(matched)
    return entry


def components(entry: dict[str, Any]) -> set[str]:
    return set(entry["ROLEKEEPER_COMPONENTS"].split(", "))


def test_the_service_is_reached_by_name(machine: Machine) -> None:
    assert machine.rolekeeper("status").code == 0
    assert machine.events("hardware_changed") == []


def test_a_new_mainboard_is_named_and_remembered_while_the_rest_is_the_same(machine: Machine) -> None:
    set_tables(machine, "SN-2")
    entry = changed(machine, matched=6, code=0)
    assert components(entry) == SMBIOS
    assert entry["PRIORITY"] == "6"
    set_tables(machine, "SN-1")
    assert components(changed(machine, matched=9, code=0)) == SMBIOS


def test_a_new_card_is_named(machine: Machine) -> None:
    set_card(machine, *OTHER_CARD)
    assert components(changed(machine, matched=7, code=0)) == {"ipaddress-info", "macaddr-info"}
    set_card(machine, *CARD)
    changed(machine, matched=9, code=0)


def test_another_machine_hibernates_and_recovers_when_the_hardware_is_back(machine: Machine) -> None:
    other = "b08dfa6083e7567a1921a715000001fb\n"
    machine.write("/run/other-id", other)
    machine.run("mount", "--bind", "/run/other-id", "/etc/machine-id")
    entry = changed(machine, matched=8, code=77)
    assert components(entry) == {"machine-id"}
    assert entry["PRIORITY"] == "4"
    machine.until_status(
        "Hibernating: error occurred in RequestManagedInstanceRoleToken: MachineFingerprintDoesNotMatch"
    )
    machine.run("umount", "/etc/machine-id")
    machine.rolekeeper("refresh")
    machine.until_status("Waiting")
    assert machine.until_event("hibernation_left")["ROLEKEEPER_NODE_ID"].startswith("mi-")
    assert machine.property(UNIT, "NRestarts") == "0"
