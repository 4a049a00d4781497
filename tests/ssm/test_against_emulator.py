"""The client against the shipped emulator, which was written from docs/protocol.md alone and verifies every request."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.ssm.conftest import service_settings

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key
from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.emulator import Emulator
from rolekeeper.errors import FingerprintRefusedError, NodeUnknownError, ServiceRefusedError, SignatureRefusedError
from rolekeeper.model import NodeKey, Registration
from rolekeeper.values import replace

FINGERPRINT = "9241fa42-e110-472a-b0ec-39d185eb63cf"
OTHER = "d5f28cf9-89a6-471d-996f-aacdeca08e23"
TOKEN = "RequestManagedInstanceRoleToken"
HOUR = timedelta(hours=1)


@dataclass
class World:
    """An emulator, the client under test, and keys."""

    emulator: Emulator
    client: SsmService

    def new_key(self) -> NodeKey:
        return RsaKeyMaker().new_key(datetime.now(UTC))

    def register(self) -> Registration:
        activation, key = self.emulator.create_activation(role="Web"), self.new_key()
        where = self.emulator.region
        node_id = self.client.register(where, activation.activation_id, activation.code, FINGERPRINT, key)
        return Registration(node_id, where, key)

    def token_requests(self) -> int:
        return sum(request.operation == TOKEN for request in self.emulator.requests)


@pytest.fixture
def world(rolekeeper_emulator: Emulator) -> World:
    client = SsmService(service_settings(rolekeeper_emulator.url), SystemClock(), "1.2.3")
    return World(rolekeeper_emulator, client)


def test_a_machine_registers_and_gets_a_token(world: World) -> None:
    registration = world.register()
    assert set(world.emulator.nodes) == {registration.node_id}
    answer = world.client.request_role_token(registration, FINGERPRINT)
    assert set(world.emulator.tokens) == {answer.token.access_key_id}
    issued = world.emulator.tokens[answer.token.access_key_id]
    assert abs(issued.expires_at - answer.token.expires_at) < timedelta(seconds=1)
    assert answer.clock_difference == timedelta(0)
    assert answer.request_id
    assert not answer.token.update_key_pair


def test_after_a_rotation_only_the_new_key_is_good(world: World) -> None:
    registration = world.register()
    new = replace(registration, key=world.new_key())
    world.client.update_public_key(registration, new.key)
    world.client.request_role_token(new, FINGERPRINT)
    with pytest.raises(SignatureRefusedError):
        world.client.request_role_token(registration, FINGERPRINT)
    assert world.emulator.nodes[new.node_id].public_key == public_key(new.key)


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_a_clock_that_is_an_hour_off_is_corrected_through_the_date(offset: timedelta, world: World) -> None:
    registration = world.register()
    world.emulator.offset = offset
    answer = world.client.request_role_token(registration, FINGERPRINT)
    assert world.token_requests() == 2
    assert answer.clock_difference is not None
    assert abs(answer.clock_difference - offset) < timedelta(seconds=5)
    world.client.update_public_key(registration, world.new_key())


def test_another_fingerprint_is_refused(world: World) -> None:
    registration = world.register()
    with pytest.raises(FingerprintRefusedError) as caught:
        world.client.request_role_token(registration, OTHER)
    assert caught.value.code == "MachineFingerprintDoesNotMatch"
    assert f"Fingerprint does not match {OTHER}" in caught.value.message
    assert world.token_requests() == 1


def test_a_deregistered_node_is_unknown(world: World) -> None:
    registration = world.register()
    world.emulator.deregister(registration.node_id)
    with pytest.raises(NodeUnknownError):
        world.client.request_role_token(registration, FINGERPRINT)


def test_a_strangers_key_is_refused(world: World) -> None:
    registration = world.register()
    with pytest.raises(SignatureRefusedError):
        world.client.request_role_token(replace(registration, key=world.new_key()), FINGERPRINT)
    assert world.token_requests() == 1


def test_a_used_up_activation_is_refused_without_telling_its_code(world: World) -> None:
    activation, key = world.emulator.create_activation(role="Web"), world.new_key()
    asked = (world.emulator.region, activation.activation_id, activation.code, FINGERPRINT)
    world.client.register(*asked, key)
    with pytest.raises(ServiceRefusedError) as caught:
        world.client.register(*asked, world.new_key())
    assert caught.value.code == "RegistrationLimitExceeded"
    assert activation.code not in f"{caught.value.message}{caught.value.hint}"


def test_a_service_that_wants_a_new_key_is_heard(world: World) -> None:
    registration = world.register()
    world.emulator.request_rotation(registration.node_id)
    assert world.client.request_role_token(registration, FINGERPRINT).token.update_key_pair
    rotated = replace(registration, key=world.new_key())
    world.client.update_public_key(registration, rotated.key)
    assert not world.client.request_role_token(rotated, FINGERPRINT).token.update_key_pair
