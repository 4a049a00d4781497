"""Each directive of the sandbox, by what it keeps a root process in the daemon's place from doing."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.systemd.conftest import ROOT, UNIT, Machine
from tests.systemd.probe import CALLS

HIGHEST_EXPOSURE = 2.0
SERVICE = ROOT / "systemd" / "rolekeeper.service"
WAIT = ROOT / "systemd" / "rolekeeper-wait.service"
CAP_CHOWN = 1 << 0
PROBE = """\
[Service]
Type=oneshot
RemainAfterExit=yes
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 -I /usr/local/lib/probe.py
"""
KEPT_OUT = "EPERM"
READ_ONLY = "EROFS"
# Directive -> what the probe says, and must say. A directive of the unit that is not here fails a test.
PROOFS: dict[str, dict[str, Any]] = {
    "ProtectSystem": {"write /usr": READ_ONLY, "writable": ["/root", "/run/rolekeeper", "/var/lib/rolekeeper"]},
    "TemporaryFileSystem": {"/home": [], "write /home": READ_ONLY},
    "PrivateTmp": {"/tmp": []},
    "ReadOnlyPaths": {"write /tmp": READ_ONLY, "write /run": READ_ONLY, "write /etc/rolekeeper": READ_ONLY},
    "DevicePolicy": {"device": KEPT_OUT},
    "BindReadOnlyPaths": {"/dev/disk/by-uuid": ["4711"], "write /dev/disk": READ_ONLY},
    "CapabilityBoundingSet": {"bounding": CAP_CHOWN, "effective": CAP_CHOWN, "raw socket": KEPT_OUT},
    "NoNewPrivileges": {"NoNewPrivs": "1"},
    "RestrictSUIDSGID": {"suid": KEPT_OUT},
    "LimitCORE": {"core": [0, 0]},
    "ProtectClock": {"clock_settime": KEPT_OUT, "settimeofday": KEPT_OUT},
    "ProtectControlGroups": {"write cgroup": READ_ONLY},
    "ProtectKernelLogs": {"syslog": KEPT_OUT},
    "ProtectKernelModules": {"init_module": KEPT_OUT, "modules": "EACCES"},
    "ProtectKernelTunables": {"write /sys": READ_ONLY},
    "LockPersonality": {"personality": KEPT_OUT},
    "MemoryDenyWriteExecute": {"mmap": KEPT_OUT, "mprotect": KEPT_OUT},
    "RestrictNamespaces": {"new namespace": KEPT_OUT},
    "RestrictRealtime": {"sched_setscheduler": KEPT_OUT},
    "RestrictAddressFamilies": {"packet socket": "EAFNOSUPPORT", "vsock socket": "EAFNOSUPPORT"},
    "IPAddressDeny": {"multicast": KEPT_OUT},
    "IPAddressAllow": {"unicast": 5},
    "SystemCallArchitectures": {"foreign call": -31},  # SIGSYS
    "SystemCallFilter": dict.fromkeys(CALLS, KEPT_OUT),
    "SystemCallErrorNumber": {"ptrace": KEPT_OUT},
    "UMask": {"give away": ["600", 12345, 23456]},
    "StateDirectoryMode": {"state directory": "700"},
}
# In the unit many of them overlap. So each is tried in a unit that has no other: directive -> probe and what it says.
ALONE: dict[str, tuple[str, Any]] = {
    "ProtectSystem": ("write /usr", READ_ONLY),
    "TemporaryFileSystem": ("/home", []),
    "PrivateTmp": ("/tmp", ["probe"]),
    "ReadOnlyPaths": ("write /tmp", READ_ONLY),
    "PrivateMounts": ("mounts of all", False),
    "PrivateDevices": ("/dev/disk/by-uuid", "ENOENT"),
    "DevicePolicy": ("device", KEPT_OUT),
    "BindReadOnlyPaths": ("write /dev/disk", READ_ONLY),
    "CapabilityBoundingSet": ("effective", CAP_CHOWN),
    "NoNewPrivileges": ("NoNewPrivs", "1"),
    "RestrictSUIDSGID": ("suid", KEPT_OUT),
    "LimitCORE": ("core", [0, 0]),
    "ProtectClock": ("clock_settime", KEPT_OUT),
    "ProtectControlGroups": ("write cgroup", READ_ONLY),
    "ProtectHostname": ("sethostname", KEPT_OUT),
    "ProtectKernelLogs": ("syslog", KEPT_OUT),
    "ProtectKernelModules": ("init_module", KEPT_OUT),
    "ProtectKernelTunables": ("tunable", READ_ONLY),
    "ProtectProc": ("processes", ["/usr/bin/python3"]),
    "ProcSubset": ("tunable", "ENOENT"),
    "LockPersonality": ("personality", KEPT_OUT),
    "MemoryDenyWriteExecute": ("mmap", KEPT_OUT),
    "RestrictNamespaces": ("new namespace", KEPT_OUT),
    "RestrictRealtime": ("sched_setscheduler", KEPT_OUT),
    "RestrictAddressFamilies": ("packet socket", "EAFNOSUPPORT"),
    "IPAddressDeny": ("unicast", KEPT_OUT),
    "IPAddressAllow": ("unicast", 5),
    "SystemCallArchitectures": ("foreign call", -31),
    "SystemCallFilter": ("keyctl", KEPT_OUT),
    "UMask": ("give away", ["600", 12345, 23456]),
}
# Some mean nothing without another: root sees all processes, nothing is denied, the probe is killed.
COMPANIONS = {
    "ProtectProc": "CapabilityBoundingSet",
    "IPAddressAllow": "IPAddressDeny",
    "SystemCallFilter": "SystemCallErrorNumber",
}
LONE_UNIT = """\
[Service]
Type=oneshot
RuntimeDirectory=rolekeeper
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/python3 -I /usr/local/lib/probe.py
"""
PROBE_ALONE = """\
cat >/run/systemd/system/lone.service
systemctl daemon-reload
systemctl start lone
cat /run/rolekeeper/probed
"""
# Proven by what is seen of the box around it.
PROVEN_BELOW = {"PrivateMounts", "ProtectHostname", "PrivateDevices", "ProtectProc", "ProcSubset"}
# How the daemon is run, and proven in the other files; not what it may do.
NO_SANDBOX = re.compile(
    r"Type|Exec\w+|Standard\w+|Restart\w*|WatchdogSec|Timeout\w+|KillMode|OOMPolicy|LoadCredential|Environment"
    r"|(State|Runtime|Configuration)Directory|RuntimeDirectoryPreserve"
)


def lines(directive: str | None) -> str:
    return "\n".join(line for line in SERVICE.read_text().splitlines() if line.startswith(f"{directive}="))


def directives(unit: Path) -> list[str]:
    service = unit.read_text().partition("[Service]")[2].partition("[Install]")[0]
    return re.findall(r"(?m)^(\w+)=", service)


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    machine = new_machine(emulated=None)
    machine.install()
    machine.systemctl("stop", UNIT)
    machine.shell(
        "mkdir -p /home/somebody /dev/disk/by-uuid; ln -s ../../vda /dev/disk/by-uuid/4711; touch /tmp/canary\n"
        "mkdir -p /usr/lib/modules; mknod /root/kmsg c 1 11; mknod /dev/canary c 1 3"
    )
    machine.write("/usr/local/lib/probe.py", Path(__file__).with_name("probe.py").read_text())
    return machine


@pytest.fixture(scope="module")
def probed(machine: Machine) -> dict[str, Any]:
    """What the probe saw in the daemon's place."""
    machine.drop_in(PROBE)
    machine.systemctl("start", UNIT)
    found: dict[str, Any] = json.loads(machine.read("/run/rolekeeper/probed"))
    return found


@pytest.fixture(scope="module")
def free(machine: Machine, probed: dict[str, Any]) -> dict[str, Any]:
    """What it sees in a unit without a sandbox."""
    assert probed
    return probe_alone(machine, "")


def probe_alone(machine: Machine, directives: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("/bin/bash", "-euc", PROBE_ALONE, stdin=LONE_UNIT + directives).out)
    return found


@pytest.mark.parametrize("directive", PROOFS)
def test_each_directive_of_the_sandbox_is_enforced(directive: str, probed: dict[str, Any]) -> None:
    expected = PROOFS[directive]
    if not expected.keys() <= probed.keys() and os.uname().machine != "x86_64":
        pytest.skip("system calls are probed by their numbers on x86-64")
    assert {name: probed[name] for name in expected} == expected


def test_every_directive_of_the_unit_has_its_proof() -> None:
    found = {name for name in directives(SERVICE) if not NO_SANDBOX.fullmatch(name)}
    assert found == PROOFS.keys() | PROVEN_BELOW
    assert found - ALONE.keys() == {"SystemCallErrorNumber", "StateDirectoryMode"}


def test_without_the_sandbox_the_same_probes_succeed(probed: dict[str, Any], free: dict[str, Any]) -> None:
    for directive in ("ProtectSystem", "TemporaryFileSystem", "PrivateTmp", "RestrictSUIDSGID", "RestrictNamespaces"):
        for name in PROOFS[directive]:
            assert free[name] != probed[name], name
    assert {free[name] for name in ("ptrace", "unshare", "setuid", "personality", "device", "mmap")}.isdisjoint(
        {"EPERM"}
    )
    assert (free["packet socket"], free["multicast"]) != (probed["packet socket"], probed["multicast"])


@pytest.mark.parametrize("directive", ALONE)
def test_each_directive_is_enforced_on_its_own(directive: str, machine: Machine, free: dict[str, Any]) -> None:
    name, expected = ALONE[directive]
    if name in (*CALLS, "foreign call") and os.uname().machine != "x86_64":
        pytest.skip("system calls are probed by their numbers on x86-64")
    companion = COMPANIONS.get(directive)
    without = probe_alone(machine, lines(companion)) if companion else free
    found = probe_alone(machine, f"{lines(companion)}\n{lines(directive)}")
    assert (found[name], without[name] == expected) == (expected, False)


def test_mounts_and_host_name_are_its_own(machine: Machine, probed: dict[str, Any]) -> None:
    for name, kind in (("mount namespace", "mnt"), ("uts namespace", "uts")):
        assert probed[name] != machine.run("readlink", f"/proc/1/ns/{kind}").out.strip()
    assert probed["sethostname"] == KEPT_OUT


def test_devices_other_than_the_harmless_ones_are_not_there(probed: dict[str, Any]) -> None:
    assert {"null", "urandom", "disk"} <= set(probed["/dev"])
    assert {"canary", "kmsg"}.isdisjoint(probed["/dev"])


def test_other_processes_and_the_kernels_own_files_are_not_there(probed: dict[str, Any]) -> None:
    assert probed["processes"] == ["/usr/bin/python3"]
    assert {"sys", "meminfo", "kcore", "cpuinfo"}.isdisjoint(probed["/proc"])


def test_what_the_daemon_needs_is_left(machine: Machine, probed: dict[str, Any]) -> None:
    assert probed["machine-id"] == machine.read("/etc/machine-id")
    assert probed["sockets"] == ["made"] * 4


@pytest.mark.parametrize("unit", [SERVICE, WAIT], ids=lambda unit: unit.stem)
def test_systemd_rates_the_exposure_as_promised(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= HIGHEST_EXPOSURE


def test_systemd_finds_nothing_wrong_with_the_units(machine: Machine) -> None:
    units = (
        "rolekeeper.service",
        "rolekeeper-wait.service",
        "rolekeeper-endpoint.socket",
        "rolekeeper-endpoint.service",
    )
    said = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    assert (said.out, said.err) == ("", "")
