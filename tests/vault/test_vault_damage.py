"""A vault that is not whole is an error that names the file and the remedy, never an empty vault."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.packages.conftest import left_out

from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents

ESSENTIAL = (
    "Manifest",
    "Store/RegistrationKey",
    "Store/InstanceFingerprint",
    "PendingKey",
    "SupersededKey",
    "PendingRegistration",
)
DISPENSABLE = {
    "MeasuredHash": "measured",
    "TrialFingerprints": "trials",
    "IssueRecord": "issue",
    "HeldToken": "held_token",
}
GARBAGE = [
    b"",
    b"\0" * 300,
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{}",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"fingerprint":7,"instanceID":[],"nodeID":null,"activationID":{}}',
    b'{"InstanceFingerprint":1,"RegistrationKey":2,"nodeID":"mi-0123456789abcdef0","hardwareHash":{"a":1}}',
]

Edit = tuple[str, bytes, bytes]
KEY, PRINT = "Store/RegistrationKey", "Store/InstanceFingerprint"
EDITS: dict[str, Edit] = {
    "node id": (KEY, b"mi-0123456789abcdef0", b"i-0123456789abcdef0"),
    "node id of another form": (KEY, b"mi-0123456789abcdef0", b"mi-0123456789ABCDEF0"),
    "node id lost": (KEY, b"mi-0123456789abcdef0", b""),
    "region": (KEY, b"eu-central-1", b"eu-central"),
    "region lost": (KEY, b"eu-central-1", b""),
    "region of another kind": (KEY, b"eu-central-1", b"fips-us-east-1"),
    "region with a host": (KEY, b"eu-central-1", b"eu-central-1.example"),
    "key type": (KEY, b"Rsa", b"Ed25519"),
    "key that is no base64": (KEY, b"MBsCAQAC", b"MBsC*QAC"),
    "key with a wrong length": (KEY, b"MBsCAQAC", b"MBwCAQAC"),
    "key with another tag": (KEY, b"MBsCAQAC", b"MRsCAQAC"),
    "key with another version": (KEY, b"MBsCAQAC", b"MBsCAQEC"),
    "key cut in its base64": (KEY, b"CAQcCAQgCAQkCAQo=", b"CAQcCAQg"),
    "key with a public key's integers": (KEY, b"MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=", b"MAYCAQACAQM="),
    "key with something behind it": (KEY, b"CAQkCAQo=", b"CAQkCAQp4eXo="),
    "key that is text": (KEY, b"MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=", b"aGVsbG8="),
    "key lost": (KEY, b"MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=", b""),
    "date": (KEY, b"2026-11-23 16:28", b"2026-11-23T16:28"),
    "date that no calendar has": (KEY, b"2026-11-23", b"2026-11-31"),
    "date before the calendar": (KEY, b"2026-11-23 16:28:55.859834 +0000", b"0001-01-01 00:00:00 +1400"),
    "half a character": (PRINT, b"3d12", b"\\ud83d"),
    "fingerprint": (PRINT, b"00000000-0000-4000", b"00000000-0000"),
    "fingerprint in upper case": (
        PRINT,
        b"00000000-0000-4000-8000-000000000000",
        b"00000000-0000-4000-8000-00000000000A",
    ),
    "fingerprint lost": (PRINT, b"00000000-0000-4000-8000-000000000000", b""),
    "hash lost": (PRINT, b'"hardwareHash":{', b'"hardwareHash":null,"x":{'),
    "threshold too high": (PRINT, b":40}", b":101}"),
    "threshold too low": (PRINT, b":40}", b":-2}"),
    "threshold that is no number": (PRINT, b":40}", b":true}"),
    "threshold that is no whole number": (PRINT, b":40}", b":40.0}"),
    "manifest without the key": ("Manifest", b'"RegistrationKey":"', b'"OtherKey":"'),
    "manifest without the fingerprint": ("Manifest", b'"InstanceFingerprint":"', b'"OtherPrint":"'),
    "manifest of other files": ("Manifest", b"Store/RegistrationKey", b"Store/RegistrationKey.old"),
}


@pytest.fixture
def saved(vault: FileVault, full: VaultContents) -> VaultContents:
    with vault.lock(timedelta(seconds=5)):
        vault.save(full)
    return full


def refused(vault: FileVault) -> VaultError:
    with pytest.raises(VaultError) as caught:
        vault.load()
    assert caught.value.hint
    assert "MBsC" not in str(caught.value)
    assert caught.value.__cause__ is None or "MBsC" not in str(caught.value.__cause__)
    return caught.value


@pytest.mark.parametrize("path", ESSENTIAL)
def test_every_length_a_file_may_be_cut_to_is_an_error(
    path: str, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    whole = (directory / path).read_bytes()
    assert saved.registration
    for length in range(len(whole)):
        (directory / path).write_bytes(whole[:length])
        assert str(directory / path) in refused(vault).message


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
@pytest.mark.parametrize("path", ESSENTIAL)
def test_garbage_in_a_file_of_worth_is_an_error(
    path: str, garbage: bytes, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / path).write_bytes(garbage)
    error = refused(vault)
    assert error.code == "vault-damaged"
    assert "clear" in error.hint


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
@pytest.mark.parametrize("path", DISPENSABLE)
def test_garbage_in_a_file_of_little_worth_counts_as_absent_and_is_named(
    path: str, garbage: bytes, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    (directory / path).write_bytes(garbage)
    without: dict[str, Any] = {DISPENSABLE[path]: {} if path == "TrialFingerprints" else None}
    expected = replace(saved, **without, damaged=(path,))
    assert vault.load() == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"+00:00", b"+01:00"),
        (b"+00:00", b""),
        (b"2026-11-23T", b"yesterday T"),
        (b'"issuedBootMicroseconds":', b'"issuedBootMicroseconds":' + b"9" * 30),
        (b'"issuedBootMicroseconds":', b'"x":'),
    ],
)
@pytest.mark.parametrize("path", ["IssueRecord", "HeldToken"])
def test_a_time_that_is_none_makes_a_record_count_as_absent(
    path: str, old: bytes, new: bytes, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    before = (directory / path).read_bytes()
    assert old in before
    (directory / path).write_bytes(before.replace(old, new))
    absent: dict[str, Any] = {DISPENSABLE[path]: None}
    assert vault.load() == replace(saved, **absent, damaged=(path,))


def test_a_damaged_registration_can_be_written_over_and_forgotten(
    vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    for contents in (saved, VaultContents()):
        (directory / KEY).write_bytes(b"")
        with vault.lock(timedelta(seconds=5)):
            vault.save(contents)
        assert vault.load() == contents


@pytest.mark.parametrize("path", DISPENSABLE)
def test_a_damaged_file_of_little_worth_is_gone_after_the_next_save(
    path: str, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / path).write_bytes(b"{")
    with vault.lock(timedelta(seconds=5)):
        vault.save(vault.load())
    assert not (directory / path).exists()
    assert vault.load().damaged == ()


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_field_that_is_not_what_it_should_be_is_an_error(
    edit: Edit, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    path, old, new = edit
    before = (directory / path).read_bytes()
    assert saved.registration
    assert old in before
    (directory / path).write_bytes(before.replace(old, new))
    assert refused(vault).code == "vault-damaged"


def test_a_threshold_of_0_is_taken_as_ssm_agent_left_it(
    vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    path = directory / PRINT
    path.write_bytes(path.read_bytes().replace(b":40}", b":0}"))
    assert saved.fingerprint is not None
    assert vault.load().fingerprint == replace(saved.fingerprint, threshold=0)


@pytest.mark.parametrize("missing", ESSENTIAL[:3])
def test_one_of_the_first_three_files_missing_is_an_error(
    missing: str, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / missing).unlink()
    assert "missing" in refused(vault).message


def test_a_registration_whose_fingerprint_is_gone_from_the_manifest_too_is_an_error(
    vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / PRINT).unlink()
    (directory / "Manifest").write_text('{"RegistrationKey":"/x/RegistrationKey"}', encoding="utf-8")
    assert "fingerprint is missing" in refused(vault).message


@pytest.mark.parametrize(
    "journal",
    [b"", b"{", b"[]", b'{"Store/RegistrationKey":7}', b'{"../escape":null}', b'{"Journal":null}'],
)
def test_a_journal_that_cannot_be_read_is_an_error(
    journal: bytes, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / "Journal").write_bytes(journal)
    assert "Journal" in refused(vault).message
    with pytest.raises(VaultError, match="Journal"), vault.lock(timedelta()):
        pytest.fail("the lock must not be given")


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_link(path: Path) -> None:
    path.with_suffix(".elsewhere").write_bytes(b"{}")
    path.symlink_to(path.with_suffix(".elsewhere"))


def as_directory(path: Path) -> None:
    path.mkdir()


def as_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024 * 1024 + 1)


@pytest.mark.parametrize("path", ["Manifest", PRINT, "IssueRecord", "Journal"])
@pytest.mark.parametrize(
    ("put", "code"),
    [
        (as_fifo, "vault-not-a-file"),
        (as_link, "vault-not-a-file"),
        (as_directory, "vault-not-a-file"),
        (as_huge_file, "vault-file-too-large"),
    ],
)
def test_what_is_no_ordinary_file_is_an_error(
    put: Callable[[Path], None], code: str, path: str, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    (directory / path).unlink(missing_ok=True)
    put(directory / path)
    error = refused(vault)
    assert (error.code, str(directory / path) in error.message) == (code, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("path", [".", KEY, "IssueRecord"])
def test_what_belongs_to_another_user_is_an_error(
    path: str, vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    assert saved.registration
    os.chown(directory / path, 12345, -1)
    assert refused(vault).code == "vault-foreign-owner"


def test_a_directory_that_is_a_file_is_an_error(vault: FileVault, directory: Path) -> None:
    directory.parent.mkdir()
    directory.write_bytes(b"")
    assert str(directory) in refused(vault).message


def test_a_directory_whose_parent_is_a_file_is_an_error(vault: FileVault, directory: Path) -> None:
    directory.parent.write_bytes(b"")
    assert str(directory) in refused(vault).message


def test_a_directory_that_links_to_nowhere_is_an_error(vault: FileVault, directory: Path) -> None:
    """The disk behind it is not mounted; to take it for an empty vault would be to register anew."""
    directory.parent.mkdir()
    directory.symlink_to("/nonexistent/vault")
    assert str(directory) in refused(vault).message


def test_a_directory_behind_a_link_is_a_vault_like_another(
    vault: FileVault, directory: Path, saved: VaultContents
) -> None:
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to(directory.with_name("elsewhere"))
    assert vault.load() == saved


BAD_DISK = """
import os, subprocess, sys
from datetime import timedelta
from dataclasses import replace
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError

agent, place, fault = sys.argv[1:]
vault = FileVault(place + "/vault", SystemClock())
before = read_agent_vault(agent)
with vault.lock(timedelta()):
    vault.save(before)
if fault == "full":
    with open(place + "/filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
else:
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
for after in (
    replace(before, measured={"machine-id": "x" * 5000}),
    replace(before, pending_key=before.registration.key, measured={"machine-id": "x"}),
):
    try:
        with vault.lock(timedelta()):
            vault.save(after)
    except VaultError as error:
        assert vault.load() == before
        assert sorted(os.listdir(place + "/vault")) == [".Manifest.rolekeeper-lock", "Manifest", "Store"]
        print(error.code, "|", error.hint)
"""


@pytest.mark.parametrize(("fault", "code"), [("full", "vault-no-space"), ("read-only", "vault-read-only")])
def test_a_disk_that_takes_nothing_more_leaves_the_old_contents(fault: str, code: str, tmp_path: Path) -> None:
    agent = Path(__file__).parents[1] / "vectors" / "vaults" / "tz-kolkata" / "Vault"
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=64k,mode=700 tmpfs {tmp_path}/disk"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        left_out("no mount namespaces here")
    script = f'{mount} && exec {sys.executable} -c "$SCRIPT" {agent} {tmp_path}/disk {fault}'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env={**os.environ, "SCRIPT": BAD_DISK},
        check=False,
        capture_output=True,
        text=True,
    )
    told = [line.partition(" | ") for line in done.stdout.splitlines()]
    assert (done.stderr, [line[0] for line in told], all(line[2] for line in told)) == ("", [code, code], True)
