"""The README's way into production, its commands word by word, on a fresh machine with the emulator in AWS's place."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.docs.test_readme import README, fences, section
from tests.systemd.conftest import CHECKOUT, ROOT, Machine

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.vault.agent import read_agent_vault

AGENT_VAULT = ROOT / "tests" / "vectors" / "vaults" / "tz-kolkata" / "Vault"
ACTIVATION_ID, REGION = "12345678-1234-1234-1234-123456789012", "eu-central-1"
APP_OUTPUT = "/srv/app/aws/credentials.json"  # of the README's example, which the test before has configured
AGENT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
PROGRAM = """\
Type=oneshot
RemainAfterExit=yes
User=app
ExecStart=/bin/grep credential_process ${AWS_SHARED_CREDENTIALS_FILE}
ExecStart=/bin/grep SessionToken /srv/app/aws/credentials.json
"""
CALLER = re.compile(r'"Arn": "arn:aws:sts::\d+:assumed-role/RackServer/mi-[0-9a-f]{17}"')


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server with an activation, an AWS CLI that reaches the emulator, a user `app`, and nothing of rolekeeper's."""
    machine = new_machine(*CHECKOUT)
    machine.configure()
    machine.write("/usr/local/bin/sudo", '#!/bin/sh\nexec "$@"\n', mode=0o755)
    aws = f'AWS_ENDPOINT_URL={machine.service.url} exec {Path(sys.executable).with_name("aws")} "$@"'
    machine.write("/usr/local/bin/aws", f"#!/bin/sh\n{aws}\n", mode=0o755)
    machine.run("useradd", "--user-group", "app")
    machine.activation = machine.service.create_activation("RackServer")
    return machine


def blocks(machine: Machine, heading: str, language: str = "sh") -> list[str]:
    """The README's blocks below a heading, with what is this server's own."""
    found = [text for text in fences(README, language) if text in section(README, heading)]
    assert machine.activation is not None
    own = {ACTIVATION_ID: machine.activation.activation_id, REGION: machine.service.region}
    return [re.sub("|".join(own), lambda example: own[example[0]], text) for text in found]


def follow(machine: Machine, text: str, stdin: str = "") -> str:
    """Run a block in the checkout; what it printed."""
    return machine.run("/bin/bash", "-euc", f"cd {ROOT}\n{text}", stdin=stdin).out


def test_the_quick_start_arrives(machine: Machine) -> None:
    steps = blocks(machine, "## In production")
    (install,) = (text for text in steps if "apt install" in text)
    (register,) = (text for text in steps if "rolekeeper register" in text)
    build, _, rest = install.partition("\n")
    assert build == "make packages"  # which was done
    assert machine.activation is not None
    follow(machine, rest)
    assert CALLER.search(follow(machine, register, machine.activation.code))


def test_a_program_of_another_user_finds_its_credentials(machine: Machine) -> None:
    configuration = blocks(machine, "## How programs use it", "toml")[0]
    opened, _ = blocks(machine, "## How programs use it")
    unit, _ = blocks(machine, "## How programs use it", "ini")
    machine.write("/etc/rolekeeper/conf.d/app.toml", configuration)
    follow(machine, opened)
    machine.write("/etc/systemd/system/program.service", unit + PROGRAM)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "program")
    program = ("env", f"AWS_SHARED_CREDENTIALS_FILE={APP_OUTPUT}.profile")
    region = f"AWS_DEFAULT_REGION={machine.service.region}"
    assert CALLER.search(machine.run(*program, region, "/usr/local/bin/aws", "sts", "get-caller-identity").out)


def test_the_registration_moves_from_ssm_agent_and_back(machine: Machine, tmp_path: Path) -> None:
    found = read_agent_vault(str(AGENT_VAULT))
    node = found.registration.node_id
    machine.service.add_node(node, public_key(found.registration.key), found.accepted.fingerprint)
    machine.rolekeeper("clear", "--yes")
    machine.write("/etc/systemd/system/amazon-ssm-agent.service", AGENT)
    machine.systemctl("daemon-reload")
    machine.systemctl("enable", "--now", "amazon-ssm-agent")
    shutil.copytree(AGENT_VAULT, machine.root / "var/lib/amazon/ssm/Vault")
    move, back = blocks(machine, "## Moving from SSM Agent")
    assert f"Adopted {node} in us-east-1." in follow(machine, move)
    assert machine.property("amazon-ssm-agent", "ActiveState") == "inactive"
    machine.until_status(node)
    machine.rolekeeper("fingerprint", "threshold", "off")  # the recorded registration is of another machine
    machine.until_published(APP_OUTPUT)
    service_key = machine.service.nodes[node].public_key
    machine.service.request_rotation(node)
    machine.rolekeeper("refresh")
    machine.until("the node key is rotated", lambda: machine.service.nodes[node].public_key != service_key)
    assert f"Exported {node} to /var/lib/amazon/ssm/Vault." in follow(machine, back)
    assert machine.property("amazon-ssm-agent", "ActiveState") == "active"
    shutil.copytree(machine.root / "var/lib/amazon/ssm/Vault", tmp_path / "Vault")
    exported = read_agent_vault(str(tmp_path / "Vault")).registration
    assert (exported.node_id, public_key(exported.key)) == (node, machine.service.nodes[node].public_key)
    assert "SessionToken" in machine.read(APP_OUTPUT)  # what is published stays until it expires
