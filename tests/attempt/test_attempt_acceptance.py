"""An operator says that other hardware is this machine: the fingerprint is bound to it after the service's yes."""

from datetime import timedelta

import pytest
from tests.attempt.conftest import NO_WAIT, TOKEN, Machine, impatient
from tests.attempt.mortal import KilledError, Mortal, MortalService, MortalVault

from rolekeeper.attempt.accept import Acceptance, accept
from rolekeeper.errors import (
    FingerprintRefusedError,
    NodeUnknownError,
    RolekeeperError,
    ServiceError,
    SignatureRefusedError,
)
from rolekeeper.model import Outcome, VaultContents
from rolekeeper.ports import World
from rolekeeper.values import replace


def accepted(machine: Machine, world: World | None = None) -> Acceptance:
    world = world or machine.world()
    with world.vault.lock(NO_WAIT):
        contents = world.vault.load()
        assert contents.node is not None
        return accept(world, contents, contents.node, timedelta(seconds=5))


def bound_to(contents: VaultContents) -> dict[str, str]:
    assert contents.fingerprint is not None
    return dict(contents.fingerprint.hardware_hash)


@pytest.fixture
def rebuilt(machine: Machine) -> Machine:
    """A machine that got other hardware, and hibernates."""
    assert machine.attempt().outcome is Outcome.ISSUED
    machine.hardware.replace_parts(*machine.hardware.components)
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    machine.emulator.forget_requests()
    return machine


def test_the_fingerprint_stays_and_belongs_to_the_new_hardware(rebuilt: Machine) -> None:
    before = rebuilt.vault().fingerprint
    assert before is not None
    accepted(rebuilt)
    contents = rebuilt.vault()
    assert contents.fingerprint == replace(before, hardware_hash=rebuilt.hardware.components)
    assert contents.measured == rebuilt.hardware.components
    assert rebuilt.attempt().outcome is Outcome.ISSUED


def test_after_it_the_old_hardware_is_not_the_machine_any_more(rebuilt: Machine) -> None:
    old = {name: value.removeprefix("another ") for name, value in rebuilt.hardware.components.items()}
    accepted(rebuilt)
    rebuilt.hardware.components = old
    assert rebuilt.attempt().outcome is Outcome.FINGERPRINT_REFUSED


def test_the_service_is_asked_once_before_anything_changes(rebuilt: Machine) -> None:
    accepted(rebuilt)
    assert [(one.operation, one.code) for one in rebuilt.requests()] == [(TOKEN, "")]
    assert rebuilt.vault().held_token is None


def test_a_threshold_that_was_set_stays(rebuilt: Machine) -> None:
    contents = rebuilt.vault()
    assert contents.node is not None
    strict = replace(contents.node, accepted=replace(contents.node.accepted, threshold=80))
    rebuilt.save(replace(contents, node=strict))
    accepted(rebuilt)
    found = rebuilt.vault().fingerprint
    assert found is not None
    assert found.threshold == 80


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ({"error": "MachineFingerprintDoesNotMatch"}, FingerprintRefusedError),
        ({"error": "InvalidInstanceId"}, NodeUnknownError),
        ({"error": "InvalidSignatureException"}, SignatureRefusedError),
        ({"error": "InternalServerError"}, ServiceError),
        ({"drop": True}, ServiceError),
    ],
)
def test_without_the_services_yes_nothing_changes(
    rebuilt: Machine, trouble: dict[str, object], error: type[RolekeeperError]
) -> None:
    before = rebuilt.vault()
    rebuilt.emulator.fail(TOKEN, **trouble)
    with pytest.raises(error):
        accepted(rebuilt)
    assert rebuilt.vault() == before
    accepted(rebuilt)
    assert bound_to(rebuilt.vault()) == rebuilt.hardware.components


def test_a_fingerprint_that_another_machine_changed_is_told_with_the_remedy(rebuilt: Machine) -> None:
    rebuilt.emulator.change_fingerprint(rebuilt.node_id)
    with pytest.raises(FingerprintRefusedError) as caught:
        accepted(rebuilt)
    assert f"Cannot accept this hardware for {rebuilt.node_id}" in caught.value.message
    assert "register --force" in caught.value.hint


def test_what_cannot_be_read_keeps_its_old_value(machine: Machine) -> None:
    before = machine.hardware.components["disk-info"]
    machine.hardware.replace_parts(*machine.hardware.components)
    machine.hardware.unreadable["disk-info"] = "hidden"
    acceptance = accepted(machine)
    assert bound_to(machine.vault()) == {**machine.hardware.components, "disk-info": before}
    assert acceptance.comparison.matched == 0


def test_what_is_not_ready_yet_is_waited_for(machine: Machine) -> None:
    machine.hardware.transient["disk-info"] = 3
    machine.hardware.looks = 0
    accepted(machine)
    assert bound_to(machine.vault()) == machine.hardware.components


def test_a_key_change_that_was_cut_off_does_not_stand_in_its_way(rebuilt: Machine) -> None:
    """The service took the new key, and the answer was lost."""
    contents = rebuilt.vault()
    rebuilt.emulator.request_rotation(rebuilt.node_id)
    rebuilt.emulator.fail("UpdateManagedInstancePublicKey", hang=True, apply=True)
    rebuilt.hardware.components = bound_to(contents)
    assert impatient(rebuilt).attempt().outcome is Outcome.ISSUED
    assert rebuilt.vault().pending_key is not None
    rebuilt.hardware.replace_parts(*rebuilt.hardware.components)
    accepted(rebuilt)
    assert bound_to(rebuilt.vault()) == rebuilt.hardware.components
    assert rebuilt.knows_one_key()


def test_a_crash_at_any_step_leaves_the_old_hardware_or_the_new(rebuilt: Machine) -> None:
    old, new = bound_to(rebuilt.vault()), rebuilt.hardware.components
    seen = []
    for step in range(1, 10):
        mortal, world = Mortal(rebuilt, last=step), rebuilt.world()
        service = MortalService(mortal, world.service, world.service)
        try:
            accepted(rebuilt, replace(world, vault=MortalVault(mortal, world.vault), service=service))
        except KilledError:
            seen.append(bound_to(rebuilt.vault()))
        else:
            break
    assert seen == [old, old, old, new]  # around the request, and around the save
    assert rebuilt.attempt().outcome is Outcome.ISSUED
