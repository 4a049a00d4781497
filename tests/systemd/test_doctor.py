"""`rolekeeper doctor` on an installed node: the faults that need a real systemd, each found by name."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tests.systemd.conftest import GROUP, OUTPUT, STRANGER, UNIT, Machine, add_reader, as_user

SOCKET = "rolekeeper-endpoint.socket"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
AGENT = "/opt/agent/amazon-ssm-agent"
MUTE_RESOLVER = """
import signal, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("bound", flush=True)
signal.pause()
"""
PROMISED = "30"  # seconds that the command takes at most


@pytest.fixture(scope="module")
def installed(new_machine: Callable[..., Machine]) -> Machine:
    """Registered and published, with a group of readers and an app's home."""
    machine = new_machine()
    machine.shell("useradd --create-home app")
    add_reader(machine)
    return machine.set_up()


@pytest.fixture
def machine(installed: Machine) -> Iterator[Machine]:
    """As it was installed, also after the test."""
    yield installed
    installed.configure()
    installed.shell(
        f"rm -rf {DROP_INS} /etc/environment /srv/aws /var/lib/amazon\n"
        f"systemctl unmask {UNIT}; systemctl daemon-reload\nsystemctl stop {SOCKET}\n"
        "systemctl unset-environment AWS_PROFILE; systemctl reset-failed\n"
        f"systemctl enable {UNIT}; systemctl restart {UNIT}"
    )
    installed.rolekeeper("wait")


def findings(machine: Machine) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(machine.rolekeeper("doctor", "--json", expect=None).out)["findings"]
    return found


def finding(machine: Machine, name: str, code: str) -> Mapping[str, Any]:
    """The only finding of this name and code."""
    found = findings(machine)
    fitting = [one for one in found if (one["name"], one["code"]) == (name, code)]
    assert len(fitting) == 1, found
    assert fitting[0]["hint"]
    return fitting[0]


def levels(machine: Machine, name: str) -> list[str]:
    return [one["level"] for one in findings(machine) if one["name"] == name]


def output(machine: Machine, table: str) -> None:
    """Publish where `table` says, too."""
    machine.configure(f'[[credentials_file]]\npath = "{OUTPUT}"\n[[credentials_file]]\n{table}\n')
    machine.systemctl("reload", UNIT)


def test_a_healthy_node_passes(machine: Machine) -> None:
    said = machine.rolekeeper("doctor", "--token", "--json")
    wrong = [one for one in json.loads(said.out)["findings"] if one["level"] == "failed"]
    assert wrong == []
    assert levels(machine, "unit") == levels(machine, "daemon") == levels(machine, "output") == ["ok"]


def test_a_unit_that_does_not_start_at_boot(machine: Machine) -> None:
    machine.systemctl("disable", UNIT)
    assert finding(machine, "unit", "unit-not-enabled")["hint"] == "systemctl enable rolekeeper"


def test_a_unit_that_was_stopped(machine: Machine) -> None:
    machine.systemctl("stop", UNIT)
    assert "systemctl start" in finding(machine, "unit", "unit-inactive")["hint"]
    assert finding(machine, "daemon", "no-daemon")["exit_code"] == 69


def test_a_unit_that_is_masked(machine: Machine) -> None:
    machine.shell(f"systemctl stop {UNIT}; systemctl mask {UNIT}")
    assert finding(machine, "unit", "unit-masked")["hint"] == "systemctl unmask rolekeeper"


def test_a_drop_in_that_names_a_missing_directory(machine: Machine) -> None:
    machine.drop_in("[Service]\nBindPaths=/nonexistent\n")
    machine.systemctl("restart", UNIT, expect=None)
    assert "226/NAMESPACE" in finding(machine, "unit", "unit-failed")["message"]
    assert "226/NAMESPACE" in finding(machine, "output", "sandbox-unusable")["message"]


def test_a_unit_that_failed_for_its_configuration(machine: Machine) -> None:
    machine.configure("nonsense = 1\n")
    machine.systemctl("restart", UNIT, expect=None)
    machine.until("the unit has failed", lambda: machine.property(UNIT, "ActiveState") == "failed")
    assert finding(machine, "configuration", "configuration-invalid")["exit_code"] == 78
    assert "the configuration is wrong" in finding(machine, "unit", "unit-failed")["message"]
    machine.configure("nonsense = \n")  # no TOML, so nothing is known of the rest
    assert "the configuration is wrong" in finding(machine, "unit", "unit-failed")["message"]
    assert machine.rolekeeper("status", "--check", expect=2).out.startswith("CRITICAL: no daemon runs; ")


def test_a_drop_in_that_systemd_has_not_read(machine: Machine) -> None:
    machine.write(f"{DROP_INS}/unread.conf", "[Service]\nReadWritePaths=-/srv\n")
    assert "daemon-reload" in finding(machine, "unit", "unit-changed")["hint"]


def test_an_output_that_the_sandbox_closes_and_the_drop_in_of_the_hint_that_opens_it(machine: Machine) -> None:
    machine.run("install", "-d", "-m", "755", "/srv/aws")
    output(machine, f'path = "/srv/aws/credentials"\ngroup = "{GROUP}"\nmode = "0640"')
    found = finding(machine, "output", "read-only")
    assert found["subject"] == "/srv/aws/credentials [default]"
    assert "ReadWritePaths=-/srv/aws" in found["hint"]
    machine.drop_in(found["hint"].partition("\n")[2])
    assert levels(machine, "output") == ["ok", "ok"]


def test_an_output_in_a_home_that_the_sandbox_hides(machine: Machine) -> None:
    output(machine, 'path = "/home/app/.aws/credentials"\nowner = "app"')
    (found,) = [one for one in findings(machine) if one["name"] == "output" and one["level"] == "failed"]
    assert "BindPaths=-/home/app/.aws" in found["hint"]


def test_a_reader_who_is_shut_out_by_a_directory(machine: Machine) -> None:
    machine.run("install", "-d", "-m", "700", "/srv/aws")
    machine.run("install", "-m", "640", "-g", GROUP, "/dev/null", "/srv/aws/credentials")
    output(machine, f'path = "/srv/aws/credentials"\ngroup = "{GROUP}"\nmode = "0640"')
    found = finding(machine, "reader", "reader-shut-out")
    assert f"the group {GROUP} cannot read /srv/aws/credentials" in found["message"]
    machine.run("chmod", "755", "/srv/aws")
    assert levels(machine, "reader") == ["ok", "ok"]


def test_an_endpoint_whose_socket_is_missing(machine: Machine) -> None:
    machine.configure('[[endpoint]]\nname = "web"\n')
    machine.systemctl("reload", UNIT)
    assert SOCKET in finding(machine, "socket", "endpoint-socket-inactive")["hint"]
    machine.rolekeeper("wait", "--timeout", "20s")
    unserved = f"nothing serves it: {SOCKET} is not active"
    assert f"endpoint web: {unserved} [endpoint-socket-inactive]\n" in machine.rolekeeper("status", expect=1).err
    assert machine.rolekeeper("status", "--check", expect=1).out.startswith("WARNING: endpoints: nothing serves it")
    machine.systemctl("start", SOCKET)
    assert levels(machine, "socket") == ["ok"]
    assert machine.rolekeeper("status").err == ""
    assert machine.rolekeeper("status", "--check").out.startswith("OK: ")


def test_keys_in_the_environment_of_every_program(machine: Machine) -> None:
    machine.write("/etc/environment", 'export AWS_SECRET_ACCESS_KEY="a secret"\n')
    found = finding(machine, "environment", "environment-outranks")
    assert "AWS_SECRET_ACCESS_KEY in /etc/environment" in found["message"]
    assert "a secret" not in machine.rolekeeper("doctor", expect=None).out


def test_a_profile_in_the_environment_of_every_service(machine: Machine) -> None:
    machine.systemctl("set-environment", "AWS_PROFILE=another")
    assert "AWS_PROFILE in systemd" in finding(machine, "environment", "environment-outranks")["message"]


def test_ssm_agent_with_this_registration(machine: Machine) -> None:
    machine.rolekeeper("export", "--to", "/var/lib/amazon/ssm/Vault")
    machine.run("install", "-D", "/bin/sleep", AGENT)
    machine.run("systemd-run", "--quiet", "--unit=amazon-ssm-agent", AGENT, "infinity")
    try:
        found = finding(machine, "ssm-agent", "agent-running")
        assert found["hint"] == "systemctl disable --now amazon-ssm-agent"
    finally:
        machine.systemctl("stop", "amazon-ssm-agent")
    assert levels(machine, "ssm-agent") == ["ok"]


def test_the_proxy_of_the_unit_counts_and_not_that_of_the_shell(machine: Machine) -> None:
    machine.drop_in("[Service]\nEnvironment=HTTP_PROXY=http://127.0.0.1:9 NO_PROXY=\n")
    machine.systemctl("restart", UNIT)
    found = finding(machine, "route", "connection-refused")
    assert "http://127.0.0.1:9/" in found["message"]
    assert machine.run("env", "HTTP_PROXY=http://user:secret@[", "rolekeeper", "doctor", expect=None).code == 69


def test_nothing_of_the_look_from_within_the_sandbox_is_left(machine: Machine) -> None:
    before = machine.shell("find /run/rolekeeper /var/lib/rolekeeper /root/.aws | sort").out
    findings(machine)
    assert machine.shell("find /run/rolekeeper /var/lib/rolekeeper /root/.aws | sort").out == before
    assert "run-" not in machine.systemctl("list-units", "--all", "--plain", "--no-legend", "run-*.service").out


def test_another_user_sees_what_only_root_can_look_at(machine: Machine) -> None:
    said = as_user(machine, STRANGER, "rolekeeper", "doctor", "--json")
    found = {one["name"]: one for one in json.loads(said.out)["findings"]}
    assert (said.code, said.err) == (74, "")
    assert (found["vault"]["level"], found["vault"]["code"]) == ("failed", "vault-permission-denied")
    assert {found[name]["level"] for name in ("hardware", "output", "reader", "ssm-agent")} == {"skipped"}
    assert found["reader"]["message"] == "not looked at: only root can try it as another user"
    assert {found[name]["level"] for name in ("configuration", "unit", "daemon", "service", "clock")} == {"ok"}


def test_outputs_are_looked_at_although_a_key_is_wrong(machine: Machine) -> None:
    machine.configure("[refresh]\nat = 2\n")
    assert finding(machine, "configuration", "configuration-invalid")["exit_code"] == 78
    assert levels(machine, "output") == ["ok"]


def test_a_dead_network_with_a_resolver_that_never_answers_ends_in_time(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine(private_network=True, emulated=None)
    machine.install()
    machine.write("/etc/rolekeeper/conf.d/test.toml", '[node]\nregion = "eu-central-1"\n')
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    with machine.background("python3", "-c", MUTE_RESOLVER) as resolver:
        assert resolver.stdout is not None
        assert resolver.stdout.readline() == "bound\n"
        said = machine.run("timeout", PROMISED, "rolekeeper", "doctor", "--json", expect=None)
        machine.crash()
    found = json.loads(said.out)["findings"]
    assert [one["code"] for one in found if one["name"] == "name"] == ["timeout"]
    assert [one["level"] for one in found if one["name"] == "output"] == ["ok"]
