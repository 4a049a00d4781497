"""Copies: a cloned disk on other hardware, and a vault that is restored from a backup."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attempt.conftest import Machine
from tests.attempt.mortal import Mortal
from tests.wavering.conftest import (
    Box,
    Site,
    fingerprint,
    replace_card,
    replace_disk,
    replace_mainboard,
    set_threshold,
)

from rolekeeper.model import DEFAULT_SIMILARITY_THRESHOLD, THRESHOLD_OFF, Outcome


def be_another_model(_box: Box) -> None:
    """Every table of SMBIOS differs."""


def keep_the_disks_ids(box: Box) -> None:
    shutil.rmtree(box.place / "disks")
    shutil.copytree(box.place.parent / "01" / "disks", box.place / "disks", symlinks=True)


def be_the_same_model(box: Box) -> None:
    """Processors and firmware of one make have no serial numbers."""
    for kind in ("processor", "bios"):
        box.set_smbios(kind, "01")


def take_the_same_address(box: Box) -> None:
    box.address = "192.0.2.1"


@pytest.mark.parametrize(
    ("make", "threshold", "outcome"),
    [
        (be_another_model, DEFAULT_SIMILARITY_THRESHOLD, Outcome.FINGERPRINT_REFUSED),
        (keep_the_disks_ids, DEFAULT_SIMILARITY_THRESHOLD, Outcome.FINGERPRINT_REFUSED),
        (be_the_same_model, DEFAULT_SIMILARITY_THRESHOLD, Outcome.ISSUED),
        (be_the_same_model, 60, Outcome.FINGERPRINT_REFUSED),
        (take_the_same_address, 100, Outcome.ISSUED),
    ],
)
def test_a_clone_is_told_apart_by_what_the_documentation_says(
    site: Site, machine: Machine, make: Callable[[Box], None], threshold: int, outcome: Outcome
) -> None:
    """docs/operating.md, "Clones": what SSM Agent's rules cannot tell apart is said there."""
    mine = fingerprint(machine)
    set_threshold(machine, threshold)
    box = site.box("02")
    make(box)
    assert site.clone(machine, box).attempt().outcome is outcome
    assert (site.sent() == [mine]) is (outcome is Outcome.ISSUED)
    assert machine.attempt().outcome is Outcome.ISSUED


def test_without_smbios_a_clone_matches_in_six_of_nine_and_shares_the_node(site: Site) -> None:
    """README, "Clones and golden images"; `rolekeeper fingerprint check` warns of it."""
    bare, other = site.box("03"), site.box("02")
    for box in (bare, other):
        (box.place / "dmidecode").unlink()
    machine = site.install("original", bare)
    report = site.clone(machine, other).attempt()
    assert report.fingerprint is not None
    assert (report.outcome, report.fingerprint.matched) == (Outcome.ISSUED, 6)
    assert site.sent() == [fingerprint(machine)]


class Backup:
    """A copy of a vault, as `cp -a` makes it."""

    def __init__(self, machine: Machine) -> None:
        self.vault = machine.directory / "vault"
        self.copy = machine.directory / f"backup-{len(list(machine.directory.iterdir()))}"
        shutil.copytree(self.vault, self.copy)

    def restore(self) -> None:
        shutil.rmtree(self.vault)
        shutil.copytree(self.copy, self.vault)


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_backup_from_before_a_key_change_is_refused_left_as_it_is_and_the_newest_one_works(
    site: Site, machine: Machine
) -> None:
    mine = fingerprint(machine)
    machine.attempt()
    old = Backup(machine)
    site.emulator.request_rotation(machine.node_id)
    machine.attempt()
    machine.attempt()
    newest = Backup(machine)
    old.restore()
    before = machine.vault()
    for _ in range(3):
        report = machine.attempt()
        assert (report.outcome, report.code) == (Outcome.REFUSED, "InvalidSignatureException")
        assert "restore the newest vault of this machine" in report.hint
    assert machine.vault() == before
    newest.restore()
    assert machine.attempt().outcome is Outcome.ISSUED
    assert set(site.sent()) == {mine}


def test_a_backup_from_the_midst_of_a_key_change_knows_the_key_that_came_of_it(site: Site, machine: Machine) -> None:
    mine = fingerprint(machine)
    machine.emulator.request_rotation(machine.node_id)
    process = Mortal(machine)
    process.attempt()
    for step in (process.answered - 1, process.answered + 2):
        machine.emulator.request_rotation(machine.node_id)
        Mortal(machine).attempt(dies_at=step)
        backup = Backup(machine)
        machine.attempt()
        machine.attempt()
        backup.restore()
        before = len(site.sent())
        assert machine.attempt().outcome is Outcome.ISSUED
        assert machine.knows_one_key()
        assert len(site.sent()) > before
    assert set(site.sent()) == {mine}


def test_an_old_backup_beside_hardware_that_drifted_far_hibernates_until_root_gives_his_word(
    site: Site, machine: Machine
) -> None:
    """docs/operating.md, "Backups"."""
    mine = fingerprint(machine)
    machine.attempt()
    backup = Backup(machine)
    replace_mainboard(machine.hardware)
    machine.attempt()
    for part in (replace_card, replace_disk):
        part(machine.hardware)
        assert machine.attempt().outcome is Outcome.ISSUED
    backup.restore()
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    set_threshold(machine, THRESHOLD_OFF)
    assert machine.attempt().outcome is Outcome.ISSUED
    set_threshold(machine, DEFAULT_SIMILARITY_THRESHOLD)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert [one == mine for one in site.sent()] == [True] * 4 + [False] + [True] * 2
