import base64
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.emulator.conftest import Machine, exchange, public_key, unsigned

from rolekeeper.emulator import Emulator


def register(machine: Machine, **changes: Any) -> Any:
    activation = machine.emulator.create_activation(role="Web")
    return unsigned(machine.emulator, "RegisterManagedInstance", machine.registration(activation, **changes))


def test_an_unsigned_registration_makes_a_managed_node(emulator: Emulator, machine: Machine) -> None:
    activation = emulator.create_activation(role="service-role/Web")
    machine.register(activation)
    node = emulator.nodes[machine.node_id]
    assert machine.node_id.startswith("mi-")
    assert len(machine.node_id) == 20
    assert (node.role, node.activation_id) == ("service-role/Web", activation.activation_id)
    assert (node.fingerprint, node.public_key) == (machine.fingerprint, public_key(machine.key))


def test_a_registration_may_be_signed(node: Machine) -> None:
    admin = node.emulator.admin
    operator = SigV4Auth(Credentials(admin.access_key_id, admin.secret_access_key), "ssm", "us-east-1")
    for auth in (None, operator):
        document = node.registration(node.emulator.create_activation())
        assert node.call("RegisterManagedInstance", document, auth).status == 200


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Basic cm9sZTprZWVwZXI=", "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256 bogus", "IncompleteSignatureException"),
        (None, "InvalidInstanceId"),
    ],
)
def test_a_registration_with_a_wrong_signature_is_refused(
    machine: Machine, authorization: str | None, code: str
) -> None:
    machine.node_id = "mi-0123456789abcdef0"
    document = machine.registration(machine.emulator.create_activation())
    headers, body = machine.signed("RegisterManagedInstance", document)
    headers["Authorization"] = authorization or headers["Authorization"]
    assert exchange(machine.emulator.url, headers, body).code == code
    assert machine.emulator.nodes == {}


def test_the_type_of_the_key_may_be_left_out(machine: Machine) -> None:
    assert register(machine, PublicKeyType=None).status == 200


def test_the_role_is_the_activations_whatever_the_machine_asks_for(emulator: Emulator, machine: Machine) -> None:
    node_id = register(machine, IamRole="Administrator").json["InstanceId"]
    assert emulator.nodes[node_id].role == "Web"


def test_name_and_tags_come_from_the_activation_and_the_machine_adds_its_own(
    emulator: Emulator, machine: Machine, client: Callable[..., Any]
) -> None:
    made = client("ssm", emulator).create_activation(
        IamRole="Web", DefaultInstanceName="web-1", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    )
    activation = emulator.activations[made["ActivationId"]]
    document = machine.registration(activation, Tags=[{"Key": "b", "Value": "3"}])
    node_id = unsigned(emulator, "RegisterManagedInstance", document).json["InstanceId"]
    assert emulator.nodes[node_id].name == "web-1"
    assert emulator.nodes[node_id].tags == (("a", "1"), ("b", "3"))


def test_an_unknown_activation_is_refused(emulator: Emulator, machine: Machine) -> None:
    stranger = replace(emulator.create_activation(), activation_id=str(uuid.uuid4()))
    answer = unsigned(emulator, "RegisterManagedInstance", machine.registration(stranger))
    assert (answer.status, answer.code) == (400, "InvalidActivation")


def test_a_wrong_code_is_refused_and_not_repeated_in_the_answer(machine: Machine) -> None:
    answer = register(machine, ActivationCode="x" * 20)
    assert (answer.status, answer.code) == (400, "InvalidActivation")
    assert b"x" * 20 not in answer.body


def test_a_code_that_is_too_short_is_not_repeated_in_the_answer_either(machine: Machine) -> None:
    answer = register(machine, ActivationCode="fifteen-letters")
    assert answer.code == "ValidationException"
    assert answer.message == (
        "1 validation error detected: Value at 'activationCode' failed to satisfy constraint: "
        "Member must have length greater than or equal to 20"
    )


def test_an_expired_activation_is_refused(emulator: Emulator, machine: Machine) -> None:
    activation = emulator.create_activation(lifetime=timedelta(minutes=10))
    emulator.offset = timedelta(minutes=10)
    answer = unsigned(emulator, "RegisterManagedInstance", machine.registration(activation))
    assert (answer.status, answer.code) == (400, "ActivationExpired")


def test_an_activation_registers_as_many_nodes_as_its_limit_says(emulator: Emulator, machine: Machine) -> None:
    activation = emulator.create_activation(limit=2)
    document = machine.registration(activation)
    codes = [unsigned(emulator, "RegisterManagedInstance", document).code for _ in range(3)]
    assert codes == ["", "", "RegistrationLimitExceeded"]
    assert emulator.activations[activation.activation_id].registrations == 2


def test_the_same_key_and_fingerprint_again_make_another_node(emulator: Emulator, machine: Machine) -> None:
    activation = emulator.create_activation(limit=2)
    first = machine.register(activation).node_id
    assert machine.register(activation).node_id != first
    assert len(emulator.nodes) == 2


@pytest.mark.parametrize("bits", [1024, 3072])
def test_a_key_of_another_size_is_refused(machine: Machine, bits: int) -> None:
    short_or_long = public_key(generate_private_key(65537, bits))
    answer = register(machine, PublicKey=short_or_long)
    assert answer.code == ("ValidationException" if len(short_or_long) < 392 else "InvalidPublicKey")


def test_an_elliptic_key_is_refused_although_it_is_a_good_key(machine: Machine) -> None:
    key = ec.generate_private_key(ec.SECP521R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    padded = base64.b64encode(der + b"\0" * 200).decode()
    assert register(machine, PublicKey=padded).code == "InvalidPublicKey"


@pytest.mark.parametrize("text", ["A" * 392, "-" * 392, "ä" * 400, "AAAA" * 97 + "AA=="])
def test_what_is_no_key_at_all_is_refused(machine: Machine, text: str) -> None:
    answer = register(machine, PublicKey=text)
    assert (answer.status, answer.code) == (400, "InvalidPublicKey")


def test_a_key_in_another_spelling_of_base64_is_refused(machine: Machine, keys: tuple[RSAPrivateKey, ...]) -> None:
    assert register(machine, PublicKey=public_key(keys[0]) + "\n").code == "InvalidPublicKey"


@pytest.mark.parametrize("member", ["ActivationCode", "ActivationId", "Fingerprint", "PublicKey"])
def test_a_required_member_that_is_missing_is_named(machine: Machine, member: str) -> None:
    answer = register(machine, **{member: None})
    assert (answer.status, answer.code) == (400, "ValidationException")
    place = member[0].lower() + member[1:]
    assert f"Value null at '{place}' failed to satisfy constraint: Member must not be null" in answer.message


@pytest.mark.parametrize("fingerprint", ["", "machine", "9241FA42-E110-472A-B0EC-39D185EB63CF"])
def test_a_fingerprint_that_is_no_uuid_in_lower_case_is_refused(machine: Machine, fingerprint: str) -> None:
    answer = register(machine, Fingerprint=fingerprint)
    assert answer.code == "ValidationException"
    assert f"Value '{fingerprint}' at 'fingerprint' failed to satisfy constraint" in answer.message


def test_a_key_of_another_type_is_refused(machine: Machine) -> None:
    answer = register(machine, PublicKeyType="Ed25519")
    assert answer.message.endswith(
        "at 'publicKeyType' failed to satisfy constraint: Member must satisfy enum value set: [Rsa]"
    )


def test_a_refused_registration_leaves_nothing_behind(emulator: Emulator, machine: Machine) -> None:
    activation = emulator.create_activation()
    unsigned(emulator, "RegisterManagedInstance", machine.registration(activation, PublicKey="A" * 392))
    assert emulator.nodes == {}
    assert emulator.activations[activation.activation_id].registrations == 0
