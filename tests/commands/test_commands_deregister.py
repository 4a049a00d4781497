"""`deregister`: the node ends in AWS, with whose credentials, and when the registration is forgotten."""

import os
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import daemons

from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory
from rolekeeper.model import VaultContents

DEREGISTER, TOKEN = "DeregisterManagedInstance", "RequestManagedInstanceRoleToken"
AS_NODE = ("deregister", "--as-node", "--yes")
NOBODY = {"AWS_EC2_METADATA_DISABLED": "true"}


def as_operator(node: Server) -> dict[str, str]:
    """The variables of an operator's shell, but the endpoint, which the configuration names."""
    return {
        "AWS_ACCESS_KEY_ID": node.emulator.admin.access_key_id,
        "AWS_SECRET_ACCESS_KEY": node.emulator.admin.secret_access_key,
        "AWS_REGION": "eu-south-2",
    }


def test_an_operator_ends_the_node_with_variables(node: Server) -> None:
    said = node.run("deregister", "--yes", env=as_operator(node))
    told = f"Deregistered {node.node_id}; forgot the registration. Credentials stay valid until they expire.\n"
    assert (said.code, said.out, said.err) == (0, told, "")
    assert node.node_id not in node.emulator.nodes
    assert node.vault() == VaultContents()


def test_an_operator_ends_the_node_with_a_profile(node: Server) -> None:
    (node.directory / ".aws").mkdir()
    admin = node.emulator.admin
    (node.directory / ".aws" / "credentials").write_text(
        f"[admin]\naws_access_key_id = {admin.access_key_id}\naws_secret_access_key = {admin.secret_access_key}\n"
    )
    assert node.run("deregister", "--yes", env={"AWS_PROFILE": "admin"}).code == 0
    assert node.node_id not in node.emulator.nodes


def test_the_node_ends_itself_and_nothing_of_the_operators_is_used(node: Server) -> None:
    said = node.run(*AS_NODE, env={"AWS_PROFILE": "none", "AWS_ACCESS_KEY_ID": "AKIAX"})
    assert (said.code, said.err) == (0, "")
    assert node.node_id not in node.emulator.nodes
    assert node.vault() == VaultContents()


@pytest.mark.parametrize("arguments", [("deregister", "--yes"), AS_NODE], ids=["as operator", "as node"])
def test_a_node_that_is_gone_already_is_forgotten(node: Server, arguments: tuple[str, ...]) -> None:
    """As after a command that was cut off once AWS had answered."""
    node.emulator.deregister(node.node_id)
    said = node.run(*arguments, env=as_operator(node))
    assert said.code == 0
    assert said.out.startswith(f"{node.node_id} was deregistered already; forgot the registration.")
    assert node.vault() == VaultContents()


def test_credentials_of_another_account_lose_no_registration(node: Server) -> None:
    """AWS says of any node of another account that it does not exist."""
    before = node.vault()
    node.emulator.fail(DEREGISTER, error="InvalidInstanceId")
    said = node.run("deregister", "--yes", env=as_operator(node))
    assert (said.code, said.out) == (77, "")
    assert "it exists, but not in the account and region (us-east-1) of these credentials" in said.err
    assert "[node-of-another-account]" in said.err
    assert node.vault() == before


def test_without_credentials_the_operator_learns_where_to_put_them(node: Server) -> None:
    before = node.vault()
    said = node.run("deregister", "--yes", env=NOBODY)
    assert (said.code, said.out) == (77, "")
    assert f"Cannot deregister {node.node_id} in us-east-1: Unable to locate credentials [operator-credentials]" in (
        said.err
    )
    assert "AWS_PROFILE" in said.err
    assert "--as-node" in said.err
    assert node.vault() == before


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_PROFILE": "none"},
        {"AWS_CONFIG_FILE": "/proc/self/mem"},
        {"AWS_MAX_ATTEMPTS": "many"},
        {"AWS_CA_BUNDLE": "/nonexistent"},
        {"AWS_RETRY_MODE": "often"},
    ],
    ids=str,
)
def test_a_shell_that_boto3_cannot_use_is_told_in_a_line(node: Server, environment: dict[str, str]) -> None:
    said = node.process("deregister", "--yes", env={**NOBODY, **environment})
    assert (said.code, said.out) == (77, "")
    assert said.err.startswith(f"rolekeeper: Cannot deregister {node.node_id} in us-east-1: ")
    assert "  hint: " in said.err


@pytest.mark.parametrize("arguments", [("deregister", "--yes"), AS_NODE], ids=["as operator", "as node"])
def test_a_missing_permission_is_named(node: Server, arguments: tuple[str, ...]) -> None:
    before = node.vault()
    node.emulator.fail(DEREGISTER, error="AccessDeniedException")
    said = node.run(*arguments, env=as_operator(node))
    assert (said.code, said.out) == (77, "")
    assert "[AccessDeniedException]" in said.err
    assert "the permission ssm:DeregisterManagedInstance" in said.err
    assert node.vault() == before


@pytest.mark.parametrize("arguments", [("deregister", "--yes"), AS_NODE], ids=["as operator", "as node"])
@pytest.mark.parametrize("trouble", [{"drop": True}, {"error": "InternalServerError", "status": 500}], ids=str)
def test_a_service_that_fails_costs_no_registration(
    node: Server, arguments: tuple[str, ...], trouble: dict[str, object]
) -> None:
    before = node.vault()
    node.emulator.fail(DEREGISTER, times=None, **trouble)
    assert node.run(*arguments, env=as_operator(node)).code == 69
    assert node.vault() == before


def test_it_asks_a_person_and_no_script(node: Server) -> None:
    said = node.run("deregister", stdin="y\n", env=as_operator(node))
    assert (said.code, said.out) == (64, "")
    assert "rolekeeper deregister --yes" in said.err
    assert node.node_id in node.emulator.nodes


def test_without_a_registration_there_is_nothing_to_end(server: Server) -> None:
    said = server.run("deregister", "--yes")
    assert (said.code, said.out) == (77, "")
    assert "no registration in the vault" in said.err


def test_it_is_refused_while_the_daemon_would_register_anew(node: Server) -> None:
    node.configure('[node]\nregion = "us-east-1"\nactivation_id = "12345678-1234-1234-1234-123456789012"')
    FileRuntimeDirectory(os.getpid()).claim(str(node.runtime))
    said = node.run(*AS_NODE)
    assert (said.code, said.out) == (77, "")
    assert "[would-register-again]" in said.err
    assert node.node_id in node.emulator.nodes


def test_the_running_daemon_learns_it_at_once(node: Server) -> None:
    with daemons() as start:
        daemon = start(node)
        daemon.until_state("waiting")
        assert node.run(*AS_NODE).code == 0
        daemon.until_state("unregistered")


def test_what_aws_repeats_of_the_request_shows_no_token(node: Server) -> None:
    said = node.run("attempt")
    text = "the string to sign was x-amz-security-token:{}"
    node.emulator.fail(DEREGISTER, error="InvalidSignatureException", message=text.format("A" * 120 + "/short+secret"))
    said = node.run(*AS_NODE)
    assert said.code == 77
    assert not any(secret in heard for secret in node.secrets() for heard in node.heard)
    assert "A" * 120 not in said.err


def test_the_published_file_loses_the_expiry_that_would_outlive_it(node: Server) -> None:
    node.run("attempt")
    assert "x_security_token_expires" in Path(node.output).read_text()
    node.run(*AS_NODE)
    assert "x_security_token_expires" not in Path(node.output).read_text()
