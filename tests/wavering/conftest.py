"""A machine whose hardware is files and programs, and whose daemon lives in virtual time.

The attempts are real ones, with the real vault, files and HTTP, and the emulator shares the daemon's clock. Of the
hardware only the host name and the address are the test's word: they are the kernel's.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.attempt.conftest import TOKEN, Machine, StockOfKeys, settings_in
from tests.conftest import rebound
from tests.daemon.conftest import Behaviour, World

from rolekeeper.adapters.hardware import HardwareProbe, Sources
from rolekeeper.emulator import Emulator
from rolekeeper.model import SMBIOS_COMPONENTS, Hardware, NodeKey
from rolekeeper.ports import Clock
from rolekeeper.values import replace

SMBIOS = tuple(name.removesuffix("-hash") for name in SMBIOS_COMPONENTS)
DMIDECODE = """#!/bin/sh
while read -r line; do echo "$line"; done <"${0%/*}/smbios/$2"
"""
KEYS: list[NodeKey] = []  # made ahead, for all tests


@dataclass
class Box:
    """The hardware below `place`, as ports.HardwareProbe."""

    place: Path
    clock: Clock
    hostname: str = ""
    address: str = ""
    card: str = ""  # the hardware address of the first interface

    def look(self) -> Hardware:
        sources = Sources(
            machine_id=(self.machine_id, self.place / "no-dbus"),
            dmidecode=self.place / "dmidecode",
            disks=self.place / "disks",
        )
        seen = HardwareProbe(self.clock, sources).look()
        told = {"hostname-info": self.hostname, "ipaddress-info": self.address, "macaddr-info": self.card}
        unreadable = {name: reason for name, reason in seen.unreadable.items() if name not in told}
        return Hardware({**seen.hash, **told}, unreadable)

    @property
    def machine_id(self) -> Path:
        return self.place / "machine-id"

    def assemble(self, serial: str) -> "Box":
        """Put the parts in that are told apart by `serial`."""
        self.hostname, self.address = f"rack-{serial}", f"192.0.2.{int(serial)}"
        self.machine_id.write_text(f"{serial:0>32}\n")
        (self.place / "dmidecode").write_text(DMIDECODE)
        (self.place / "dmidecode").chmod(0o755)
        for kind in SMBIOS:
            self.set_smbios(kind, serial)
        self.card = f"02:00:00:00:00:{serial}"
        (self.place / "disks").mkdir()
        (self.place / "disks" / f"0ad1-{serial}").symlink_to("../../sda1")
        return self

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Whatever changes meanwhile is as before in the end."""
        kept = self.place.with_suffix(".kept")
        shutil.copytree(self.place, kept, symlinks=True)
        told = (self.hostname, self.address, self.card)
        yield
        shutil.rmtree(self.place)
        kept.rename(self.place)
        self.hostname, self.address, self.card = told

    def set_smbios(self, kind: str, serial: str) -> None:
        table = self.place / "smbios" / kind
        table.parent.mkdir(exist_ok=True)
        table.write_text(f"# dmidecode 3.4\n{kind} of {serial}\n")


@dataclass
class Site:
    """A service, and machines that share its clock; the daemon in `world` is that of the machine that lives in it."""

    world: World
    emulator: Emulator
    directory: Path
    boxes: Path

    def box(self, serial: str) -> Box:
        place = self.boxes / serial
        place.mkdir()
        return Box(place, self.world).assemble(serial)

    def install(self, name: str, box: Box) -> Machine:
        """A machine that is registered, and whose registration is not among the requests."""
        directory = self.directory / name
        settings = settings_in(directory, self.emulator.url)
        machine = Machine(self.emulator, directory, self.world, settings, StockOfKeys(KEYS), box)
        machine.register()
        self.emulator.forget_requests()
        return machine

    def clone(self, machine: Machine, box: Box) -> Machine:
        """Another machine with a copy of the whole disk: the vault, what is published, machine-id and host name."""
        shutil.copytree(machine.directory, self.directory / "clone")
        shutil.copyfile(machine.hardware.machine_id, box.machine_id)
        box.hostname = machine.hardware.hostname
        return replace(machine.copied_to(self.directory / "clone"), hardware=box)

    def lives(self, machine: Machine, until: timedelta) -> None:
        """The machine's daemon runs until then."""
        self.world.script = [Behaviour(machine.attempt, finds=machine.settings)]
        self.world.runs(until)

    def sent(self) -> list[str]:
        """The fingerprint in each request for a token."""
        return [request.fingerprint for request in self.emulator.requests if request.operation == TOKEN]


def fingerprint(machine: Machine) -> str:
    """The one that the service accepts."""
    accepted = machine.vault().fingerprint
    assert accepted is not None
    return accepted.fingerprint


def set_threshold(machine: Machine, threshold: int) -> None:
    """What `rolekeeper fingerprint threshold` does."""
    machine.save(rebound(machine.vault(), threshold=threshold))


def replace_mainboard(box: Box) -> None:
    for kind in SMBIOS:
        box.set_smbios(kind, "99")


def replace_card(box: Box) -> None:
    box.card = "02:00:00:00:00:99"
    box.address = "192.0.2.99"


def replace_disk(box: Box) -> None:
    (box.place / "disks" / "0ad1-99").symlink_to("../../sdb1")


def replace_everything(box: Box) -> None:
    box.machine_id.write_text(f"{99:0>32}\n")
    for part in (replace_mainboard, replace_card, replace_disk):
        part(box)
    box.hostname = "elsewhere"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Vaults are in memory where there is such a place: every step is flushed, and a disk takes its time for that."""
    memory = Path("/dev/shm")
    world = World()
    with (
        TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory,
        Emulator(clock=lambda: world.now().wall) as emulator,
    ):
        yield Site(world, emulator, Path(directory), tmp_path)


@pytest.fixture
def machine(site: Site) -> Machine:
    return site.install("original", site.box("01"))
