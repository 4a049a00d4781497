"""The vault as it is meant to be used: one file, saved and loaded."""

import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import many
from tests.vault.conftest import FULL, NODE, OTHER_KEY, REGISTERED, SHAPES, names, save

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import (
    AcceptedFingerprint,
    HeldToken,
    IssueRecord,
    Lifetime,
    Node,
    NodeKey,
    PendingRegistration,
    Registration,
    RoleToken,
    VaultContents,
)
from rolekeeper.values import replace

LOCK = ".vault.json.rolekeeper-lock"


def test_an_absent_vault_is_empty_and_reading_it_creates_nothing(vault: FileVault, directory: Path) -> None:
    assert vault.load() == VaultContents()
    assert not directory.parent.exists()


def test_an_empty_directory_is_an_empty_vault(vault: FileVault, directory: Path) -> None:
    directory.mkdir(parents=True)
    assert vault.load() == VaultContents()


@pytest.mark.parametrize("contents", [FULL, REGISTERED, replace(FULL, node=None), VaultContents()])
def test_everything_comes_back_as_it_was_saved(contents: VaultContents, vault: FileVault) -> None:
    for before in (FULL, VaultContents()):
        save(vault, before)
        save(vault, contents)
        assert vault.load() == contents


def test_one_file_holds_the_registration_with_ssm_agents_fields_a_member_a_line(
    vault: FileVault, directory: Path
) -> None:
    save(vault, REGISTERED)
    assert names(directory) == [LOCK, "vault.json"]
    assert (directory / "vault.json").read_text(encoding="ascii") == (
        '{\n  "format": 1,\n'
        '  "RegistrationKey": {"instanceID": "mi-0123456789abcdef0", "region": "eu-central-1", "instanceType": "", '
        f'"availabilityZone": "", "privateKey": "{SHAPES[0]}", "publicKey": "", "privateKeyType": "Rsa", '
        '"privateKeyCreatedDate": "2026-11-23 16:28:55.859834 +0000 UTC"},\n'
        '  "InstanceFingerprint": {"fingerprint": "00000000-0000-4000-8000-000000000000", "hardwareHash": '
        '{"hostname-info": "h\\u00e4uschen <&>", "machine-id": "3d12\\n"}, "similarityThreshold": 40}\n}\n'
    )


def test_our_own_members_are_beside_it(vault: FileVault, directory: Path) -> None:
    save(vault, FULL)
    found = json.loads((directory / "vault.json").read_bytes())
    dated = {"privateKey": SHAPES[1], "privateKeyCreatedDate": "2026-11-24 16:28:55.859834 +0000 UTC"}
    issue = {
        "nodeID": "mi-0123456789abcdef0",
        "accessKeyID": "ASIAEXAMPLE",
        "issuedAt": "2026-11-23T16:28:55.859834Z",
        "expiresAt": "2026-11-23T17:28:55.859834Z",
        "bootID": "boot-1",
        "issuedBootMicroseconds": 12_000_003,
    }
    assert (found["pendingKey"], found["issues"]) == (dated, {"": issue, "reader": issue})
    assert found["pendingRegistration"]["privateKey"] == SHAPES[1]
    assert (found["heldToken"]["sessionToken"], found["heldToken"]["issue"]) == ("s3ssion", issue)


def test_a_vault_moved_to_another_place_is_the_same_vault(vault: FileVault, directory: Path) -> None:
    save(vault, REGISTERED)
    moved = directory.rename(directory.with_name("moved"))
    assert FileVault(moved, SystemClock()).load() == REGISTERED


def test_a_directory_behind_a_link_is_a_vault_like_another(vault: FileVault, directory: Path) -> None:
    save(vault, FULL)
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to(directory.with_name("elsewhere"))
    assert vault.load() == FULL


def test_forgetting_everything_leaves_no_file_but_the_lock(vault: FileVault, directory: Path) -> None:
    save(vault, FULL)
    save(vault, VaultContents())
    assert names(directory) == [LOCK]


def test_reading_the_vault_opens_its_file_once(vault: FileVault, capfd: Any) -> None:
    save(vault, FULL)
    child = os.fork()
    if child == 0:

        def watch(event: str, given: tuple[Any, ...]) -> None:
            if event == "open" and given[0] == "vault.json" and not given[2] & os.O_PATH:
                os.write(1, b"opened ")

        sys.addaudithook(watch)
        vault.load()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().out == "opened "


@pytest.fixture
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("generous_umask")
def test_nobody_else_can_read_anything_and_wider_modes_are_tightened_by_the_next_save(
    vault: FileVault, directory: Path
) -> None:
    for _ in range(2):
        save(vault, FULL)
        modes = [stat.S_IMODE((directory / name).stat().st_mode) for name in (".", LOCK, "vault.json")]
        assert modes == [0o700, 0o600, 0o600]
        (directory / "vault.json").chmod(0o644)
        directory.chmod(0o755)


REG, ACCEPTED = NODE.registration, NODE.accepted
UNREADABLE = {
    "fingerprint": replace(FULL, node=Node(REG, replace(ACCEPTED, fingerprint="not a UUID"))),
    "threshold": replace(FULL, node=Node(REG, replace(ACCEPTED, threshold=101))),
    "node id": replace(FULL, node=Node(replace(REG, node_id="i-0123456789abcdef0"), ACCEPTED)),
    "region": replace(FULL, node=Node(replace(REG, region="nowhere"), ACCEPTED)),
    "neither": replace(FULL, node=Node(replace(REG, node_id="", region=""), ACCEPTED)),
    "pending key": replace(FULL, pending_key=NodeKey("AAAA", OTHER_KEY.created_at)),
}


@pytest.mark.parametrize("spoiled", UNREADABLE.values(), ids=UNREADABLE)
def test_contents_that_could_not_be_read_back_are_not_written(spoiled: VaultContents, vault: FileVault) -> None:
    save(vault, FULL)
    with pytest.raises(VaultError, match="Cannot write") as caught:
        save(vault, spoiled)
    assert caught.value.code == "vault-contents-malformed"
    assert vault.load() == FULL


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maps = st.dictionaries(words, words, max_size=3)
times = st.datetimes(timezones=st.just(UTC))
uuids = st.uuids().map(str)
node_ids = st.from_regex(r"\Ami-[0-9a-f]{17}\Z")
regions = st.sampled_from(["us-east-1", "cn-north-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"])
keys = st.builds(NodeKey, st.sampled_from(SHAPES), times)
accepted = st.builds(AcceptedFingerprint, uuids, maps, st.one_of(st.just(-1), st.integers(0, 100)))
issues = st.builds(IssueRecord, words, words, st.builds(Lifetime, times, times, st.timedeltas()), words)
tokens = st.builds(RoleToken, words, words, words, times, st.booleans())
contents = st.builds(
    VaultContents,
    node=st.none() | st.builds(Node, st.builds(Registration, node_ids, regions, keys), accepted),
    measured=st.none() | maps,
    pending_key=st.none() | keys,
    superseded_key=st.none() | keys,
    pending_registration=st.none() | st.builds(PendingRegistration, words, regions, uuids, maps, keys),
    issues=st.dictionaries(words, issues, max_size=2),
    held_token=st.none() | st.builds(HeldToken, tokens, issues),
)


@many(40)
@given(contents)
def test_whatever_is_saved_is_what_is_loaded(saved: VaultContents) -> None:
    with tempfile.TemporaryDirectory() as directory:
        vault = FileVault(directory, SystemClock())
        save(vault, saved)
        assert vault.load() == saved
