"""What docs/systemd.md says of places that the unit cannot reach: 226/NAMESPACE, and a daemon of a user's own."""

import re
from collections.abc import Callable

import pytest
from tests.docs.test_readme import ROOT, fences, section
from tests.systemd.conftest import OUTPUT, STRANGER, UNIT, Machine, as_user

DOCUMENT = ROOT / "docs" / "systemd.md"
ACTIVATION_ID, REGION = "12345678-1234-1234-1234-123456789012", "eu-central-1"
OWN_UNIT, OWN_CONFIG = "rolekeeper-app.service", "/etc/rolekeeper-app/config.toml"
MISSING = "/run/app/aws"
LOOK_FOR_PATH = "journalctl -u rolekeeper -g namespacing"


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """Registered, with a user `app` whose home is that user's alone."""
    machine = new_machine()
    machine.shell("useradd --create-home app; chmod 700 /home/app")
    machine.write(
        "/usr/local/bin/sudo",
        '#!/bin/sh\n[ "$1" = -u ] && shift && user=$1 && shift && exec setpriv '
        '--reuid="$user" --regid="$user" --init-groups "$@"\nexec "$@"\n',
        mode=0o755,
    )
    return machine.set_up()


def test_a_missing_directory_stops_the_unit_only_without_the_prefix_and_status_says_why(machine: Machine) -> None:
    assert LOOK_FOR_PATH in section(DOCUMENT, "### The unit does not start: 226/NAMESPACE")
    machine.configure(f'[[credentials_file]]\n[[credentials_file]]\npath = "{MISSING}/credentials"\n')
    machine.drop_in(f"[Service]\nReadWritePaths={MISSING}\nRestartSec=1h\n")
    machine.systemctl("restart", UNIT, expect=1)
    assert machine.property(UNIT, "ExecMainStatus") == "226"
    said = machine.rolekeeper("status", expect=3).err
    assert "systemd cannot set up the unit's sandbox (226/NAMESPACE)" in said
    assert "write a - before it" in said
    machine.until("the journal names the path", lambda: MISSING in machine.shell(LOOK_FOR_PATH, expect=None).out)
    machine.drop_in(f"[Service]\nReadWritePaths=-{MISSING}\n")
    machine.systemctl("restart", UNIT)
    machine.rolekeeper("wait", "--file", OUTPUT)
    machine.rolekeeper("wait", "--file", f"{MISSING}/credentials", "--timeout", "1s", expect=69)
    machine.shell(f"mkdir -p {MISSING}; systemctl restart {UNIT}")
    machine.rolekeeper("wait")


def test_refresh_by_another_user_names_sudo(machine: Machine) -> None:
    said = as_user(machine, STRANGER, "rolekeeper", "refresh")
    assert (said.code, said.out) == (74, "")
    assert "hint: run this as the daemon's user, or with sudo" in said.err


def test_a_daemon_of_a_users_own_publishes_in_a_home_that_is_that_users_alone(machine: Machine) -> None:
    text = section(DOCUMENT, "### A home that root may not enter")
    (configuration,), (unit,), (commands,) = (
        [one for one in fences(DOCUMENT, language) if one in text] for language in ("toml", "ini", "sh")
    )
    service = f'[service]\nendpoint_url = "{machine.service.url}"\n'
    machine.write(OWN_CONFIG, service + configuration)
    machine.write(f"/etc/systemd/system/{OWN_UNIT}", unit)
    activation = machine.service.create_activation()
    own = {ACTIVATION_ID: activation.activation_id, REGION: machine.service.region}
    commands = re.sub("|".join(own), lambda example: own[example[0]], commands)
    machine.run("/bin/bash", "-euc", commands, stdin=activation.code)
    path = "/home/app/.aws/credentials"
    key = machine.until_published(path)
    assert machine.run("stat", "-c", "%U %a", path).out.split() == ["app", "600"]
    assert key in as_user(machine, "app", "cat", path).out
    assert as_user(machine, "app", "rolekeeper", "--config", OWN_CONFIG, "wait").code == 0
    said = as_user(machine, "app", "rolekeeper", "--config", OWN_CONFIG, "fingerprint", "check")
    assert (said.code, "the four SMBIOS components" in said.err) == (0, True)
    machine.systemctl("reload", OWN_UNIT)
    machine.until("it is reloaded", lambda: machine.property(OWN_UNIT, "ActiveState") == "active")
    assert len(machine.service.nodes) == 2
    assert machine.access_key_id(OUTPUT) != key
