"""`adopt`: SSM Agent's recorded vaults, healthy and broken, and the agent that still runs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import until

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.vault.agent import DEFAULT_DIRECTORY, read_agent_vault
from rolekeeper.model import VaultContents

VAULTS = Path(__file__).parents[1] / "vectors" / "vaults"
HEALTHY = ("registered-never-started-fake-dmidecode", "running-host-dmidecode-fails-like-absent", "tz-kolkata")
FLIP_FLOP = "after-machine-id-flip-flop"
BROKEN = {
    "after-clear-and-failed-register": (77, "SSM Agent cleared it, or failed to register again and lost it"),
    "after-failed-reregister": (77, "its last node id was mi-"),
    "after-kill-in-write": (74, "has 0 bytes; SSM Agent was killed"),
}


def vault(tree: str) -> str:
    return str(VAULTS / tree / "Vault")


def recorded_node(tree: str) -> str:
    return read_agent_vault(vault(tree)).registration.node_id


def known(server: Server, tree: str, fingerprint: str = "") -> None:
    """Let the service know the node of a recorded vault."""
    found = read_agent_vault(vault(tree))
    key = public_key(found.registration.key)
    server.emulator.add_node(found.registration.node_id, key, fingerprint or found.accepted.fingerprint)


@pytest.mark.parametrize("tree", HEALTHY)
def test_a_healthy_vault_is_taken_over_offline(server: Server, tree: str) -> None:
    server.emulator.forget_requests()
    said = server.run("adopt", "--from", vault(tree), "--offline")
    assert (said.code, said.out) == (0, f"Adopted {recorded_node(tree)} in us-east-1.\n")
    assert server.vault() == VaultContents(read_agent_vault(vault(tree)))
    assert server.emulator.requests == ()


def test_a_healthy_vault_is_taken_over_with_the_services_word(server: Server) -> None:
    tree = HEALTHY[0]
    known(server, tree)
    said = server.run("adopt", "--from", vault(tree), "--json")
    assert said.code == 0
    assert said.json["node_id"] == recorded_node(tree)
    assert said.json["region"] == "us-east-1"
    assert (said.json["fingerprint"]["compared"], said.json["fingerprint"]["threshold"]) == (9, 40)
    assert server.run("fingerprint", "show", "--json").json["compared"] == 9


def test_a_machine_that_is_not_the_recorded_one_is_told_so(server: Server, tmp_path: Path) -> None:
    tree = tmp_path / "agent"
    shutil.copytree(VAULTS / HEALTHY[0], tree)
    hashes = tree / "Vault" / "Store" / "InstanceFingerprint"
    hashes.write_text(hashes.read_text().replace("3d1219c7", "00000000").replace("192.0.2.2", "192.0.2.3"))
    said = server.run("adopt", "--from", str(tree / "Vault"), "--offline")
    assert said.code == 0
    assert "this machine's hardware is not that of the registration" in said.err
    assert server.vault() == VaultContents(read_agent_vault(tree / "Vault"))


@pytest.mark.parametrize("tree", BROKEN)
def test_a_broken_vault_is_told_with_what_is_wrong_and_what_to_do(server: Server, tree: str) -> None:
    exit_code, reason = BROKEN[tree]
    said = server.run("adopt", "--from", vault(tree))
    assert (said.code, said.out) == (exit_code, "")
    assert reason in said.err
    assert "rolekeeper register" in said.err
    assert not (server.directory / "vault").exists()


def test_a_vault_that_only_looks_healthy_is_refused_by_the_service(server: Server) -> None:
    known(server, FLIP_FLOP, "0b9c4f4e-91ee-4a35-9d2c-6a8e1f5a7f10")
    said = server.run("adopt", "--from", vault(FLIP_FLOP))
    assert (said.code, said.out) == (77, "")
    assert "MachineFingerprintDoesNotMatch: Fingerprint does not match" in said.err
    assert "the agent has lost the fingerprint that the service knows" in said.err
    assert server.vault().registration is None


def test_no_vault_at_all_is_told(server: Server, tmp_path: Path) -> None:
    said = server.run("adopt", "--from", str(tmp_path / "nothing"))
    assert (said.code, said.out) == (74, "")
    assert f"{tmp_path}/nothing/Manifest is missing" in said.err


def test_the_directory_above_the_vault_is_put_right(server: Server) -> None:
    said = server.run("adopt", "--from", str(VAULTS / HEALTHY[0]))
    assert said.code == 74
    assert f"--from {vault(HEALTHY[0])}" in said.err


def test_a_service_that_does_not_answer_leaves_everything_as_it_was(server: Server) -> None:
    server.emulator.fail("RequestManagedInstanceRoleToken", drop=True)
    assert server.run("adopt", "--from", vault(HEALTHY[0])).code == 69
    assert server.vault().registration is None


def test_another_registration_is_replaced_only_by_force(node: Server) -> None:
    before = node.vault()
    node.emulator.forget_requests()
    refused = node.run("adopt", "--from", vault(HEALTHY[0]))
    assert (refused.code, refused.out) == (77, "")
    assert "adopt --force" in refused.err
    assert (node.emulator.requests, node.vault()) == ((), before)
    assert node.run("adopt", "--from", vault(HEALTHY[0]), "--offline", "--force").code == 0
    assert node.vault() == VaultContents(read_agent_vault(vault(HEALTHY[0])))


IN_A_CONTAINER = 'mount -t tmpfs none /var/lib && mkdir -p /var/lib/amazon/ssm && cp -r "$2" "$3" && exec "$1" 60'


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """A vault that no other test uses, and a process that is called like SSM Agent and has it where the agent has."""
    shutil.copytree(vault(HEALTHY[0]), tmp_path / "Vault")
    key = tmp_path / "Vault" / "Store" / "RegistrationKey"
    key.write_text(key.read_text() + "\n" * (os.getpid() % 8000))
    program = shutil.copy("/bin/sleep", tmp_path / "amazon-ssm-agent")
    container = ("unshare", "--map-root-user", "--mount", "sh", "-ec", IN_A_CONTAINER, "sh")
    with subprocess.Popen([*container, program, str(tmp_path / "Vault"), DEFAULT_DIRECTORY]) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "amazon-ssm-agen\n", "the agent")
        yield str(tmp_path / "Vault")
        process.kill()


def test_while_an_agent_runs_on_that_registration_it_is_not_taken_over(server: Server, agent: str) -> None:
    refused = server.run("adopt", "--from", agent, "--offline")
    assert (refused.code, refused.out) == (77, "")
    message, hint = refused.err.splitlines()
    assert f"SSM Agent runs with the registration in {agent}" in message
    assert message.endswith(" [agent-running]")
    assert "systemctl disable --now amazon-ssm-agent" in hint
    told = server.run("adopt", "--from", agent, "--offline", "--json")
    assert (told.code, told.err, told.json["code"]) == (77, refused.err, "agent-running")
    assert refused.err == f"rolekeeper: {told.json['message']} [agent-running]\n  hint: {told.json['hint']}\n"
    assert server.vault().registration is None
    assert server.run("adopt", "--from", vault(HEALTHY[1]), "--offline").code == 0
    assert server.run("adopt", "--from", agent, "--offline", "--force").code == 0


AGENTS_SETTINGS = """{
  "Profile": {"ShareCreds": true, "ShareProfile": "rack", "KeyAutoRotateDays": 30},
  "Agent": {"Region": "eu-central-1"},
  "Ssm": {"Endpoint": "ssm.example"}
}"""
DIFFERENCES = [
    "SSM Agent published in /srv/app/credentials [rack], and rolekeeper publishes in {output} [default]",
    "SSM Agent's endpoint is https://ssm.example, and service.endpoint_url is {endpoint}",
    "SSM Agent rotated its key after 30d, and key.rotate_after is never",
    "SSM Agent's configuration names eu-central-1; the registration's region us-east-1 counts",
]


@pytest.fixture
def moved(tmp_path: Path) -> tuple[str, ...]:
    """How to adopt from an agent that was configured to publish elsewhere."""
    tree = shutil.copytree(VAULTS / "tz-kolkata", tmp_path / "agent")
    (tree / "runtimeconfig" / "identity_config.json").write_text('{"ShareFile": "/srv/app/credentials"}')
    (tree / "amazon-ssm-agent.json").write_text(AGENTS_SETTINGS)
    return ("adopt", "--from", f"{tree}/Vault", "--agent-config", f"{tree}/amazon-ssm-agent.json", "--offline")


def expected(server: Server) -> list[str]:
    return [text.format(output=server.output, endpoint=server.emulator.url) for text in DIFFERENCES]


def test_what_differs_from_the_agents_configuration_is_said_a_line_each(server: Server, moved: tuple[str, ...]) -> None:
    said = server.run(*moved)
    assert (said.code, said.out.count("\n")) == (0, 1)
    assert said.err.splitlines()[:4] == [f"rolekeeper: {text}" for text in expected(server)]
    assert "adopt --write-config" in said.err
    assert server.run(*moved, "--json").json["differences"] == expected(server)
    assert not (server.directory / "conf.d").exists()


def test_what_the_configuration_lacks_is_written_on_request(server: Server, moved: tuple[str, ...]) -> None:
    said = server.run(*moved, "--write-config")
    fragment = server.directory / "conf.d" / "ssm-agent.toml"
    assert (said.code, said.out.splitlines()[1:]) == (0, [f"Wrote {fragment}."])
    checked = server.run("check", "--json").json
    assert [(one["path"], one["profile"]) for one in checked["credentials_file"]] == [
        (str(server.output), "default"),
        ("/srv/app/credentials", "rack"),
    ]
    assert checked["service"]["endpoint_url"] == "https://ssm.example"
    assert checked["key"]["rotate_after"] == "30d"
    assert [path.name for path in fragment.parent.iterdir()] == ["ssm-agent.toml"]


def test_writing_again_changes_nothing_and_finds_no_difference(server: Server, moved: tuple[str, ...]) -> None:
    server.run(*moved, "--write-config")
    fragment = server.directory / "conf.d" / "ssm-agent.toml"
    first = fragment.read_text()
    again = server.run(*moved, "--write-config", "--json")
    assert again.json["differences"] == expected(server)[3:]
    assert again.json["wrote"] == str(fragment)
    assert fragment.read_text() == first


def test_an_agent_with_our_configuration_leaves_nothing_to_write(server: Server, moved: tuple[str, ...]) -> None:
    server.configure(
        '[key]\nrotate_after = "30d"\n[[credentials_file]]\npath = "/srv/app/credentials"\nprofile = "rack"\n'
    )
    server.config.write_text(server.config.read_text().replace(server.emulator.url, "https://ssm.example/"))
    said = server.run(*moved, "--write-config", "--json")
    assert (said.code, said.json["differences"], said.json["wrote"]) == (0, expected(server)[3:], None)
    assert not (server.directory / "conf.d").exists()


def test_what_would_make_the_configuration_wrong_is_not_written(server: Server, moved: tuple[str, ...]) -> None:
    text = server.config.read_text().replace(f'endpoint_url = "{server.emulator.url}"', "fips = true")
    server.config.write_text(text)
    said = server.run(*moved, "--write-config")
    assert (said.code, said.out) == (78, "")
    assert "adopted mi-" in said.err
    assert "service.fips: cannot be used together with endpoint_url" in said.err
    assert server.run("check").code == 0
    assert server.vault().registration is not None


def test_malformed_files_of_the_agent_only_warn(server: Server, moved: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "agent" / "amazon-ssm-agent.json").write_text("{")
    (tmp_path / "agent" / "runtimeconfig" / "identity_config.json").write_text("[]")
    said = server.run(*moved)
    assert said.code == 0
    assert said.err.count("warning: SSM Agent's configuration: ") == 2
    assert server.vault().registration is not None
