"""The vault as it is meant to be used: saved, loaded, and laid out as SSM Agent lays out its own."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import (
    AcceptedFingerprint,
    HeldToken,
    IssueRecord,
    Lifetime,
    NodeKey,
    PendingRegistration,
    Registration,
    RoleToken,
    VaultContents,
)

TREES = Path(__file__).parents[1] / "vectors" / "vaults"
HEALTHY = (
    "registered-never-started-fake-dmidecode",
    "running-host-dmidecode-fails-like-absent",
    "tz-kolkata",
    "after-machine-id-flip-flop",
)
SHAPES = ["MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=", "MBsCAQACAQMCAQUCAQUCAQYCAQcCAQgCAQkCAQo="]


def files_below(directory: Path) -> dict[str, bytes]:
    """Every file of a vault but the lock."""
    found = (path for path in directory.rglob("*") if path.is_file() and not path.name.endswith("-lock"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def save(vault: FileVault, contents: VaultContents) -> None:
    with vault.lock(timedelta(seconds=5)):
        vault.save(contents)


def test_an_absent_vault_is_empty_and_reading_it_creates_nothing(vault: FileVault, directory: Path) -> None:
    assert vault.load() == VaultContents()
    assert not directory.exists()


def test_an_empty_directory_is_an_empty_vault(vault: FileVault, directory: Path) -> None:
    directory.mkdir(parents=True)
    assert vault.load() == VaultContents()


def test_everything_comes_back_as_it_was_saved(vault: FileVault, full: VaultContents) -> None:
    save(vault, full)
    assert vault.load() == full


def test_a_registration_is_kept_in_ssm_agents_layout(
    vault: FileVault, directory: Path, registered: VaultContents
) -> None:
    save(vault, registered)
    store = directory / "Store"
    assert files_below(directory) == {
        "Manifest": f'{{"InstanceFingerprint":"{store}/InstanceFingerprint",'
        f'"RegistrationKey":"{store}/RegistrationKey"}}'.encode(),
        "Store/InstanceFingerprint": '{"fingerprint":"00000000-0000-4000-8000-000000000000","hardwareHash":'
        '{"hostname-info":"häuschen \\u003c\\u0026\\u003e","machine-id":"3d12\\n"},"similarityThreshold":40}'.encode(),
        "Store/RegistrationKey": b'{"instanceID":"mi-0123456789abcdef0","region":"eu-central-1","instanceType":"",'
        b'"availabilityZone":"","privateKey":"' + SHAPES[0].encode() + b'","publicKey":"","privateKeyType":"Rsa",'
        b'"privateKeyCreatedDate":"2026-11-23 16:28:55.859834 +0000 UTC"}',
    }


@pytest.mark.parametrize("tree", HEALTHY)
def test_a_vault_of_ssm_agent_is_read_and_left_byte_for_byte(tree: str, vault: FileVault, directory: Path) -> None:
    shutil.copytree(TREES / tree / "Vault", directory)
    before = files_below(directory)
    contents = vault.load()
    assert contents.registration is not None
    assert contents.registration.node_id in (TREES / tree / "registration").read_text(encoding="utf-8")
    save(vault, contents)
    after = files_below(directory)
    del before["Manifest"], after["Manifest"]  # ours names our own paths
    assert after == before


@pytest.mark.parametrize("tree", HEALTHY)
def test_what_is_written_for_ssm_agents_registration_equals_its_own_files(
    tree: str, vault: FileVault, directory: Path
) -> None:
    recorded = TREES / tree / "Vault"
    contents = read_agent_vault(recorded)
    assert contents.registration is not None
    save(vault, contents)
    written = files_below(directory)
    manifest = written["Manifest"].replace(str(directory).encode(), b"/var/lib/amazon/ssm/Vault")
    assert manifest == (recorded / "Manifest").read_bytes()
    assert written["Store/InstanceFingerprint"] == (recorded / "Store" / "InstanceFingerprint").read_bytes()
    key = json.loads((recorded / "Store" / "RegistrationKey").read_bytes())
    created = contents.registration.key.created_at.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0") + " +0000 UTC"
    expected = (recorded / "Store" / "RegistrationKey").read_bytes()
    assert written["Store/RegistrationKey"] == expected.replace(key["privateKeyCreatedDate"].encode(), created.encode())


def test_a_vault_moved_to_another_place_is_the_same_vault(
    vault: FileVault, directory: Path, registered: VaultContents
) -> None:
    save(vault, registered)
    moved = directory.rename(directory.with_name("moved"))
    assert FileVault(moved, SystemClock()).load() == registered


def test_forgetting_everything_leaves_no_file(vault: FileVault, directory: Path, full: VaultContents) -> None:
    save(vault, full)
    save(vault, VaultContents())
    assert files_below(directory) == {}
    assert vault.load() == VaultContents()


def test_a_fingerprint_without_a_registration_is_kept(vault: FileVault, registered: VaultContents) -> None:
    save(vault, replace(registered, registration=None))
    assert vault.load() == replace(registered, registration=None)


@pytest.mark.parametrize("tree", ["after-clear-and-failed-register", "after-failed-reregister"])
def test_a_registration_that_ssm_agent_lost_is_none(tree: str, vault: FileVault, directory: Path) -> None:
    """The files are whole and say so themselves; nothing is lost by registering over them."""
    shutil.copytree(TREES / tree / "Vault", directory)
    contents = vault.load()
    assert contents.registration is None
    assert contents.fingerprint is not None


def test_a_vault_that_ssm_agent_cleared_is_empty(vault: FileVault, directory: Path, registered: VaultContents) -> None:
    save(vault, registered)
    (directory / "Store" / "InstanceFingerprint").write_text(
        '{"fingerprint":"","hardwareHash":null,"similarityThreshold":0}', encoding="utf-8"
    )
    (directory / "Store" / "RegistrationKey").write_text(
        '{"instanceID":"","region":"","instanceType":"","availabilityZone":"","privateKey":"","publicKey":"",'
        '"privateKeyType":"","privateKeyCreatedDate":""}',
        encoding="utf-8",
    )
    assert vault.load() == VaultContents()
    save(vault, registered)
    assert vault.load() == registered


@pytest.mark.parametrize("part", ["measured", "trials", "pending_key", "superseded_key", "issue", "held_token"])
def test_what_belongs_to_another_node_counts_as_absent(
    part: str, vault: FileVault, directory: Path, full: VaultContents
) -> None:
    save(vault, full)
    assert full.registration is not None
    path = directory / "Store" / "RegistrationKey"
    path.write_bytes(path.read_bytes().replace(b"mi-0123456789abcdef0", b"mi-ffffffffffffffff0"))
    assert getattr(vault.load(), part) == getattr(VaultContents(), part)
    assert vault.load().damaged == ()


def test_trials_stay_in_the_order_in_which_they_were_made(vault: FileVault, full: VaultContents) -> None:
    save(vault, full)
    assert list(vault.load().trials) == ["b", "a"]


def test_only_what_changed_is_written(vault: FileVault, directory: Path, full: VaultContents) -> None:
    save(vault, full)
    before = {path: (directory / path).stat().st_ino for path in files_below(directory)}
    save(vault, full)
    assert {path: (directory / path).stat().st_ino for path in files_below(directory)} == before
    save(vault, replace(full, measured={"machine-id": "y"}, issue=None))
    after = {path: (directory / path).stat().st_ino for path in files_below(directory)}
    assert {path for path in before if before[path] != after.get(path)} == {"MeasuredHash", "IssueRecord"}


@pytest.fixture
def generous_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("generous_umask")
def test_nobody_else_can_read_anything(vault: FileVault, directory: Path, full: VaultContents) -> None:
    save(vault, full)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, directory / "Store")} == {0o700}


def test_wider_modes_are_tightened_by_the_next_save(vault: FileVault, directory: Path, full: VaultContents) -> None:
    save(vault, full)
    for path in (directory, directory / "Store", directory / "Store" / "RegistrationKey", directory / "HeldToken"):
        path.chmod(0o755)
    save(vault, full)
    assert not any(path.stat().st_mode & 0o077 for path in (directory, *directory.rglob("*")))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda full: replace(full, fingerprint=None),
        lambda full: replace(full, fingerprint=replace(full.fingerprint, fingerprint="not a UUID")),
        lambda full: replace(full, fingerprint=replace(full.fingerprint, threshold=101)),
        lambda full: replace(full, registration=replace(full.registration, node_id="i-0123456789abcdef0")),
        lambda full: replace(full, registration=replace(full.registration, region="nowhere")),
        lambda full: replace(full, registration=replace(full.registration, node_id="", region="")),
        lambda full: replace(full, pending_key=NodeKey("AAAA", full.pending_key.created_at)),
    ],
    ids=["no fingerprint", "fingerprint", "threshold", "node id", "region", "neither", "pending key"],
)
def test_contents_that_could_not_be_read_back_are_not_written(
    spoil: Callable[[VaultContents], VaultContents], vault: FileVault, full: VaultContents
) -> None:
    save(vault, full)
    with pytest.raises(VaultError, match="Cannot write") as caught:
        save(vault, spoil(full))
    assert caught.value.code == "vault-contents-malformed"
    assert vault.load() == full


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maps = st.dictionaries(words, words, max_size=3)
times = st.datetimes(timezones=st.just(UTC))
spans = st.timedeltas()
uuids = st.uuids().map(str)
node_ids = st.from_regex(r"\Ami-[0-9a-f]{17}\Z")
regions = st.sampled_from(["us-east-1", "cn-north-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"])
keys = st.builds(NodeKey, st.sampled_from(SHAPES), times)
percent = st.one_of(st.just(-1), st.integers(0, 100))


@st.composite
def vault_contents(draw: st.DrawFn) -> VaultContents:
    registration = draw(st.none() | st.builds(Registration, node_ids, regions, keys))
    accepted = st.builds(AcceptedFingerprint, uuids, maps, percent)
    node_id = st.just(registration.node_id if registration else "")
    issues = st.builds(IssueRecord, node_id, words, st.builds(Lifetime, times, times, spans), words)
    tokens = st.builds(RoleToken, words, words, words, times, st.booleans())
    return VaultContents(
        registration=registration,
        fingerprint=draw(accepted if registration else st.none() | accepted),
        measured=draw(st.none() | maps),
        trials=draw(st.dictionaries(words, uuids, max_size=3)),
        pending_key=draw(st.none() | keys),
        superseded_key=draw(st.none() | keys),
        pending_registration=draw(st.none() | st.builds(PendingRegistration, words, regions, uuids, maps, keys)),
        issue=draw(st.none() | issues),
        held_token=draw(st.none() | st.builds(HeldToken, tokens, issues)),
    )


@settings(deadline=None, max_examples=40)
@given(vault_contents(), vault_contents())
def test_whatever_was_there_before_what_is_saved_is_what_is_loaded(first: VaultContents, second: VaultContents) -> None:
    with tempfile.TemporaryDirectory() as directory:
        vault = FileVault(directory, SystemClock())
        for contents in (first, second, second):
            save(vault, contents)
            assert vault.load() == contents
