"""Vaults in tmp_path, and contents for them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
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

AT = datetime(2026, 11, 23, 16, 28, 55, 859834, tzinfo=UTC)
# The shape of a PKCS#1 key: nine integers in a sequence. The vault looks at the shape, not at the numbers.
SHAPES = ["MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=", "MBsCAQACAQMCAQUCAQUCAQYCAQcCAQgCAQkCAQo="]
UUIDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]
NODE_ID = "mi-0123456789abcdef0"
KEY, OTHER_KEY = NodeKey(SHAPES[0], AT), NodeKey(SHAPES[1], AT + timedelta(days=1))
NODE = Node(
    Registration(NODE_ID, "eu-central-1", KEY),
    AcceptedFingerprint(UUIDS[0], {"machine-id": "3d12\n", "hostname-info": "häuschen <&>"}, 40),
)
ISSUE = IssueRecord(
    NODE_ID, "ASIAEXAMPLE", Lifetime(AT, AT + timedelta(hours=1), timedelta(seconds=12, microseconds=3)), "boot-1"
)
REGISTERED = VaultContents(NODE)
FULL = VaultContents(
    NODE,
    measured={"machine-id": "3d12\n", "hostname-info": "other"},
    pending_key=OTHER_KEY,
    superseded_key=KEY,
    pending_registration=PendingRegistration(UUIDS[1], "us-gov-west-1", UUIDS[2], {"machine-id": "x"}, OTHER_KEY),
    issues={"": ISSUE, "reader": ISSUE},
    held_token=HeldToken(RoleToken("ASIAEXAMPLE", "s3cret", "s3ssion", AT, update_key_pair=True), ISSUE),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vault"


@pytest.fixture
def vault(directory: Path) -> FileVault:
    return FileVault(directory, SystemClock())


def save(vault: FileVault, contents: VaultContents) -> None:
    with vault.lock(timedelta(seconds=5)):
        vault.save(contents)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
