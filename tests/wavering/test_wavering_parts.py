"""Hardware that hides and comes back, as the real probe sees it; the rules are tested in test_attempt_identity.py."""

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
    replace_mainboard,
)

from rolekeeper.model import Outcome


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
    assert site.sent() == []
    assert machine.attempt().outcome is Outcome.ISSUED
    assert site.sent() == [mine]
