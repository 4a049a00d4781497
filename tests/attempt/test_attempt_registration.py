"""An activation becomes a registration, and nothing on the way loses one."""

import dataclasses
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.attempt.conftest import HARDWARE, REGISTER, Machine
from tests.reports import events

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.attempt.register import ActivationDetails
from rolekeeper.emulator import Activation as EmulatedActivation
from rolekeeper.errors import ServiceError, ServiceRefusedError
from rolekeeper.model import Outcome, VaultContents
from rolekeeper.settings import NodeSettings
from rolekeeper.values import replace


def in_unattended_mode(machine: Machine, *, code: str | None = None) -> None:
    """Configure [node] with a new activation."""
    activation = machine.emulator.create_activation()
    machine.change(node=NodeSettings(machine.emulator.region, activation.activation_id, None))
    machine.code = code or activation.code


def lose_the_answer(machine: Machine, activation: EmulatedActivation) -> None:
    """Register: the service does it, and its answer does not come."""
    machine.emulator.fail(REGISTER, drop=True, apply=True)
    with pytest.raises(ServiceError):
        machine.register(activation)


def works(machine: Machine) -> bool:
    return machine.attempt().outcome is Outcome.ISSUED


def test_a_registration_is_what_the_service_knows(unregistered: Machine) -> None:
    contents = unregistered.register()
    node = unregistered.emulator.nodes[unregistered.node_id]
    assert contents == unregistered.vault()
    assert contents.registration is not None
    assert contents.fingerprint is not None
    assert (contents.registration.region, public_key(contents.registration.key)) == ("us-east-1", node.public_key)
    assert (contents.fingerprint.fingerprint, contents.fingerprint.hardware_hash) == (node.fingerprint, HARDWARE)
    assert contents.fingerprint.threshold == 40
    assert contents.pending_registration is None
    assert works(unregistered)


def test_key_and_fingerprint_are_on_disk_before_the_service_is_called(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation()
    unregistered.emulator.fail(REGISTER, error="InternalServerError")
    with pytest.raises(ServiceError):
        unregistered.register(activation)
    pending = unregistered.vault().pending_registration
    sent = unregistered.requests(REGISTER)[0]
    assert pending is not None
    assert pending.fingerprint == sent.fingerprint
    assert public_key(pending.key).encode() in sent.body
    assert unregistered.vault().registration is None


def test_after_a_lost_answer_the_same_command_succeeds_and_counts_one_more(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation(limit=2)
    lose_the_answer(unregistered, activation)
    assert unregistered.emulator.activations[activation.activation_id].registrations == 1
    unregistered.register(activation)
    assert unregistered.emulator.activations[activation.activation_id].registrations == 2
    assert works(unregistered)
    first, second = unregistered.requests(REGISTER)
    assert first.body == second.body


def test_an_activation_that_the_lost_try_used_up_is_told_with_what_to_do(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation(limit=1)
    lose_the_answer(unregistered, activation)
    for _ in range(2):  # whoever asks again is told the same
        with pytest.raises(ServiceRefusedError) as caught:
            unregistered.register(activation)
        assert caught.value.code == "RegistrationLimitExceeded"
        assert "an earlier try was cut off" in caught.value.hint
        assert "new activation" in caught.value.hint
    unregistered.register()
    assert works(unregistered)


def test_an_activation_that_others_used_up_is_told_as_such(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation(limit=1)
    unregistered.register(activation)
    with pytest.raises(ServiceRefusedError) as caught:
        unregistered.register(activation, replace_old=True)
    assert caught.value.code == "RegistrationLimitExceeded"
    assert "cut off" not in caught.value.hint
    assert works(unregistered)


@pytest.mark.parametrize("code", ["InvalidActivation", "InstanceAlreadyRegistered"])
def test_a_try_that_was_refused_is_over_and_the_next_one_begins_anew(unregistered: Machine, code: str) -> None:
    activation = unregistered.emulator.create_activation()
    unregistered.emulator.fail(REGISTER, error=code)
    with pytest.raises(ServiceRefusedError):
        unregistered.register(activation)
    assert unregistered.vault().pending_registration is None
    unregistered.register(activation)
    first, second = unregistered.requests(REGISTER)
    assert first.fingerprint != second.fingerprint
    assert works(unregistered)


REFUSALS = ["InvalidActivation", "ActivationExpired", "RegistrationLimitExceeded", "AccessDeniedException", "New"]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_leaves_what_a_lost_try_began_to_the_next_one(unregistered: Machine, code: str) -> None:
    activation = unregistered.emulator.create_activation(limit=2)
    lose_the_answer(unregistered, activation)
    unregistered.emulator.fail(REGISTER, error=code)
    with pytest.raises(ServiceRefusedError):
        unregistered.register(activation)
    unregistered.register(activation)
    first, second, third = unregistered.requests(REGISTER)
    assert first.body == second.body == third.body
    assert works(unregistered)


def test_a_mistyped_activation_id_does_not_forget_what_a_lost_try_began(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation(limit=2)
    lose_the_answer(unregistered, activation)
    with pytest.raises(ServiceRefusedError):
        unregistered.register(dataclasses.replace(activation, activation_id=str(uuid4())))
    unregistered.register(activation)
    first, _, third = unregistered.requests(REGISTER)
    assert first.body == third.body
    assert works(unregistered)


def test_a_key_that_the_service_will_not_have_is_not_taken_up(unregistered: Machine) -> None:
    """A newer rolekeeper may send one of another kind."""
    activation = unregistered.emulator.create_activation(limit=2)
    lose_the_answer(unregistered, activation)
    unregistered.emulator.fail(REGISTER, error="InvalidPublicKey")
    with pytest.raises(ServiceRefusedError):
        unregistered.register(activation)
    assert unregistered.vault().pending_registration is None


def test_what_was_begun_with_the_same_activation_in_another_region_is_not_taken_up(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation()
    unregistered.emulator.fail(REGISTER, drop=True)
    with pytest.raises(ServiceError):
        unregistered.register(activation)
    begun = unregistered.vault()
    assert begun.pending_registration is not None
    unregistered.save(replace(begun, pending_registration=replace(begun.pending_registration, region="eu-west-1")))
    unregistered.register(activation)
    first, second = unregistered.requests(REGISTER)
    assert first.fingerprint != second.fingerprint
    assert works(unregistered)


def test_another_activation_does_not_take_up_what_was_begun_with_the_first(unregistered: Machine) -> None:
    unregistered.emulator.fail(REGISTER, drop=True)
    with pytest.raises(ServiceError):
        unregistered.register()
    unregistered.register()
    first, second = unregistered.requests(REGISTER)
    assert first.fingerprint != second.fingerprint
    assert works(unregistered)


def test_a_try_that_is_taken_up_binds_the_hardware_of_now(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation()
    unregistered.emulator.fail(REGISTER, drop=True)
    with pytest.raises(ServiceError):
        unregistered.register(activation)
    unregistered.hardware.replace_parts("machine-id", "ipaddress-info")
    accepted = unregistered.register(activation).fingerprint
    assert accepted is not None
    assert accepted.hardware_hash == unregistered.hardware.components
    assert works(unregistered)


ADDRESS = HARDWARE["ipaddress-info"]


@pytest.mark.parametrize(("ready_at", "looks", "bound"), [(1, 1, ADDRESS), (3, 3, ADDRESS), (4, 3, "")])
def test_a_component_that_cannot_be_read_just_now_is_looked_at_again(
    unregistered: Machine, ready_at: int, looks: int, bound: str
) -> None:
    unregistered.hardware.transient = {"ipaddress-info": ready_at}
    unregistered.hardware.unreadable = {"bios-hash": "cannot run dmidecode"}
    before = unregistered.clock.boot
    accepted = unregistered.register().fingerprint
    assert accepted is not None
    assert accepted.hardware_hash["ipaddress-info"] == bound
    assert unregistered.hardware.looks == looks
    assert unregistered.clock.boot - before == timedelta(seconds=5) * (looks - 1)


TROUBLES = (
    {"drop": True},
    {"drop": True, "apply": True},
    {"error": "InternalServerError"},
    {"error": "InvalidActivation"},
    {"error": "RegistrationLimitExceeded"},
    {"error": "InstanceAlreadyRegistered"},
    {"error": "InvalidPublicKey"},
    {"body": "<html>Please log in</html>"},
    {"remove": ("InstanceId",)},
    {"fields": {"InstanceId": "i-0123456789abcdef0"}},
)


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_the_old_registration_stays_in_force_until_the_new_one_is_on_disk(
    machine: Machine, trouble: dict[str, object]
) -> None:
    before = machine.vault()
    machine.emulator.fail(REGISTER, **trouble)
    with pytest.raises((ServiceError, ServiceRefusedError)):
        machine.register(replace_old=True)
    after = machine.vault()
    assert (after.registration, after.fingerprint) == (before.registration, before.fingerprint)
    assert works(machine)
    machine.register(replace_old=True)
    assert works(machine)


def test_what_belonged_to_the_old_registration_goes_with_it(machine: Machine) -> None:
    machine.hardware.replace_parts("machine-id")
    machine.attempt()
    machine.hardware.components = dict(HARDWARE)
    machine.attempt()
    old = machine.vault()
    machine.save(replace(old, pending_key=machine.keys.new_key(machine.clock.wall)))
    new = machine.register(replace_old=True)
    assert new == VaultContents(node=new.node)
    assert new.registration != old.registration
    assert new.fingerprint is not None
    assert old.fingerprint is not None
    assert new.fingerprint.fingerprint != old.fingerprint.fingerprint


def test_a_machine_that_the_service_holds_already_is_told_so(unregistered: Machine) -> None:
    unregistered.emulator.fail(REGISTER, error="InstanceAlreadyRegistered")
    with pytest.raises(ServiceRefusedError) as caught:
        unregistered.register()
    assert caught.value.code == "InstanceAlreadyRegistered"
    assert caught.value.hint
    assert len(unregistered.requests(REGISTER)) == 1


def test_a_machine_that_an_earlier_lost_try_registered_is_registered_with_another_key(unregistered: Machine) -> None:
    activation = unregistered.emulator.create_activation(limit=2)
    unregistered.emulator.fail(REGISTER, drop=True, apply=True)
    unregistered.emulator.fail(REGISTER, error="InstanceAlreadyRegistered")
    with pytest.raises(ServiceError):
        unregistered.register(activation)
    unregistered.register(activation)
    first, again, other = unregistered.requests(REGISTER)
    assert first.body == again.body != other.body
    assert works(unregistered)


def test_a_machine_registers_itself_with_the_configured_activation(unregistered: Machine) -> None:
    in_unattended_mode(unregistered)
    report = unregistered.attempt()
    assert report.outcome is Outcome.ISSUED
    assert events(report) == ["registered", "token_issued", "credentials_published"]
    assert report.node_id in unregistered.emulator.nodes
    assert unregistered.published() is not None
    unregistered.attempt()
    assert len(unregistered.requests(REGISTER)) == 1


@pytest.mark.parametrize("missing", ["region", "activation_id", "code"])
def test_a_machine_that_lacks_one_of_the_three_stays_unregistered(unregistered: Machine, missing: str) -> None:
    in_unattended_mode(unregistered)
    if missing == "code":
        unregistered.code = None
    else:
        unregistered.change(node=replace(unregistered.settings.node, **{missing: None}))
    assert unregistered.attempt().outcome is Outcome.UNREGISTERED
    assert unregistered.emulator.requests == ()


def test_a_wrong_code_is_refused_and_the_next_attempt_tries_again(unregistered: Machine) -> None:
    in_unattended_mode(unregistered, code="a-wrong-code-of-20-or-more")
    report = unregistered.attempt()
    assert (report.outcome, report.code) == (Outcome.REFUSED, "InvalidActivation")
    assert "a-wrong-code" not in f"{report}"
    activation = next(iter(unregistered.emulator.activations.values()))
    unregistered.code = activation.code
    assert works(unregistered)


def test_a_self_registration_whose_answer_was_lost_goes_on_with_the_same_key(unregistered: Machine) -> None:
    in_unattended_mode(unregistered)
    unregistered.emulator.fail(REGISTER, drop=True)
    assert unregistered.attempt().outcome is Outcome.FAILED
    assert works(unregistered)
    first, second = unregistered.requests(REGISTER)
    assert first.body == second.body


def test_an_activations_code_shows_in_no_repr() -> None:
    assert "sesame" not in repr(ActivationDetails("id", "sesame", "us-east-1"))
