import base64
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.emulator.conftest import Machine, NodeKeyAuth, public_key

from rolekeeper.emulator import Emulator


def test_a_token_has_the_shape_of_awss_own(node: Machine) -> None:
    token = node.request_token().json
    assert set(token) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "TokenExpirationDate", "UpdateKeyPair"}
    assert token["AccessKeyId"].startswith("ASIA")
    assert (len(token["AccessKeyId"]), len(token["SecretAccessKey"])) == (20, 40)
    assert len(base64.b64decode(token["SessionToken"], validate=True)) > 600
    assert token["UpdateKeyPair"] is False


def test_a_token_lives_an_hour_of_the_services_clock(emulator: Emulator, node: Machine) -> None:
    emulator.offset = timedelta(minutes=3)
    before = datetime.now(UTC) + emulator.offset
    expires_at = datetime.fromtimestamp(node.request_token().json["TokenExpirationDate"], UTC)
    after = datetime.now(UTC) + emulator.offset
    millisecond = timedelta(milliseconds=1)
    assert before - millisecond <= expires_at - timedelta(hours=1) <= after + millisecond


def test_the_lifetime_can_be_chosen_at_the_start_and_changed_later(keys: tuple[RSAPrivateKey, ...]) -> None:
    with Emulator(token_lifetime=timedelta(seconds=2)) as emulator:
        machine = Machine(emulator, keys[0]).register()
        machine.request_token()
        emulator.token_lifetime = timedelta(minutes=15)
        machine.request_token()
        lifetimes = [token.expires_at - token.issued_at for token in emulator.tokens.values()]
    assert lifetimes == [timedelta(seconds=2), timedelta(minutes=15)]


def test_two_requests_give_two_tokens_that_both_are_remembered(emulator: Emulator, node: Machine) -> None:
    issued = [node.request_token().json["AccessKeyId"] for _ in range(2)]
    assert list(emulator.tokens) == issued
    assert {token.node_id for token in emulator.tokens.values()} == {node.node_id}


def test_another_fingerprint_is_refused_in_the_services_own_words(node: Machine) -> None:
    node.fingerprint = "0b4e28ba-2fa1-41d2-883f-0016d3cca427"
    answer = node.request_token()
    assert (answer.status, answer.code) == (400, "MachineFingerprintDoesNotMatch")
    assert answer.message == "Fingerprint does not match 0b4e28ba-2fa1-41d2-883f-0016d3cca427"


def test_the_accepted_fingerprint_stays_the_one_of_the_registration(node: Machine) -> None:
    accepted, node.fingerprint = node.fingerprint, str(uuid.uuid4())
    assert node.request_token().code == "MachineFingerprintDoesNotMatch"
    node.fingerprint = accepted
    assert node.request_token().status == 200


def test_a_changed_fingerprint_refuses_the_node_until_it_is_changed_back(emulator: Emulator, node: Machine) -> None:
    emulator.change_fingerprint(node.node_id)
    assert node.request_token().code == "MachineFingerprintDoesNotMatch"
    emulator.change_fingerprint(node.node_id, node.fingerprint)
    assert node.request_token().status == 200


def test_an_unknown_node_is_named_in_the_refusal(machine: Machine) -> None:
    machine.node_id = "mi-0123456789abcdef0"
    answer = machine.request_token()
    assert (answer.status, answer.code) == (400, "InvalidInstanceId")
    assert answer.message == "Not existing InstanceId mi-0123456789abcdef0"


def test_a_deregistered_node_is_unknown(emulator: Emulator, node: Machine) -> None:
    emulator.deregister(node.node_id)
    assert node.request_token().code == "InvalidInstanceId"


def test_another_nodes_key_is_refused(node: Machine, keys: tuple[RSAPrivateKey, ...]) -> None:
    node.key = keys[1]
    answer = node.request_token()
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")


@pytest.mark.parametrize("salt", [0, 20, 31, 33, 222])
def test_a_salt_of_any_length_but_32_bytes_is_refused(node: Machine, salt: int) -> None:
    auth = NodeKeyAuth(node.key, node.node_id, node.emulator.region, salt)
    assert node.request_token(auth).code == "InvalidSignatureException"


def test_after_a_change_of_key_only_the_new_one_verifies(node: Machine, keys: tuple[RSAPrivateKey, ...]) -> None:
    answer = node.change_key(keys[1])
    assert (answer.status, answer.json) == (200, {})
    assert node.request_token().code == "InvalidSignatureException"
    node.key = keys[1]
    assert node.request_token().status == 200


def test_a_key_that_the_node_has_already_is_refused(node: Machine) -> None:
    answer = node.change_key(node.key)
    assert (answer.status, answer.code) == (400, "PublicKeyAlreadyRegistered")


def test_a_key_that_another_node_has_is_refused(
    emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...]
) -> None:
    Machine(emulator, keys[1]).register()
    assert node.change_key(keys[1]).code == "PublicKeyAlreadyRegistered"
    assert node.request_token().status == 200


def test_an_invalid_key_is_refused_and_the_old_one_stays(node: Machine) -> None:
    document = {"NewPublicKey": "A" * 392, "NewPublicKeyType": "Rsa"}
    assert node.call("UpdateManagedInstancePublicKey", document).code == "InvalidPublicKey"
    assert node.request_token().status == 200


def test_the_type_of_a_new_key_is_required(node: Machine, keys: tuple[RSAPrivateKey, ...]) -> None:
    answer = node.call("UpdateManagedInstancePublicKey", {"NewPublicKey": public_key(keys[1])})
    assert "'newPublicKeyType'" in answer.message


def test_a_new_key_is_requested_until_the_node_changes_it(
    emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...]
) -> None:
    emulator.request_rotation(node.node_id)
    assert [node.request_token().json["UpdateKeyPair"] for _ in range(2)] == [True, True]
    node.change_key(keys[1])
    node.key = keys[1]
    assert node.request_token().json["UpdateKeyPair"] is False


def test_requests_are_recorded_with_what_became_of_them(emulator: Emulator, node: Machine) -> None:
    node.request_token()
    node.fingerprint = str(uuid.uuid4())
    node.request_token()
    registered, accepted, refused = emulator.requests
    assert (registered.operation, registered.node_id) == ("RegisterManagedInstance", node.node_id)
    assert (accepted.status, accepted.code, accepted.verdict, accepted.applied) == (200, "", "", True)
    assert (refused.status, refused.code, refused.applied) == (400, "MachineFingerprintDoesNotMatch", False)
    assert (refused.node_id, refused.fingerprint) == (node.node_id, node.fingerprint)
    assert dict(refused.headers)["x-amz-target"] == "AmazonSSM.RequestManagedInstanceRoleToken"
    emulator.forget_requests()
    assert emulator.requests == ()


def test_waiting_for_requests_ends_when_they_are_there_or_says_what_is_missing(
    emulator: Emulator, node: Machine
) -> None:
    node.request_token()
    assert len(emulator.wait_for("RequestManagedInstanceRoleToken")) == 1
    with pytest.raises(TimeoutError, match="1 of 2 RequestManagedInstanceRoleToken requests arrived"):
        emulator.wait_for("RequestManagedInstanceRoleToken", 2, timedelta(milliseconds=1))
