"""SSM Agent's vault, healthy and as its faults leave it behind."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.adapters.vault.agent import DEFAULT_DIRECTORY, agent_running, read_agent_vault
from rolekeeper.adapters.vault.agentformat import (
    MalformedError,
    encode_fingerprint,
    encode_manifest,
    encode_registration,
    format_go_time,
    parse_fingerprint,
    parse_go_time,
)
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import AcceptedFingerprint

TREES = Path(__file__).parents[1] / "vectors" / "vaults"
CREATED = {
    "registered-never-started-fake-dmidecode": datetime(2026, 11, 23, 16, 17, 31, 907970, UTC),
    "running-host-dmidecode-fails-like-absent": datetime(2026, 11, 23, 16, 28, 55, 859834, UTC),
    "tz-kolkata": datetime(2026, 11, 23, 16, 57, 24, 905080, UTC),
    "after-machine-id-flip-flop": datetime(2026, 11, 23, 16, 37, 14, 620585, UTC),
}
HEALTHY = "tz-kolkata"


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A healthy vault of the agent's to spoil."""
    shutil.copytree(TREES / HEALTHY, tmp_path / "ssm")
    return tmp_path / "ssm" / "Vault"


def refused(directory: Path) -> RolekeeperError:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()}
    with pytest.raises(RolekeeperError) as caught:
        read_agent_vault(directory)
    assert {path: path.read_bytes() for path in before} == before
    assert caught.value.message.startswith("Cannot ")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("tree", CREATED)
def test_a_healthy_registration_is_read(tree: str) -> None:
    found = read_agent_vault(TREES / tree / "Vault")
    assert f'"{found.registration.node_id}"' in (TREES / tree / "registration").read_text(encoding="utf-8")
    assert found.registration.region == "us-east-1"
    assert found.registration.key.created_at == CREATED[tree]
    assert found.accepted.hardware_hash["machine-id"] == "3d1219c7c4c5404aaa1f6d2a48adfda4\n"
    assert (len(found.accepted.fingerprint), found.accepted.threshold) == (36, 40)


@pytest.mark.parametrize("tree", CREATED)
def test_what_is_encoded_for_ssm_agent_equals_its_own_files_but_for_the_zone_of_the_date(tree: str) -> None:
    recorded = {path.name: path.read_bytes() for path in (TREES / tree / "Vault").rglob("*") if path.is_file()}
    found = read_agent_vault(TREES / tree / "Vault")
    assert encode_manifest(json.loads(recorded["Manifest"])) == recorded["Manifest"]
    assert encode_fingerprint(found.accepted) == recorded["InstanceFingerprint"]
    written = json.loads(recorded["RegistrationKey"])["privateKeyCreatedDate"]
    ours = format_go_time(found.registration.key.created_at)
    assert parse_go_time(written) == parse_go_time(ours)
    assert encode_registration(found.registration) == recorded["RegistrationKey"].replace(
        written.encode(), ours.encode()
    )


def test_what_is_encoded_for_ssm_agent_has_gos_escapes() -> None:
    accepted = AcceptedFingerprint("00000000-0000-4000-8000-000000000000", {"b": "häuschen <&>", "a": "\n"}, -1)
    encoded = (
        '{"fingerprint":"00000000-0000-4000-8000-000000000000","hardwareHash":'
        '{"a":"\\n","b":"häuschen \\u003c\\u0026\\u003e"},"similarityThreshold":-1}'
    ).encode()
    assert encode_fingerprint(accepted) == encoded
    assert parse_fingerprint(encoded) == accepted


def test_a_lost_registration_is_told_without_the_file_beside_the_vault(agent: Path) -> None:
    shutil.copytree(TREES / "after-failed-reregister" / "Vault", agent, dirs_exist_ok=True)
    for content in (b"{", None):
        (agent.parent / "registration").unlink() if content is None else (agent.parent / "registration").write_bytes(
            content
        )
        assert "mi-" not in refused(agent).message


def test_files_are_found_by_their_last_name_wherever_the_manifest_says_they_are(agent: Path) -> None:
    (agent / "Store" / "RegistrationKey").rename(agent / "Store" / "Renamed")
    (agent / "Manifest").write_text(
        '{"InstanceFingerprint":"/elsewhere/InstanceFingerprint","RegistrationKey":"/elsewhere/Store/Renamed"}',
        encoding="utf-8",
    )
    assert read_agent_vault(agent) == read_agent_vault(TREES / HEALTHY / "Vault")


@pytest.mark.parametrize(
    ("file", "old", "new", "code"),
    [
        ("Manifest", '"RegistrationKey"', '"OtherKey"', "agent-vault-unregistered"),
        ("Manifest", '"InstanceFingerprint":', '"OtherPrint":', "agent-vault-damaged"),
        ("Manifest", '{"Inst', "{Inst", "agent-vault-damaged"),
        ("Manifest", "/Store/RegistrationKey", "/Store/..", "agent-vault-not-a-file"),
        ("Manifest", "/Store/RegistrationKey", "/Store/Gone", "agent-vault-damaged"),
        ("Store/RegistrationKey", '"mi-', '"i-', "agent-vault-damaged"),
        ("Store/RegistrationKey", '"privateKey":"', '"privateKey":"AAAA', "agent-vault-damaged"),
        ("Store/RegistrationKey", "us-east-1", "", "agent-vault-damaged"),
        ("Store/InstanceFingerprint", '"fingerprint":"', '"fingerprint":"0', "agent-vault-damaged"),
    ],
)
def test_what_is_wrong_is_told_and_no_key_is(file: str, old: str, new: str, code: str, agent: Path) -> None:
    before = (agent / file).read_text(encoding="utf-8")
    assert old in before
    (agent / file).write_text(before.replace(old, new), encoding="utf-8")
    error = refused(agent)
    assert error.code == code
    assert "MIIE" not in error.message


@pytest.mark.parametrize("file", ["Manifest", "Store/RegistrationKey", "Store/InstanceFingerprint"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_no_part_of_a_file_passes_for_the_whole(file: str, share: float, agent: Path) -> None:
    whole = (agent / file).read_bytes()
    (agent / file).write_bytes(whole[: int(len(whole) * share)])
    error = refused(agent)
    assert error.code == ("agent-vault-damaged" if share else "agent-vault-truncated")
    assert str(agent / file) in error.message


def test_a_cleared_fingerprint_is_damage(agent: Path) -> None:
    (agent / "Store" / "InstanceFingerprint").write_text(
        '{"fingerprint":"","hardwareHash":null,"similarityThreshold":0}', encoding="utf-8"
    )
    assert refused(agent).code == "agent-vault-damaged"


def test_a_key_of_an_old_agent_that_wrote_no_date_is_of_any_age(agent: Path) -> None:
    path = agent / "Store" / "RegistrationKey"
    before, _, _ = path.read_text(encoding="utf-8").partition(',"privateKeyCreatedDate"')
    path.write_text(before + "}", encoding="utf-8")
    assert read_agent_vault(agent).registration.key.created_at == datetime(1970, 1, 1, tzinfo=UTC)


READ = """
import sys
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.errors import VaultError
try:
    read_agent_vault(sys.argv[1])
except VaultError as error:
    print(error.code, error.hint, sep="|")
"""


def test_a_vault_that_only_root_may_enter_asks_for_root(agent: Path) -> None:
    """SSM Agent gives its directories mode 0600: even root needs a capability to enter."""
    agent.chmod(0o600)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*powerless, sys.executable, "-c", READ, str(agent)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    agent.chmod(0o700)
    assert done.stdout == "agent-vault-permission-denied|run this as root\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-23 16:28:55.859834498 +0000 UTC", datetime(2026, 11, 23, 16, 28, 55, 859834, UTC)),
        ("2026-11-23 22:27:24.905080558 +0530 IST", datetime(2026, 11, 23, 16, 57, 24, 905080, UTC)),
        ("2026-11-23 13:28:55.5 -0300 -03", datetime(2026, 11, 23, 16, 28, 55, 500000, UTC)),
        ("2026-11-23 16:28:55 +0000 UTC", datetime(2026, 11, 23, 16, 28, 55, 0, UTC)),
        ("2026-11-23 16:28:55.859 +0000 UTC m=+0.123456789", datetime(2026, 11, 23, 16, 28, 55, 859000, UTC)),
        ("2026-11-23 22:13:55 +0545 +0545", datetime(2026, 11, 23, 16, 28, 55, 0, UTC)),
        ("2026-11-23 16:28:55.0000019 +0000 UTC", datetime(2026, 11, 23, 16, 28, 55, 1, UTC)),
    ],
)
def test_gos_dates_are_read_in_every_zone(written: str, meant: datetime) -> None:
    assert parse_go_time(written) == meant


@given(st.datetimes(timezones=st.timezones()))
def test_a_date_that_was_written_is_read_again(at: datetime) -> None:
    try:
        expected = at.astimezone(UTC)
    except OverflowError:  # next to the calendar's ends
        return
    assert parse_go_time(format_go_time(expected)) == expected


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{1,9} [+-][0-9]{4} UTC", fullmatch=True))
def test_any_other_text_is_no_date(written: str) -> None:
    try:
        found = parse_go_time(written)
    except MalformedError:
        return
    assert found.tzinfo is UTC


RUNNING = {
    "the vault itself": ("amazon-ssm-agent", "agent", "agent", True),
    "a copy of it": ("amazon-ssm-agent", "agent", "copy", True),
    "its worker": ("ssm-agent-worker", "agent", "agent", True),
    "a vault of its own, in a container": ("amazon-ssm-agent", "other", "agent", False),
    "no vault": ("amazon-ssm-agent", "none", "agent", False),
    "another program's process": ("amazon-ssm", "agent", "agent", False),
    "an agent that has ended": ("", "agent", "agent", False),
}


def process(proc: Path, name: str, vault: Path) -> None:
    """A process as /proc shows it; one without a name has ended."""
    (proc / "4711" / "root" / "var/lib/amazon/ssm").mkdir(parents=True)
    (proc / "4711" / "root" / DEFAULT_DIRECTORY[1:]).symlink_to(vault)
    (proc / "4711" / "comm").write_text(f"{name}\n")
    (proc / "4711" / "cmdline").write_text(f"/usr/bin/{name}\0" if name else "")


@pytest.mark.parametrize(("name", "its", "ours", "expected"), RUNNING.values(), ids=RUNNING)
def test_an_agent_counts_only_while_it_runs_on_this_registration(
    name: str, its: str, ours: str, expected: object, tmp_path: Path
) -> None:
    for vault, tree in (("agent", HEALTHY), ("copy", HEALTHY), ("other", next(iter(CREATED)))):
        shutil.copytree(TREES / tree / "Vault", tmp_path / vault)
    process(tmp_path / "proc", name[:15], tmp_path / its)
    assert agent_running(tmp_path / ours, tmp_path / "proc") is expected


def test_this_machines_processes_can_be_looked_at(tmp_path: Path) -> None:
    assert not agent_running(tmp_path)
