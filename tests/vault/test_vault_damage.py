"""A vault that does not read as one is an error that names the file, the field and the remedy, never an empty vault."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.packages.conftest import left_out
from tests.vault.conftest import FULL, SHAPES, save

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents
from rolekeeper.values import replace

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
    b'{"format": ' + b"1" * 5000 + b"}",
]
GONE = object()  # the field is left out
SECRETS = (*(shape[:12] for shape in SHAPES), "CANARY", "s3cret", "s3ssion")
KEY, PRINT, PENDING, HELD = "RegistrationKey", "InstanceFingerprint", "pendingRegistration", "heldToken"
DER = "privateKey is not the base64 of an RSA key"
ISSUE = ("issues", "reader")
# Where: the value that is put there, and what the message says after the path of the file.
SPOILED: list[tuple[tuple[str, ...], object, str]] = [
    *[(("format",), value, "format is not a whole number") for value in (GONE, "1", 1.0, True, None)],
    *[((KEY,), value, "RegistrationKey is not a JSON object") for value in (None, [], "CANARY")],
    ((KEY,), GONE, "RegistrationKey is missing, and the other half of the registration is there"),
    ((PRINT,), GONE, "InstanceFingerprint is missing, and the other half of the registration is there"),
    *[
        ((KEY, "instanceID"), value, "RegistrationKey: instanceID is not `mi-` and 17 hex digits")
        for value in ("", "i-0123456789abcdef0", "mi-0123456789ABCDEF0", "mi-0123456789abcdef0\n", "CANARY")
    ],
    *[((KEY, "instanceID"), value, "RegistrationKey: instanceID is not text") for value in (GONE, 7, None)],
    *[
        ((KEY, "region"), value, "RegistrationKey: region is not a region such as eu-central-1")
        for value in ("", "eu-central", "fips-us-east-1", "eu-central-1.CANARY")
    ],
    ((KEY, "privateKeyType"), "Ed25519", 'RegistrationKey: privateKeyType is not "Rsa"'),
    ((KEY, "privateKey"), 7, "RegistrationKey: privateKey is not text"),
    *[
        ((KEY, "privateKey"), value, f"RegistrationKey: {DER}")
        for value in (
            "",
            "aGVsbG8=",  # text
            "MBsC*QACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=",  # no base64
            "MBwCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=",  # a wrong length
            "MRsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=",  # another tag
            "MBsCAQECAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQo=",  # another version
            "MBsCAQACAQMCAQQCAQUCAQYCAQcCAQgCAQkCAQp4eXo=",  # something behind it
            "MBsCAQACAQMCAQQCAQUCAQYCAQcCAQg=",  # cut
            "MAYCAQACAQM=",  # a public key's integers
        )
    ],
    *[
        ((KEY, "privateKeyCreatedDate"), value, "RegistrationKey: privateKeyCreatedDate is no")
        for value in ("2026-11-23T16:28:55 +0000", "2026-11-31 16:28:55 +0000 UTC", "0001-01-01 00:00:00 +1400 X")
    ],
    *[
        ((PRINT, "fingerprint"), value, "InstanceFingerprint: fingerprint is not a UUID in lower case")
        for value in ("", "00000000-0000-8000-000000000000", "0000000A-0000-4000-8000-000000000000")
    ],
    *[
        ((PRINT, "hardwareHash"), value, "InstanceFingerprint: hardwareHash is not a map of texts")
        for value in (None, GONE, [], {"machine-id": 7}, {"machine-id": "\ud83d"})
    ],
    *[
        ((PRINT, "similarityThreshold"), value, "InstanceFingerprint: similarityThreshold is n")
        for value in (101, -2, True, 40.0, GONE)
    ],
    (("measuredHash",), {"machine-id": 7}, "measuredHash is not a map of texts"),
    (("measuredHash",), None, "measuredHash is not a map of texts"),
    (("pendingKey", "privateKey"), "AAAA", f"pendingKey: {DER}"),
    (("supersededKey", "privateKey"), "AAAA", f"supersededKey: {DER}"),
    ((PENDING, "privateKey"), GONE, "pendingRegistration: privateKey is not text"),
    ((PENDING, "activationID"), 7, "pendingRegistration: activationID is not text"),
    ((PENDING, "region"), "CANARY", "pendingRegistration: region is not a region"),
    ((PENDING, "fingerprint"), "CANARY", "pendingRegistration: fingerprint is not a UUID"),
    (("issues",), [], "issues is not a JSON object"),
    (ISSUE, None, "issues: reader is not a JSON object"),
    ((*ISSUE, "accessKeyID"), GONE, "issues: reader: accessKeyID is not text"),
    *[
        ((*ISSUE, "issuedAt"), value, "issues: reader: issuedAt is not a time in UTC")
        for value in ("CANARY", "2026-11-23T16:28:55", "2026-11-23T16:28:55+01:00")
    ],
    ((*ISSUE, "issuedBootMicroseconds"), 10**30, "issues: reader: issuedBootMicroseconds is not a duration"),
    ((*ISSUE, "issuedBootMicroseconds"), 1.5, "issues: reader: issuedBootMicroseconds is not a whole number"),
    ((HELD, "sessionToken"), 7, "heldToken: sessionToken is not text"),
    ((HELD, "updateKeyPair"), 1, "heldToken: updateKeyPair is neither true nor false"),
    ((HELD, "issue"), GONE, "heldToken: issue is missing"),
]


@pytest.fixture
def file(vault: FileVault, directory: Path) -> Path:
    """vault.json, healthy."""
    save(vault, FULL)
    return directory / "vault.json"


def refused(vault: FileVault) -> VaultError:
    with pytest.raises(VaultError) as caught:
        vault.load()
    assert caught.value.hint
    assert not any(secret in str(caught.value) for secret in SECRETS)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)
    return caught.value


@pytest.mark.parametrize(("where", "value", "said"), SPOILED)
def test_a_field_that_is_not_what_it_should_be_is_named(
    where: tuple[str, ...], value: object, said: str, vault: FileVault, file: Path
) -> None:
    document: dict[str, Any] = json.loads(file.read_bytes())
    part = document
    for name in where[:-1]:
        part = part[name]
    part.pop(where[-1])
    if value is not GONE:
        part[where[-1]] = value
    file.write_text(json.dumps(document))
    error = refused(vault)
    assert error.code == "vault-damaged"
    assert error.message.startswith(f"Cannot read {file}: {said}")


def test_no_part_of_the_file_passes_for_the_whole(vault: FileVault, file: Path) -> None:
    whole = file.read_bytes().rstrip()
    for length in (*range(0, len(whole), 17), len(whole) - 1):
        file.write_bytes(whole[:length])
        assert refused(vault).code == "vault-damaged"


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
def test_garbage_is_an_error_until_it_is_cleared(garbage: bytes, vault: FileVault, file: Path) -> None:
    """It may have been a sealed vault, so a save does not replace it either."""
    file.write_bytes(garbage)
    error = refused(vault)
    assert (error.code, str(file) in error.message, "clear" in error.hint) == ("vault-damaged", True, True)
    with pytest.raises(VaultError):
        save(FileVault(file.parent, SystemClock()), FULL)
    assert file.read_bytes() == garbage
    for contents in (VaultContents(), FULL):
        save(vault, contents)
        assert vault.load() == contents


@pytest.mark.parametrize(
    ("added", "said"),
    [({"format": 2}, "it has format 2, and this version of rolekeeper reads format 1"), ({"seal": {}}, "know: seal")],
)
def test_the_file_of_another_version_is_an_error_that_names_the_version_as_the_remedy(
    added: dict[str, object], said: str, vault: FileVault, file: Path
) -> None:
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **added}))
    error = refused(vault)
    assert (error.code, said in error.message) == ("vault-format-unknown", True)
    assert "install the version" in error.hint


def test_a_threshold_of_0_is_taken_as_ssm_agent_left_it(vault: FileVault, file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"similarityThreshold": 40', b'"similarityThreshold": 0'))
    assert FULL.fingerprint
    assert vault.load().fingerprint == replace(FULL.fingerprint, threshold=0)


def as_link(path: Path) -> None:
    path.with_suffix(".elsewhere").write_bytes(b"{}")
    path.symlink_to(path.with_suffix(".elsewhere"))


def as_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("put", "code"),
    [
        (os.mkfifo, "vault-not-a-file"),
        (Path.mkdir, "vault-not-a-file"),
        (as_link, "vault-not-a-file"),
        (as_huge_file, "vault-file-too-large"),
    ],
)
def test_what_is_no_ordinary_file_is_an_error(
    put: Callable[[Path], None], code: str, vault: FileVault, file: Path
) -> None:
    file.unlink()
    put(file)
    error = refused(vault)
    assert (error.code, str(file) in error.message) == (code, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", [".", "vault.json"])
def test_what_belongs_to_another_user_is_an_error(name: str, vault: FileVault, directory: Path, file: Path) -> None:
    assert file.exists()
    os.chown(directory / name, 12345, -1)
    error = refused(vault)
    assert (error.code, str(directory / name) in error.message) == ("vault-foreign-owner", True)


@pytest.mark.parametrize("level", [0, 1])
def test_a_directory_or_its_parent_that_is_a_file_is_an_error(level: int, vault: FileVault, directory: Path) -> None:
    (directory, directory.parent)[level].parent.mkdir(exist_ok=True)
    (directory, directory.parent)[level].write_bytes(b"")
    assert str(directory) in refused(vault).message


@pytest.mark.parametrize("level", [0, 1])
def test_a_path_that_links_to_nowhere_is_an_error_and_nothing_is_created_there(
    level: int, vault: FileVault, directory: Path, tmp_path: Path
) -> None:
    """The disk behind it is not mounted; to take it for an empty vault would be to register anew."""
    link = (directory, directory.parent)[level]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "not-mounted")
    error = refused(vault)
    assert (error.code, str(link) in error.message) == ("vault-dangling-symlink", True)
    with pytest.raises(VaultError, match="leads nowhere"), vault.lock(timedelta()):
        pytest.fail("the lock must not be given")
    assert not (tmp_path / "not-mounted").exists()


@pytest.mark.parametrize("name", ["Manifest", "Store"])
def test_a_directory_in_ssm_agents_layout_is_not_taken_for_empty(name: str, vault: FileVault, directory: Path) -> None:
    (directory / name).mkdir(parents=True)
    error = refused(vault)
    assert (error.code, "adopt --from" in error.hint) == ("vault-other-layout", True)
    with pytest.raises(VaultError, match="layout of SSM Agent"), vault.lock(timedelta()):
        pytest.fail("the lock must not be given")


BAD_DISK = """
import os, subprocess, sys
from datetime import timedelta
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents
from rolekeeper.values import replace

agent, place, fault = sys.argv[1:]
vault = FileVault(place + "/vault", SystemClock())
before = VaultContents(read_agent_vault(agent))
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
try:
    with vault.lock(timedelta()):
        vault.save(replace(before, measured={"machine-id": "x" * 5000}))
except VaultError as error:
    assert vault.load() == before
    assert sorted(os.listdir(place + "/vault")) == [".vault.json.rolekeeper-lock", "vault.json"]
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
    told, _, hint = done.stdout.strip().partition(" | ")
    assert (done.stderr, told, bool(hint)) == ("", code, True)
