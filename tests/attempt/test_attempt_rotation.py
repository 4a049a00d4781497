"""The node key changes, whatever becomes of the answer and of the process, and one usable key remains."""

from base64 import b64encode
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.attempt.conftest import HARDWARE, TOKEN, UPDATE_KEY, Machine
from tests.attempt.mortal import Mortal
from tests.reports import events

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.model import NodeKey, Outcome
from rolekeeper.values import replace

MONTH = timedelta(days=30)


def service_key(machine: Machine) -> str:
    return machine.emulator.nodes[machine.node_id].public_key


def test_a_rotation_follows_the_publication_and_is_over_with_the_next_token(machine: Machine) -> None:
    first = service_key(machine)
    machine.emulator.request_rotation(machine.node_id)
    report = machine.attempt()
    assert events(report) == ["token_issued", "credentials_published", "key_rotated"]
    assert [request.operation for request in machine.emulator.requests] == [TOKEN, UPDATE_KEY]
    assert machine.vault().superseded_key is not None
    machine.attempt()
    assert machine.knows_one_key()
    assert service_key(machine) != first


@pytest.mark.parametrize("code", ["InvalidPublicKey", "PublicKeyAlreadyRegistered"])
def test_a_new_key_that_the_service_refuses_leaves_the_old_one_in_use(machine: Machine, code: str) -> None:
    first = service_key(machine)
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, error=code)
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    assert report.entries[-1].event == "key_rotation_refused"
    assert report.entries[-1].fields["code"] == code
    assert service_key(machine) == first
    machine.emulator.fail(TOKEN, remove=("UpdateKeyPair",))
    machine.attempt()
    assert machine.knows_one_key()
    assert service_key(machine) == first


@pytest.mark.parametrize("code", ["InvalidPublicKey", "PublicKeyAlreadyRegistered"])
def test_a_key_that_comes_into_force_after_it_was_refused_is_ours(machine: Machine, code: str) -> None:
    """The answer to a first request was lost, the second one is refused, and then the service carries out the first."""
    process, first = Mortal(machine), service_key(machine)
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, drop=True)
    process.attempt()
    machine.emulator.fail(UPDATE_KEY, error=code)
    report = process.attempt()
    assert report is not None
    assert report.entries[-1].event == "key_rotation_refused"
    process.carry_out_late()
    assert service_key(machine) != first
    assert process.until_settled() <= 3


def test_a_key_that_the_service_may_have_taken_is_told_again_and_not_replaced_by_a_third(machine: Machine) -> None:
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, drop=True, times=2)
    for _ in range(3):
        machine.attempt()
    told = {request.body for request in machine.requests(UPDATE_KEY)}
    assert (len(machine.requests(UPDATE_KEY)), len(told)) == (3, 1)


def test_a_rotation_that_was_not_finished_does_not_spoil_the_attempt(machine: Machine) -> None:
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, drop=True)
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.ISSUED, "")
    assert events(report) == ["token_issued", "credentials_published", "key_rotation_unfinished"]
    assert report.entries[-1].level == "warning"


@pytest.mark.parametrize("code", ["InvalidPublicKey", "PublicKeyAlreadyRegistered"])
def test_a_refused_key_is_ours_when_the_service_does_not_accept_the_old_one_any_more(
    machine: Machine, code: str
) -> None:
    """The answer to an earlier request may have been lost."""
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, error=code, apply=True)
    assert machine.attempt().entries[-1].event == "key_rotation_unfinished"
    assert "key_rotated" in events(machine.attempt())
    assert machine.knows_one_key()


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "InternalServerError", "ExpiredTokenException", "InvalidSignatureException"]
)
@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken"])
def test_a_refused_key_is_kept_until_the_service_has_accepted_the_old_one(
    machine: Machine,
    code: str,
    taken: bool,  # noqa: FBT001
) -> None:
    """Whatever else it answers to that, a signature that is out of time for instance, tells nothing about the key."""
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(UPDATE_KEY, error="PublicKeyAlreadyRegistered", apply=taken)
    machine.emulator.fail(TOKEN, fields={"UpdateKeyPair": True})
    machine.emulator.fail(TOKEN, error=code)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.vault().pending_key is not None
    assert Mortal(machine).until_settled()


def test_two_rotations_in_a_row_leave_one_key(machine: Machine) -> None:
    seen = [service_key(machine)]
    for _ in range(2):
        machine.emulator.request_rotation(machine.node_id)
        assert machine.attempt().outcome is Outcome.ISSUED
        seen.append(service_key(machine))
    assert Mortal(machine).until_settled() == 1
    assert len(set(seen)) == 3


def test_a_rotation_asked_for_while_the_machine_is_refused_comes_with_the_next_token(machine: Machine) -> None:
    first = service_key(machine)
    machine.hardware.replace_parts("machine-id")
    machine.attempt()
    machine.emulator.request_rotation(machine.node_id)
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED
    assert (machine.requests(UPDATE_KEY), machine.vault().pending_key) == ((), None)
    machine.hardware.components = dict(HARDWARE)
    Mortal(machine).until_settled()
    assert service_key(machine) != first


def test_a_missing_update_key_pair_is_no_wish(machine: Machine) -> None:
    machine.emulator.request_rotation(machine.node_id)
    machine.emulator.fail(TOKEN, remove=("UpdateKeyPair",))
    report = machine.attempt()
    assert report.outcome is Outcome.ISSUED
    assert machine.requests(UPDATE_KEY) == ()
    assert machine.knows_one_key()


def test_a_key_that_grew_too_old_is_rotated_once(machine: Machine) -> None:
    machine.change(rotate_key_after=MONTH)
    first = service_key(machine)
    machine.clock.move(MONTH - timedelta(seconds=1))
    machine.attempt()
    assert service_key(machine) == first
    machine.clock.move(timedelta(seconds=1))
    for _ in range(3):
        machine.attempt()
    assert len(machine.requests(UPDATE_KEY)) == 1
    assert machine.knows_one_key()
    assert service_key(machine) != first


@pytest.mark.parametrize("wrong", [timedelta(days=-20000), timedelta(days=20000)], ids=["in 1972", "in 2081"])
def test_a_key_dated_by_a_clock_that_is_years_wrong_is_rotated_once(unregistered: Machine, wrong: timedelta) -> None:
    unregistered.change(rotate_key_after=MONTH)
    unregistered.emulator.offset = -wrong
    unregistered.clock.move(wrong)
    unregistered.register()
    for _ in range(3):
        assert unregistered.attempt().outcome is Outcome.ISSUED
    assert len(unregistered.requests(UPDATE_KEY)) == 1


def test_an_old_key_is_not_rotated_unless_that_is_wanted(machine: Machine) -> None:
    machine.clock.move(MONTH * 100)
    machine.attempt()
    assert machine.requests(UPDATE_KEY) == ()


def tell(machine: Machine, key: NodeKey) -> None:
    """Tell the service, and be killed before the answer comes."""
    current = machine.vault().registration
    assert current is not None
    machine.world().service.update_public_key(current, key)


@pytest.mark.parametrize("told", [True, False], ids=["after the service took the key", "before the service was told"])
def test_a_process_killed_during_a_rotation_costs_no_registration(machine: Machine, told: bool) -> None:  # noqa: FBT001
    pending = machine.keys.new_key(machine.clock.wall)
    machine.save(replace(machine.vault(), pending_key=pending))
    if told:
        tell(machine, pending)
    machine.clock.reboot()
    assert Mortal(machine).until_settled() <= 2
    assert service_key(machine) == public_key(pending)


def test_a_rotation_taken_up_after_a_crash_is_told_though_fresh_credentials_are_published(machine: Machine) -> None:
    machine.attempt()
    pending = machine.keys.new_key(machine.clock.wall)
    machine.save(replace(machine.vault(), pending_key=pending))
    tell(machine, pending)
    facts = machine.attempt(reuse=True).entries
    assert [fact.event for fact in facts] == ["token_issued", "key_rotated", "credentials_published"]
    assert machine.requests(UPDATE_KEY)[1:] == ()


def test_a_rotation_taken_up_is_what_the_service_wished_for(machine: Machine) -> None:
    pending = machine.keys.new_key(machine.clock.wall)
    machine.save(replace(machine.vault(), pending_key=pending))
    tell(machine, pending)
    machine.emulator.fail(TOKEN, fields={"UpdateKeyPair": True}, times=2)
    machine.attempt()
    assert len(machine.requests(UPDATE_KEY)) == 1
    assert service_key(machine) == public_key(pending)


def test_a_new_key_that_cannot_be_used_costs_no_token(machine: Machine) -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what is wrong with it
    der = short.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    useless = NodeKey(b64encode(der).decode(), machine.clock.wall)
    machine.save(replace(machine.vault(), pending_key=useless))
    report = machine.attempt()
    assert (report.outcome, report.entries[-1].event) == (Outcome.ISSUED, "key_rotation_unfinished")
    assert report.entries[-1].fields["code"] == "node-key-unreadable"
    assert machine.requests(UPDATE_KEY) == ()


def test_a_service_that_went_back_to_the_old_key_is_followed(machine: Machine) -> None:
    """A vault that promoted a key which the service then forgot, by a restored backup of its own for instance."""
    contents = machine.vault()
    assert contents.registration is not None
    newer = replace(contents.registration, key=machine.keys.new_key(machine.clock.wall))
    assert contents.node is not None
    node = replace(contents.node, registration=newer)
    machine.save(replace(contents, node=node, superseded_key=contents.node.registration.key))
    assert Mortal(machine).until_settled() <= 3
    assert service_key(machine) == public_key(newer.key)


def test_a_key_that_nobody_knows_is_refused_with_what_to_do(machine: Machine) -> None:
    contents = machine.vault()
    assert contents.registration is not None
    stranger = replace(contents.registration, key=machine.keys.new_key(machine.clock.wall))
    assert contents.node is not None
    machine.save(replace(contents, node=replace(contents.node, registration=stranger)))
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.REFUSED, "InvalidSignatureException")
    assert "register again" in report.hint
    assert machine.vault().registration == stranger
