"""Canaries: activation code, node key and tokens of a machine are looked for wherever others may look."""

import re
import resource
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import memory
from tests.systemd.conftest import UNIT, Machine

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault

TOKEN = "RequestManagedInstanceRoleToken"
UPDATE_KEY = "UpdateManagedInstancePublicKey"
# As if the unit forbade no core, and in a directory that takes one.
CORES_WANTED = "[Service]\nLimitCORE=infinity\nWorkingDirectory=/root\nRestartSec=100ms\n"
# Root with what the daemon has, but without CAP_SYS_PTRACE: it sees what PR_SET_DUMPABLE leaves open.
POWERLESS = ("setpriv", "--bounding-set=-all,+chown")
EVERYTHING = """\
journalctl --all --output=json
systemctl status --full --lines=1000 rolekeeper.service
systemctl show rolekeeper.service
find /run/rolekeeper -type f -exec cat {} +
"""
PATTERN = Path("/proc/sys/kernel/core_pattern")
PROCESSES = "for process in /proc/[0-9]*; do cat $process/cmdline $process/environ 2>/dev/null || true; done"


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """Registered, and as talkative as it can be."""
    return new_machine().set_up('[daemon]\nlog_level = "debug"\n')


def secrets(machine: Machine, directory: Path) -> list[str]:
    shutil.copytree(machine.root / "var/lib/rolekeeper/vault", directory)
    contents = FileVault(str(directory), SystemClock()).load()
    assert contents.registration is not None
    assert machine.activation is not None
    kept = (contents.registration.key, contents.pending_key, contents.superseded_key)
    keys = [key.private_key for key in kept if key is not None]
    tokens = machine.service.tokens.values()
    issued = [secret for token in tokens for secret in (token.secret_access_key, token.session_token)]
    return [machine.activation.code, *keys, *issued]


def hits(text: str, wanted: list[str]) -> list[str]:
    """The secrets of which more than a chance part is in the text."""
    return [secret for secret in wanted if secret[:24] in text or secret[-24:] in text]


def attempt_pid(machine: Machine) -> str:
    """The process of the attempt that runs, which is the daemon's only child."""
    children = f"/proc/{machine.pid()}/task/{machine.pid()}/children"
    return str(machine.until("an attempt runs", lambda: machine.read(children).strip()))


def test_no_secret_is_where_others_may_look_whatever_happened(machine: Machine, tmp_path: Path) -> None:
    service = machine.service
    service.request_rotation(next(iter(service.nodes)))
    machine.rolekeeper("refresh")
    for fault in ({"cut_body": 700}, {"error": "AccessDeniedException"}, {"fields": {"TokenExpirationDate": "soon"}}):
        service.fail(TOKEN, **fault)
        machine.rolekeeper("refresh", expect=None)
    service.fail(TOKEN, delay=timedelta(seconds=3))
    machine.systemctl("kill", "--kill-whom=main", "--signal=USR1", UNIT)
    attempt_pid(machine)
    seen = machine.shell(PROCESSES).out + machine.shell(EVERYTHING).out
    assert "rolekeeper\0attempt" in seen.replace("-m\0", "")
    assert "cut_body" not in seen
    assert "AccessDeniedException" in seen
    assert hits(seen, secrets(machine, tmp_path / "vault")) == []


def test_the_same_look_finds_a_secret_that_is_there(machine: Machine, tmp_path: Path) -> None:
    wanted = secrets(machine, tmp_path / "vault")
    machine.run("systemd-cat", "echo", wanted[-1])
    assert hits(machine.shell(EVERYTHING).out, wanted) == wanted[-1:]


def test_an_attempt_that_crashes_with_key_and_token_in_memory_leaves_no_core(machine: Machine, tmp_path: Path) -> None:
    service = machine.service
    machine.drop_in(CORES_WANTED)
    machine.systemctl("restart", UNIT)
    machine.until_status("Waiting")
    service.request_rotation(next(iter(service.nodes)))
    service.fail(UPDATE_KEY, hang=True)
    service.forget_requests()
    machine.systemctl("kill", "--kill-whom=main", "--signal=USR1", UNIT)
    machine.until("the token came and a new key is offered", lambda: service.requests[1:])
    pid, daemon = attempt_pid(machine), str(machine.pid())
    wanted = secrets(machine, tmp_path / "vault")
    held = memory(machine.root / "proc" / pid).decode("latin-1")
    assert set(hits(held, wanted)) >= {*wanted[1:3], *wanted[-2:]}  # both keys, and the newest token
    machine.run(*POWERLESS, "cat", f"/proc/{daemon}/environ")
    machine.run(*POWERLESS, "cat", f"/proc/{pid}/environ", expect=1)
    assert re.search(r"Max core file size +0 +0 ", machine.read(f"/proc/{pid}/limits"))
    machine.shell(f"kill -SEGV {pid}")
    machine.until_status("the attempt ended with signal 11")
    assert cores(machine) == []
    machine.systemctl("kill", "--kill-whom=main", "--signal=SEGV", UNIT)
    machine.until("systemd restarts it", lambda: machine.property(UNIT, "NRestarts") == "1")
    if cores_are_possible():  # so a core that is allowed is found where we look
        (core,) = machine.until("the core is written", lambda: cores(machine))
        assert hits(core.read_bytes().decode("latin-1"), wanted) == []
    machine.until_status("Waiting")


def cores_are_possible() -> bool:
    """The kernel writes them into the working directory, and the box inherits no limit: it could not raise one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    return not PATTERN.read_text().startswith(("|", "/")) and hard == resource.RLIM_INFINITY


def cores(machine: Machine) -> list[Path]:
    return list((machine.root / "root").glob("core*"))


def test_what_is_published_and_kept_is_for_root_alone(machine: Machine) -> None:
    found = machine.run("find", "/var/lib/rolekeeper", "/root/.aws", "-perm", "/077", "-not", "-type", "l").out
    assert found == ""
    assert machine.run("stat", "-c", "%a", "/run/rolekeeper/status.json").out.strip() == "644"
