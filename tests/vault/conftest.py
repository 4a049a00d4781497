"""Vaults in tmp_path, and contents for them."""

from dataclasses import replace
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
    NodeKey,
    PendingRegistration,
    Registration,
    RoleToken,
    VaultContents,
)

AT = datetime(2026, 11, 23, 16, 28, 55, 859834, tzinfo=UTC)
# The shape of a PKCS#1 key: nine integers in a sequence. The vault looks at the shape, not at the numbers.
KEYS = {
    name: f"MBsCAQACAQMCAQ{letter}CAQUCAQYCAQcCAQgCAQkCAQo=" for name, letter in {"first": "Q", "second": "U"}.items()
}
UUIDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(10)]


@pytest.fixture
def key() -> NodeKey:
    return NodeKey(KEYS["first"], AT)


@pytest.fixture
def other_key() -> NodeKey:
    return NodeKey(KEYS["second"], AT + timedelta(days=1))


@pytest.fixture
def registered(key: NodeKey) -> VaultContents:
    """What a vault holds after registering."""
    return VaultContents(
        registration=Registration("mi-0123456789abcdef0", "eu-central-1", key),
        fingerprint=AcceptedFingerprint(UUIDS[0], {"machine-id": "3d12\n", "hostname-info": "häuschen <&>"}, 40),
    )


@pytest.fixture
def full(registered: VaultContents, key: NodeKey, other_key: NodeKey) -> VaultContents:
    """Something in every file."""
    life = Lifetime(AT, AT + timedelta(hours=1), timedelta(seconds=12, microseconds=3))
    issue = IssueRecord("mi-0123456789abcdef0", "ASIAEXAMPLE", life, "boot-1")
    return replace(
        registered,
        measured={"machine-id": "3d12\n", "hostname-info": "other"},
        trials={"b": UUIDS[1], "a": UUIDS[2]},
        pending_key=other_key,
        superseded_key=key,
        pending_registration=PendingRegistration(UUIDS[3], "us-gov-west-1", UUIDS[4], {"machine-id": "x"}, other_key),
        issue=issue,
        held_token=HeldToken(RoleToken("ASIAEXAMPLE", "secret", "session", AT, update_key_pair=True), issue),
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vault"


@pytest.fixture
def vault(directory: Path) -> FileVault:
    return FileVault(directory, SystemClock())
