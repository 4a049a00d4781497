"""Hardware that hides, changes, and comes back: which fingerprint leaves the machine, and what it costs."""

import os
import shutil
from collections.abc import Callable

import pytest
from tests.attempt.conftest import Machine
from tests.wavering.conftest import (
    Box,
    Site,
    fingerprint,
    replace_card,
    replace_disk,
    replace_everything,
    replace_mainboard,
    set_threshold,
)

from rolekeeper.model import DEFAULT_SIMILARITY_THRESHOLD, THRESHOLD_OFF, Outcome


def get_another_address(box: Box) -> None:
    box.address = "192.0.2.99"


def lose_dmidecode(box: Box) -> None:
    (box.place / "dmidecode").unlink()


def break_dmidecode(box: Box) -> None:
    shutil.rmtree(box.place / "smbios")


@pytest.mark.parametrize(
    ("change", "matched"),
    [
        (get_another_address, 8),
        (replace_card, 7),
        (replace_disk, 8),
        (replace_mainboard, 5),
        (lose_dmidecode, 5),
        (break_dmidecode, 5),
    ],
)
def test_a_part_that_changes_or_hides_and_comes_back_costs_nothing(
    site: Site, machine: Machine, change: Callable[[Box], None], matched: int
) -> None:
    mine = fingerprint(machine)
    with machine.hardware.restored():
        change(machine.hardware)
        report = machine.attempt()
        assert report.fingerprint is not None
        assert (report.outcome, report.fingerprint.matched) == (Outcome.ISSUED, matched)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert site.sent() == [mine] * 2


def lose_machine_id(box: Box) -> None:
    box.machine_id.unlink()


def empty_machine_id(box: Box) -> None:
    os.truncate(box.machine_id, 0)


def find_a_directory(box: Box) -> None:
    box.machine_id.unlink()
    box.machine_id.mkdir()


def lose_dmidecode_and_replace_what_else_there_is(box: Box) -> None:
    lose_dmidecode(box)
    replace_card(box)
    replace_disk(box)


@pytest.mark.parametrize(
    "hide", [lose_machine_id, empty_machine_id, find_a_directory, lose_dmidecode_and_replace_what_else_there_is]
)
def test_what_cannot_be_read_at_boot_costs_no_request_until_it_is_back(
    site: Site, machine: Machine, hide: Callable[[Box], None]
) -> None:
    mine = fingerprint(machine)
    with machine.hardware.restored():
        hide(machine.hardware)
        for _ in range(2):
            assert machine.attempt().outcome is Outcome.HARDWARE_UNREADABLE
    assert (site.sent(), machine.vault().trials) == ([], {})
    assert machine.attempt().outcome is Outcome.ISSUED
    assert site.sent() == [mine]


def test_a_machine_id_made_anew_at_boot_is_tried_and_the_accepted_fingerprint_comes_back_with_the_old_one(
    site: Site, machine: Machine
) -> None:
    mine = fingerprint(machine)
    with machine.hardware.restored():
        machine.hardware.machine_id.write_text(f"{99:0>32}\n")
        for _ in range(2):
            assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    assert machine.attempt().outcome is Outcome.ISSUED
    first, second, *rest = site.sent()
    assert (first, rest) == (second, [mine])
    assert first != mine


def test_what_hid_at_an_accepted_request_is_remembered_as_it_was_seen_last(site: Site, machine: Machine) -> None:
    mine = fingerprint(machine)
    replace_mainboard(machine.hardware)
    machine.attempt()
    with machine.hardware.restored():
        lose_dmidecode(machine.hardware)
        machine.attempt()
    replace_card(machine.hardware)
    replace_disk(machine.hardware)
    report = machine.attempt()
    assert report.fingerprint is not None
    assert (report.outcome, report.fingerprint.matched) == (Outcome.ISSUED, 6)
    assert site.sent() == [mine] * 3


def test_the_threshold_off_takes_new_hardware_over_and_back_on_it_guards_that(site: Site, machine: Machine) -> None:
    """README, "A mainboard was replaced", to the end."""
    mine = fingerprint(machine)
    replace_everything(machine.hardware)
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    set_threshold(machine, THRESHOLD_OFF)
    assert machine.attempt().outcome is Outcome.ISSUED
    set_threshold(machine, DEFAULT_SIMILARITY_THRESHOLD)
    assert machine.attempt().outcome is Outcome.ISSUED
    machine.hardware.machine_id.write_text(f"{98:0>32}\n")
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    trial, *accepted, other = site.sent()
    assert accepted == [mine] * 2
    assert len({trial, mine, other}) == 3
