"""The Ansible role takes a fresh server to credentials, and a second run changes nothing."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.systemd.conftest import CHECKOUT, NEW_VERSION, PACKAGES, ROOT, UNIT, Machine

TOOLS = ROOT / ".venv" / "fleet"
CONFIGURATION = '[[credentials_file]]\npath = "/root/.aws/credentials"\nprofile = "default"\n'
TEXTFILES = "/var/lib/prometheus/node-exporter"
RECAP = re.compile(r"localhost +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)")


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A server without rolekeeper, which `make check` has given Ansible."""
    if not (TOOLS / "bin" / "ansible-playbook").exists():
        pytest.skip("`make check` installs ansible-core")
    machine = new_machine(*CHECKOUT)
    machine.configure()  # what only a test needs: the emulator's address
    machine.run("mkdir", "-p", TEXTFILES)
    return machine


def play(machine: Machine, **variables: Any) -> tuple[int, int, str]:
    """Run the role on the server itself: how many tasks changed something, how many failed, and what was printed."""
    playbook = {"hosts": "localhost", "gather_subset": "!all,pkg_mgr", "roles": ["rolekeeper"], "vars": variables}
    machine.write("/root/play.yml", json.dumps([playbook]), 0o600)
    said = machine.run(
        *("env", "LC_ALL=C.UTF-8", "HOME=/root", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1"),
        f"ANSIBLE_ROLES_PATH={ROOT}/packaging/ansible/roles",
        *(str(TOOLS / "bin" / "ansible-playbook"), "-vvv", "-i", "localhost,", "-c", "local"),
        *("-e", "ansible_python_interpreter=/usr/bin/python3", "/root/play.yml"),
        expect=None,
    )
    recap = RECAP.search(said.out)
    assert recap is not None, said
    return int(recap[1]), int(recap[2]), said.out + said.err


def variables(machine: Machine, **changes: Any) -> dict[str, Any]:
    assert machine.activation is not None
    return {
        "rolekeeper_package_file": f"{PACKAGES}/rolekeeper_{NEW_VERSION}_amd64.deb",
        "rolekeeper_configuration": CONFIGURATION,
        "rolekeeper_region": machine.service.region,
        "rolekeeper_activation_id": machine.activation.activation_id,
        "rolekeeper_activation_code": machine.activation.code,
        "rolekeeper_textfile_directory": TEXTFILES,
        "rolekeeper_wait_timeout": "30s",
        **changes,
    }


def test_an_activation_that_is_refused_fails_with_the_reason_and_shows_no_code(machine: Machine) -> None:
    machine.activation = machine.service.create_activation()
    code = machine.activation.code[::-1]
    _, failed, printed = play(machine, **variables(machine, rolekeeper_activation_code=code))
    assert failed == 1
    assert "Cannot register this machine" in printed
    assert code not in printed


def test_a_fresh_server_gets_credentials(machine: Machine) -> None:
    changed, failed, printed = play(machine, **variables(machine))
    assert (changed > 0, failed) == (True, 0), printed
    assert machine.access_key_id() == machine.issued()[-1]
    assert machine.property(UNIT, "UnitFileState") == "enabled"
    assert "rolekeeper_state" in machine.read(f"{TEXTFILES}/rolekeeper.prom")
    assert machine.activation is not None
    assert machine.activation.code not in printed


def test_a_second_run_changes_nothing_and_asks_for_nothing(machine: Machine) -> None:
    issued = machine.issued()
    changed, failed, printed = play(machine, **variables(machine))
    assert (changed, failed) == (0, 0), printed
    assert machine.issued() == issued
    assert len(machine.service.nodes) == 1


def test_a_wrong_configuration_fails_and_the_one_in_force_stays(machine: Machine) -> None:
    _, failed, printed = play(machine, **variables(machine, rolekeeper_configuration='[daemon]\nlog_level = "loud"\n'))
    assert failed == 1
    assert "log_level" in printed
    assert machine.read("/etc/rolekeeper/conf.d/50-ansible.toml") == CONFIGURATION


def test_a_role_of_another_fragment_can_be_named(machine: Machine) -> None:
    machine.service.create_role("web")
    role = f'[[role]]\nname = "web"\narn = "{machine.service.role_arn("web")}"\n'
    sts = f'[service]\nsts_endpoint_url = "{machine.service.url}"\n'
    machine.write("/etc/rolekeeper/conf.d/10-roles.toml", sts + role)
    named = CONFIGURATION + 'role = "web"\n'
    changed, failed, printed = play(machine, **variables(machine, rolekeeper_configuration=named))
    assert (changed > 0, failed) == (True, 0), printed
    assert machine.read("/etc/rolekeeper/conf.d/50-ansible.toml") == named


def test_a_changed_configuration_is_in_force_afterwards(machine: Machine) -> None:
    more = CONFIGURATION + '\n[[credentials_file]]\npath = "/root/.aws/second"\n'
    changed, failed, printed = play(machine, **variables(machine, rolekeeper_configuration=more))
    assert (changed > 0, failed) == (True, 0), printed
    assert machine.access_key_id("/root/.aws/second") == machine.issued()[-1]
