"""`export`: our registration in SSM Agent's layout, and the way back by `adopt`."""

import json
import stat
from pathlib import Path

from tests.commands.test_commands_adopt import HEALTHY, VAULTS, recorded_node, vault
from tests.conftest import Server

from rolekeeper.adapters.vault.agent import read_agent_vault


def test_what_is_exported_can_be_adopted(server: Server, tmp_path: Path) -> None:
    server.register()
    target = tmp_path / "ssm" / "Vault"
    said = server.run("export", "--to", str(target))
    node = server.vault().node
    assert node is not None
    assert (said.code, said.out) == (0, f"Exported {node.registration.node_id} to {target}.\n")
    assert read_agent_vault(target) == node
    files = {path: stat.S_IMODE(path.stat().st_mode) for path in [target, *target.rglob("*")]}
    assert {mode for path, mode in files.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in files.items() if path.is_file()} == {0o600}
    server.run("clear", "--yes")
    assert server.run("adopt", "--from", str(target)).code == 0
    assert server.vault().node == node


def test_it_is_written_as_the_agent_writes_it_and_over_an_older_registration_of_the_same_node(
    server: Server, tmp_path: Path
) -> None:
    tree = HEALTHY[0]
    server.run("adopt", "--from", vault(tree), "--offline")
    assert server.run("export", "--to", str(tmp_path / "Vault")).code == 0
    recorded, ours = (
        {path.name: json.loads(path.read_bytes()) for path in Path(directory).rglob("*") if path.is_file()}
        for directory in (VAULTS / tree / "Vault", tmp_path / "Vault")
    )
    for registration in (recorded["RegistrationKey"], ours["RegistrationKey"]):
        registration["privateKeyCreatedDate"] = ""  # the agent writes the local zone and a monotonic clock
    assert ours["InstanceFingerprint"] == recorded["InstanceFingerprint"]
    assert list(ours["RegistrationKey"].items()) == list(recorded["RegistrationKey"].items())
    assert set(ours["Manifest"]) == {"InstanceFingerprint", "RegistrationKey"} <= set(recorded["Manifest"])
    (tmp_path / "Vault" / "Store" / "RegistrationKey").write_bytes(
        (VAULTS / tree / "Vault" / "Store" / "RegistrationKey").read_bytes()
    )
    assert server.run("export", "--to", str(tmp_path / "Vault")).code == 0


def test_another_nodes_vault_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.register()
    target = tmp_path / "Vault"
    for source in (VAULTS / HEALTHY[0] / "Vault").rglob("*"):
        if source.is_file():
            copy = target / source.relative_to(VAULTS / HEALTHY[0] / "Vault")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    said = server.run("export", "--to", str(target))
    assert (said.code, "agent-vault-in-use" in said.err) == (77, True)
    assert recorded_node(HEALTHY[0]) in said.err
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_without_a_registration_there_is_nothing_to_export(server: Server, tmp_path: Path) -> None:
    said = server.run("export", "--to", str(tmp_path / "Vault"))
    assert (said.code, "unregistered" in said.err) == (77, True)
    assert not (tmp_path / "Vault").exists()
