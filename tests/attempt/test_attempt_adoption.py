"""SSM Agent's registrations become ours: the recorded vaults, and the service's word on them."""

import shutil
from pathlib import Path

import pytest
from tests.attempt.conftest import NO_WAIT, TOKEN, UPDATE_KEY, Machine

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.attempt.adopt import Adoption, adopt
from rolekeeper.errors import (
    NodeUnknownError,
    RefusedError,
    RolekeeperError,
    ServiceError,
    SignatureRefusedError,
)
from rolekeeper.model import Node, Outcome, VaultContents, Verdict

VAULTS = Path(__file__).parents[1] / "vectors" / "vaults"
HEALTHY = ("registered-never-started-fake-dmidecode", "running-host-dmidecode-fails-like-absent", "tz-kolkata")


def found_in(tree: str) -> Node:
    return read_agent_vault(VAULTS / tree / "Vault")


def known_to(machine: Machine, found: Node, *, fingerprint: str | None = None) -> None:
    """Let the emulator know the node of a recorded vault, and the machine have its hardware."""
    node, accepted = found.registration, found.accepted
    machine.emulator.add_node(node.node_id, public_key(node.key), fingerprint or accepted.fingerprint)
    machine.hardware.components = dict(accepted.hardware_hash)
    machine.node_id = node.node_id


def take_over(machine: Machine, found: Node, *, prove: bool = True, replace_old: bool = False) -> Adoption:
    world = machine.world()
    with world.vault.lock(NO_WAIT):
        return adopt(world, found, prove=prove, replace_old=replace_old)


@pytest.mark.parametrize("tree", HEALTHY)
def test_a_healthy_vault_is_taken_over_and_works_at_once(unregistered: Machine, tree: str) -> None:
    found = found_in(tree)
    known_to(unregistered, found)
    adoption = take_over(unregistered, found)
    assert adoption.registration == found.registration
    assert adoption.comparison.verdict is Verdict.SIMILAR
    assert adoption.comparison.matched == 9
    assert unregistered.vault() == VaultContents(node=found)
    assert unregistered.attempt().outcome is Outcome.ISSUED
    assert unregistered.published() is not None
    assert unregistered.knows_one_key()


def test_the_proof_is_one_token_that_is_thrown_away(unregistered: Machine) -> None:
    found = found_in(HEALTHY[0])
    known_to(unregistered, found)
    take_over(unregistered, found)
    assert [request.operation for request in unregistered.emulator.requests] == [TOKEN]
    assert unregistered.vault().held_token is None
    assert not unregistered.output().exists()


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ({"error": "InvalidInstanceId"}, NodeUnknownError),
        ({"error": "InvalidSignatureException"}, SignatureRefusedError),
        ({"error": "InternalServerError"}, ServiceError),
        ({"drop": True}, ServiceError),
    ],
)
def test_what_the_service_does_not_confirm_is_not_taken_over(
    machine: Machine, trouble: dict[str, object], error: type[RolekeeperError]
) -> None:
    before, found = machine.vault(), found_in(HEALTHY[0])
    machine.emulator.fail(TOKEN, **trouble)
    with pytest.raises(error):
        take_over(machine, found, replace_old=True)
    assert machine.vault() == before
    assert machine.attempt().outcome is Outcome.ISSUED


def test_the_same_registration_again_changes_nothing_of_what_we_know_of_it(unregistered: Machine) -> None:
    found = found_in(HEALTHY[0])
    known_to(unregistered, found)
    take_over(unregistered, found)
    unregistered.emulator.request_rotation(unregistered.node_id)
    unregistered.emulator.fail(UPDATE_KEY, drop=True)
    unregistered.attempt()
    before = unregistered.vault()
    assert before.pending_key is not None
    assert take_over(unregistered, found, replace_old=True).registration == found.registration
    assert unregistered.vault() == before


@pytest.mark.parametrize("prove", [True, False], ids=["asking the service", "offline"])
def test_a_node_whose_key_we_rotated_is_not_given_its_old_key_back(unregistered: Machine, prove: bool) -> None:  # noqa: FBT001
    found = found_in(HEALTHY[0])
    known_to(unregistered, found)
    take_over(unregistered, found)
    unregistered.emulator.request_rotation(unregistered.node_id)
    unregistered.attempt()
    with pytest.raises(RefusedError):
        take_over(unregistered, found, prove=prove)
    assert unregistered.attempt().outcome is Outcome.ISSUED


def test_the_agents_files_stay_as_they_are(unregistered: Machine, tmp_path: Path) -> None:
    tree = tmp_path / "agent"
    shutil.copytree(VAULTS / HEALTHY[0], tree)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.rglob("*") if path.is_file()}
    found = read_agent_vault(tree / "Vault")
    known_to(unregistered, found)
    take_over(unregistered, found)
    unregistered.emulator.request_rotation(unregistered.node_id)
    unregistered.attempt()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.rglob("*") if path.is_file()} == before
