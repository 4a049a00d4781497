"""This machine's hardware hash, with real programs and files."""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.hardware import HardwareProbe, Sources
from rolekeeper.model import COMPONENTS, SMBIOS_COMPONENTS, Hardware

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = VECTORS / "vaults" / "registered-never-started-fake-dmidecode" / "Vault" / "Store" / "InstanceFingerprint"

Script = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(body: str) -> Path:
        path = tmp_path / "dmidecode"
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


def look(**sources: object) -> Hardware:
    return HardwareProbe(SystemClock(), Sources(**sources)).look()  # type: ignore[arg-type] # each test names its own


def test_the_smbios_hashes_equal_those_that_ssm_agent_recorded(script: Script) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["hardwareHash"]
    found = look(dmidecode=script(f'cat {VECTORS}/dmidecode/"$2".txt'))
    assert {name: found.hash[name] for name in SMBIOS_COMPONENTS} == {
        name: recorded[name] for name in SMBIOS_COMPONENTS
    }
    assert not set(SMBIOS_COMPONENTS) & set(found.unreadable)


def test_every_component_is_there_and_says_why_when_it_is_empty() -> None:
    found = look()
    assert tuple(found.hash) == COMPONENTS
    assert {name for name, value in found.hash.items() if not value} == set(found.unreadable)
    assert all(found.unreadable.values())


def test_the_real_machine_is_measured_as_its_own_programs_print_it() -> None:
    found = look()
    assert found.hash["machine-id"] == Path("/etc/machine-id").read_bytes().decode()
    assert found.hash["hostname-info"] == os.uname().nodename
    listing = subprocess.run(
        ["ls", "-l", "/dev/disk/by-uuid"], capture_output=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    expected = "" if listing.returncode else base64.b64encode(hashlib.md5(listing.stdout).digest()).decode()  # noqa: S324 - the format's
    assert found.hash["disk-info"] == expected
    assert found.hash["ipaddress-info"] in {
        address.address for addresses in psutil.net_if_addrs().values() for address in addresses
    } | {""}


def test_a_listing_is_hashed_as_ls_prints_it_without_our_locale_and_time_zone(tmp_path: Path) -> None:
    (tmp_path / "sda1").touch()
    command = ["/bin/ls", "-l", str(tmp_path)]
    ours = {**os.environ, "TZ": "Asia/Kolkata", "TIME_STYLE": "full-iso"}
    plain = subprocess.run(command, capture_output=True, check=True, env={}).stdout
    assert subprocess.run(command, capture_output=True, check=True, env=ours).stdout != plain
    script = (
        "import pathlib; from rolekeeper.adapters.clock import SystemClock;"
        "from rolekeeper.adapters.hardware import HardwareProbe, Sources;"
        f"print(HardwareProbe(SystemClock(), Sources(disks=pathlib.Path({str(tmp_path)!r}))).look().hash['disk-info'])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=ours, text=True).stdout
    assert found.strip() == base64.b64encode(hashlib.md5(plain).digest()).decode()  # noqa: S324 - the format's


def test_a_program_sees_nothing_of_our_environment(script: Script) -> None:
    found = look(
        dmidecode=script(
            'test "$(env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD=)" = '
            '"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin" && ! read -r line'
        )
    )
    assert found.hash["bios-hash"] == base64.b64encode(hashlib.md5(b"").digest()).decode()  # noqa: S324 - the format's


@pytest.mark.parametrize(
    ("body", "reason", "transient"),
    [
        ("echo half; echo /dev/mem: Permission denied >&2; exit 1", "status 1: /dev/mem: Permission denied", set()),
        ("kill -9 $$", "status -9", set(SMBIOS_COMPONENTS)),
    ],
)
def test_a_program_that_fails_leaves_its_component_empty_with_its_own_words(
    script: Script, body: str, reason: str, transient: set[str]
) -> None:
    found = look(dmidecode=script(body))
    assert found.transient & set(SMBIOS_COMPONENTS) == transient
    assert [found.hash[name] for name in SMBIOS_COMPONENTS] == ["", "", "", ""]
    assert all(found.unreadable[name].endswith(reason) for name in SMBIOS_COMPONENTS)


def test_an_absent_program_is_named(tmp_path: Path) -> None:
    found = look(dmidecode=tmp_path / "none")
    assert found.unreadable["system-hash"] == f"cannot run {tmp_path / 'none'}: No such file or directory"
    assert "system-hash" not in found.transient


def test_programs_that_hang_are_ended_together_with_what_they_started(script: Script, tmp_path: Path) -> None:
    path = script(f"sleep 600 & echo $! >> {tmp_path}/started; echo $$ >> {tmp_path}/started; wait")
    found = look(dmidecode=path, patience=timedelta(seconds=1))
    assert found.unreadable["memory-hash"] == f"{path} did not end in time"
    assert "memory-hash" in found.transient
    started = [int(pid) for pid in (tmp_path / "started").read_text(encoding="ascii").split()]
    assert len(started) == 8
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in started if psutil.pid_exists(pid)], timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_all_programs_run_at_once(script: Script, tmp_path: Path) -> None:
    """Each waits until all four have started: one after the other, none would end."""
    body = f'echo x >> {tmp_path}/started; while [ "$(wc -l < {tmp_path}/started)" -lt 4 ]; do sleep 0.02; done'
    assert not set(SMBIOS_COMPONENTS) & set(look(dmidecode=script(body)).unreadable)


def test_the_machine_id_is_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_bytes(b"3d12\r\n\n")
    assert look(machine_id=(tmp_path / "machine-id",)).hash["machine-id"] == "3d12\r\n\n"


def test_the_machine_id_of_dbus_stands_in_for_an_absent_one(tmp_path: Path) -> None:
    (tmp_path / "dbus").write_bytes(b"from dbus\n")
    assert look(machine_id=(tmp_path / "none", tmp_path / "dbus")).hash["machine-id"] == "from dbus\n"


@pytest.mark.parametrize(("content", "reason"), [(None, "absent"), (b"", "empty"), (b"\xff\xfe", "is not text")])
def test_a_machine_id_that_is_none_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "machine-id").write_bytes(content)
    found = look(machine_id=(tmp_path / "machine-id",))
    assert found.hash["machine-id"] == ""
    assert reason in found.unreadable["machine-id"]


PROBE = """
import json
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.hardware import HardwareProbe
found = HardwareProbe(SystemClock()).look()
print(json.dumps([found.hash, dict(found.unreadable)]))
"""


def test_the_host_name_is_measured_as_it_is() -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-ru", "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    script = 'import socket; socket.sethostname(b"caf\\xff")\n' + PROBE
    done = subprocess.run(["unshare", "-ru", sys.executable, "-c", script], check=True, capture_output=True)
    found, unreadable = json.loads(done.stdout)
    assert (found["hostname-info"], unreadable["hostname-info"]) == ("", "what was read is not text")
    assert look().hash["hostname-info"] == socket.gethostname()


def test_the_clock_runs_on_both_of_its_clocks() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.sleep(timedelta(milliseconds=1))
    after = clock.now()
    assert after.boot - before.boot >= timedelta(milliseconds=1)
    assert after.wall.utcoffset() == timedelta()
    assert clock.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def test_the_service_managers_word_for_the_boot_reads_like_the_kernels() -> None:
    digits = SystemClock().boot_id().replace("-", "")
    assert SystemClock(digits).boot_id() == SystemClock().boot_id()


def test_a_sleep_that_is_over_already_is_none() -> None:
    SystemClock().sleep(timedelta(seconds=-1))
