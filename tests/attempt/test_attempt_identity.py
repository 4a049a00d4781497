"""Which fingerprint leaves the machine, when hardware changes, returns, hides, or is somebody else's."""

import re
from datetime import timedelta

import pytest
from tests.attempt.conftest import HARDWARE, Machine
from tests.reports import events

from rolekeeper.model import THRESHOLD_OFF, Outcome, Verdict
from rolekeeper.values import replace

UUID_4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FIVE_SECONDS = timedelta(seconds=5)


def fingerprint(machine: Machine) -> str:
    accepted = machine.vault().fingerprint
    assert accepted is not None
    return accepted.fingerprint


def sent(machine: Machine) -> list[str]:
    return [request.fingerprint for request in machine.requests()]


def test_similar_hardware_sends_the_accepted_fingerprint_after_one_look(machine: Machine) -> None:
    machine.hardware.replace_parts("bios-hash", "system-hash", "memory-hash", "processor-hash", "ipaddress-info")
    machine.hardware.looks = 0
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    assert sent(machine) == [fingerprint(machine)]
    assert (machine.hardware.looks, machine.clock.slept) == (1, [])


def test_a_change_within_the_threshold_is_told_once(machine: Machine) -> None:
    machine.attempt()
    machine.hardware.replace_parts("disk-info")
    first, second = machine.attempt(), machine.attempt()
    assert events(first) == ["hardware_changed", "token_issued", "credentials_published"]
    assert first.entries[0].message == "Hardware changed, still similar: disk-info"
    assert events(second) == ["token_issued", "credentials_published"]


def test_drift_by_small_steps_does_not_add_up(machine: Machine) -> None:
    for name in [name for name in HARDWARE if name != "machine-id"]:
        machine.hardware.replace_parts(name)
        assert machine.attempt().outcome is Outcome.ISSUED
    assert set(sent(machine)) == {fingerprint(machine)}
    accepted = machine.vault().fingerprint
    assert accepted is not None
    assert accepted.hardware_hash == HARDWARE


def test_the_same_drift_in_one_step_is_another_machine(machine: Machine) -> None:
    machine.hardware.replace_parts(*[name for name in HARDWARE if name != "machine-id"])
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED


def test_drift_counts_from_the_last_accepted_request_only(machine: Machine) -> None:
    machine.attempt()
    names = [name for name in HARDWARE if name != "machine-id"]
    machine.emulator.fail("RequestManagedInstanceRoleToken", error="InternalServerError", times=2)
    machine.hardware.replace_parts(*names[:5])
    assert machine.attempt().outcome is Outcome.FAILED
    machine.hardware.replace_parts(*names[5:])
    assert machine.attempt().outcome is not Outcome.ISSUED
    machine.emulator.clear_faults()
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED


def test_another_machine_id_is_looked_at_three_times_five_seconds_apart(machine: Machine) -> None:
    machine.hardware.looks = 0
    machine.hardware.replace_parts("machine-id")
    report = machine.attempt()
    assert report.outcome is Outcome.FINGERPRINT_REFUSED
    assert (machine.hardware.looks, machine.clock.slept) == (3, [FIVE_SECONDS, FIVE_SECONDS])
    assert report.fingerprint is not None
    assert report.fingerprint.verdict is Verdict.NOT_SIMILAR
    assert events(report) == ["hardware_changed"]


def test_an_attempt_that_may_not_take_long_looks_three_times_all_the_same(machine: Machine) -> None:
    short = timedelta(seconds=3)
    machine.change(daemon=replace(machine.settings.daemon, attempt_timeout=short))
    machine.hardware.looks = 0
    machine.hardware.replace_parts("machine-id")
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    assert machine.hardware.looks == 3
    assert sum(machine.clock.slept, timedelta()) <= short / 4  # the rest is for the request, and for others' locks


@pytest.mark.parametrize("looks", [1, 2])
def test_hardware_that_is_ready_a_little_later_is_taken_for_what_it_is(machine: Machine, looks: int) -> None:
    machine.hardware.looks = 0
    machine.hardware.replace_parts("machine-id")
    machine.hardware.later = (looks, dict(HARDWARE))
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.clock.slept == [FIVE_SECONDS] * looks


def test_other_hardware_sends_a_trial_fingerprint_and_the_service_refuses_it(machine: Machine) -> None:
    accepted = fingerprint(machine)
    machine.hardware.replace_parts("machine-id")
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.FINGERPRINT_REFUSED, "MachineFingerprintDoesNotMatch")
    assert f"Fingerprint does not match {sent(machine)[0]}" in report.message
    assert fingerprint(machine) == accepted not in sent(machine)
    assert machine.published() is None


def test_each_hardware_has_one_trial_fingerprint_which_is_derived_and_stored_nowhere(machine: Machine) -> None:
    before = machine.vault()
    for by in ("second", "third", "second", "third", "second"):
        machine.hardware.replace_parts("machine-id", by=by)
        machine.attempt()
    second, third = sent(machine)[:2]
    assert sent(machine) == [second, third, second, third, second]
    assert second != third
    assert all(UUID_4.fullmatch(one) for one in (second, third))
    assert machine.vault() == before


def test_when_the_hardware_comes_back_so_does_the_accepted_fingerprint(machine: Machine) -> None:
    accepted = fingerprint(machine)
    machine.hardware.replace_parts("machine-id")
    machine.attempt()
    machine.hardware.components = dict(HARDWARE)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert sent(machine)[-1] == accepted
    assert machine.published() is not None


def test_a_trial_that_the_service_accepts_becomes_the_accepted_pair(machine: Machine) -> None:
    machine.hardware.replace_parts("machine-id")
    machine.attempt()
    machine.emulator.change_fingerprint(machine.node_id, sent(machine)[0])
    assert machine.attempt().outcome is Outcome.ISSUED
    contents = machine.vault()
    assert contents.fingerprint is not None
    assert contents.fingerprint.fingerprint == sent(machine)[0]
    assert contents.fingerprint.hardware_hash == machine.hardware.components
    machine.clock.slept.clear()
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.clock.slept == []


@pytest.mark.parametrize("names", [("machine-id",), ("ipaddress-info", "disk-info", "macaddr-info", "hostname-info")])
def test_components_that_cannot_be_read_cost_no_request_and_no_fingerprint(
    machine: Machine, names: tuple[str, ...]
) -> None:
    accepted = fingerprint(machine)
    if "machine-id" not in names:
        machine.hardware.replace_parts("bios-hash", "system-hash")
    machine.hardware.unreadable = dict.fromkeys(names, "Input/output error")
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.HARDWARE_UNREADABLE, "hardware-unreadable")
    assert f"{names[0]} (Input/output error)" in report.message
    assert machine.requests() == ()
    assert fingerprint(machine) == accepted
    machine.hardware.unreadable = {}
    assert machine.attempt().outcome is Outcome.ISSUED


def test_unreadable_components_do_not_hide_that_the_rest_is_another_machine(machine: Machine) -> None:
    machine.hardware.replace_parts(*[name for name in HARDWARE if name != "disk-info"])
    machine.hardware.unreadable = {"disk-info": "Input/output error"}
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED


def test_what_could_not_be_read_at_an_accepted_request_is_remembered_as_it_was(machine: Machine) -> None:
    machine.attempt()
    machine.hardware.unreadable = {"disk-info": "Input/output error"}
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.vault().measured == HARDWARE


def test_with_the_threshold_off_any_hardware_is_this_machine(machine: Machine) -> None:
    contents = machine.vault()
    assert contents.node is not None
    accepted = replace(contents.node.accepted, threshold=THRESHOLD_OFF)
    machine.save(replace(contents, node=replace(contents.node, accepted=accepted)))
    machine.hardware.replace_parts(*HARDWARE)
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    assert sent(machine) == [accepted.fingerprint]
    assert machine.clock.slept == []
