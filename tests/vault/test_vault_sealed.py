"""A sealed vault holds what a plain one holds, and gives nothing away without its key."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.vault.conftest import FULL, REGISTERED, SHAPES, names, save
from tests.vault.test_vault_crash import ends_before

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault import box, keyfile
from rolekeeper.adapters.vault.keyfile import CREDENTIAL
from rolekeeper.adapters.vault.keys import SystemdKeys
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.attempt import seal
from rolekeeper.errors import RefusedError, RolekeeperError, VaultError
from rolekeeper.model import VaultContents, VaultKey
from rolekeeper.values import replace

NO_WAIT = timedelta()
KEY, OTHER = box.new_key(), box.new_key()
SECRETS = (*(shape[:12] for shape in SHAPES), "s3cret", "s3ssion", "mi-0123456789abcdef0")


@pytest.fixture
def file(directory: Path) -> Path:
    return directory / "vault.json"


@pytest.fixture
def sealed(directory: Path) -> FileVault:
    """A vault that holds FULL, sealed with KEY."""
    vault = opened(directory, KEY)
    with vault.lock(NO_WAIT):
        vault.seal_with(KEY)
        vault.save(FULL)
    return vault


@pytest.fixture
def machine(tmp_path: Path, directory: Path) -> SystemdKeys:
    """A machine that has a host key, for the vault in `directory`."""
    command = tmp_path / "machine" / "systemd-creds"
    command.parent.mkdir()
    shutil.copy(Path(__file__).with_name("fake_systemd_creds.py"), command)
    command.chmod(0o755)
    command.with_name("host-key").write_bytes(b"host key")
    return SystemdKeys(
        str(directory),
        "host",
        credstore=tmp_path / "etc" / "credstore.encrypted",
        drop_in=tmp_path / "etc" / "rolekeeper.service.d" / "vault-key.conf",
        unit_credentials=str(tmp_path / "run"),
        command=str(command),
    )


def opened(directory: Path, *held: Any) -> FileVault:
    return FileVault(directory, SystemClock(), lambda: held)


def vault_of(machine: SystemdKeys) -> FileVault:
    return FileVault(machine.vault_directory, SystemClock(), machine.read)


def locked(work: Callable[[FileVault, SystemdKeys], object], machine: SystemdKeys) -> None:
    vault = vault_of(machine)
    with vault.lock(NO_WAIT):
        work(vault, machine)


def unseal(vault: FileVault, keys: SystemdKeys) -> None:
    seal.unseal(vault, keys, lambda: None)


def recovery(machine: SystemdKeys) -> keyfile.RecoveryFile:
    return keyfile.RecoveryFile(str(machine.credstore.parent / "recovery"))


def seal_with_copy(vault: FileVault, keys: SystemdKeys) -> None:
    seal.seal(vault, keys, [recovery(keys)])


def rekey_with_copy(vault: FileVault, keys: SystemdKeys) -> None:
    seal.rekey(vault, keys, [recovery(keys)])


def in_unit(machine: SystemdKeys, *keys: VaultKey) -> None:
    """Let a unit run that has these keys."""
    assert machine.unit_credentials is not None
    directory = Path(machine.unit_credentials)
    directory.mkdir(exist_ok=True)
    (directory / CREDENTIAL).write_bytes(box.encode_keys(keys))


def refused(vault: FileVault) -> VaultError:
    with pytest.raises(VaultError) as caught:
        vault.load()
    assert caught.value.hint
    assert KEY.value.hex() not in f"{caught.value}{caught.value.hint}"
    return caught.value


def test_a_sealed_vault_holds_the_same_and_shows_none_of_it(sealed: FileVault, file: Path) -> None:
    assert sealed.load() == FULL
    assert (sealed.sealed_with(), stat.S_IMODE(file.stat().st_mode)) == (KEY.name, 0o600)
    assert not any(secret in file.read_text() for secret in SECRETS)
    assert KEY.value.hex() not in f"{file.read_text()}{KEY}"


def test_the_same_contents_never_give_the_same_box(sealed: FileVault, file: Path) -> None:
    first = json.loads(file.read_text())["sealed"]
    save(sealed, FULL)
    second = json.loads(file.read_text())["sealed"]
    assert first["key"] == second["key"]
    assert first["nonce"] != second["nonce"]
    assert first["box"][:24] != second["box"][:24]


def test_a_vault_stays_as_it_is_until_somebody_seals_or_unseals_it(sealed: FileVault, directory: Path) -> None:
    for writer in (opened(directory, KEY), opened(directory, OTHER, KEY)):
        with writer.lock(NO_WAIT):
            writer.save(replace(writer.load(), pending_key=None))
        save(writer, REGISTERED)  # without a look at what was there
        assert writer.sealed_with() == KEY.name
    with sealed.lock(NO_WAIT):
        sealed.seal_with(None)
        sealed.save(FULL)
    save(opened(directory, KEY), REGISTERED)
    assert FileVault(directory, SystemClock()).load() == REGISTERED


def test_without_its_key_a_sealed_vault_is_an_error_and_never_written_over(sealed: FileVault, directory: Path) -> None:
    """An empty vault would mean a new registration, and a plain one a node key on the disk."""
    without = FileVault(directory, SystemClock())
    assert refused(without).code == "vault-key-missing"
    other = opened(directory, OTHER)
    error = refused(other)
    assert (error.code, KEY.name in error.message, OTHER.name in error.message) == ("vault-key-other", True, True)
    for vault in (without, other):
        with pytest.raises(VaultError):
            save(vault, REGISTERED)
    assert sealed.load() == FULL


@pytest.mark.parametrize("member", ["nonce", "box", "key"])
def test_a_box_that_was_changed_is_called_damaged(member: str, sealed: FileVault, file: Path) -> None:
    document = json.loads(file.read_text())
    text = document["sealed"][member]
    for at in range(0, len(text), max(1, len(text) // 40)):
        changed = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
        file.write_text(json.dumps({"format": 2, "sealed": {**document["sealed"], member: changed}}))
        assert refused(sealed).code in ({"vault-key-other"} if member == "key" else {"vault-damaged"})
    file.write_text(json.dumps({"format": 3, "sealed": document["sealed"]}))
    assert refused(sealed).code == "vault-format-unknown"
    for wrong in ({}, [], {**document["sealed"], "key": "../x"}, {**document["sealed"], member: 7}):
        file.write_text(json.dumps({"format": 2, "sealed": wrong}))
        assert refused(sealed).code == "vault-damaged"
    file.write_text(json.dumps({**document, "RegistrationKey": {}}))
    assert refused(sealed).code == "vault-damaged"


@pytest.mark.usefixtures("sealed")
def test_the_name_of_the_key_is_part_of_what_is_authenticated(file: Path, directory: Path) -> None:
    """A box that was sealed with one key does not pass for another key's, even where the bits are the same."""
    document = json.loads(file.read_text())
    document["sealed"]["key"] = OTHER.name
    file.write_text(json.dumps(document))
    assert refused(opened(directory, replace(KEY, name=OTHER.name))).code == "vault-damaged"


def test_no_part_of_a_sealed_file_passes_for_the_whole(sealed: FileVault, file: Path) -> None:
    whole = file.read_bytes().rstrip()
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        file.write_bytes(whole[:length])
        assert refused(sealed).code == "vault-damaged"


def test_a_new_vault_is_sealed_from_its_first_save_when_it_is_to_be(directory: Path) -> None:
    new = FileVault(directory, SystemClock(), lambda: (KEY,), seals_new=True)
    with new.lock(NO_WAIT):
        new.save(replace(new.load(), pending_registration=FULL.pending_registration))
    assert new.sealed_with() == KEY.name


def test_without_a_key_no_new_vault_is_written_that_is_to_be_sealed(directory: Path, machine: SystemdKeys) -> None:
    new = FileVault(directory, SystemClock(), machine.read, seals_new=True)
    with pytest.raises(VaultError, match="no key to seal it with") as caught:
        save(new, REGISTERED)
    assert (caught.value.code, "rolekeeper seal" in caught.value.hint) == ("vault-key-missing", True)
    assert not (directory / "vault.json").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"format": 2', '"format": 3').replace('"format":2', '"format":3'),
        lambda _: '{"format": 2, "sealed": {}}',
    ],
    ids=["cut", "a format of later", "empty"],
)
def test_a_sealed_vault_that_does_not_read_is_never_replaced_by_a_plain_one(
    damage: Callable[[str], str], sealed: FileVault, file: Path, directory: Path
) -> None:
    file.write_text(damage(file.read_text()))
    damaged = file.read_bytes()
    for vault in (opened(directory, KEY), FileVault(directory, SystemClock())):
        with pytest.raises(VaultError):
            save(vault, REGISTERED)  # without a look at what was there
        with pytest.raises(VaultError):
            vault.sealed_with()
    assert file.read_bytes() == damaged
    save(sealed, VaultContents())  # `rolekeeper clear` needs no key
    assert not file.exists()


def registers(machine: SystemdKeys) -> None:
    """What an attempt of the running unit does with an empty vault."""
    running = FileVault(machine.vault_directory, SystemClock(), machine.in_unit, seals_new=True)
    with running.lock(NO_WAIT):
        assert running.load() == VaultContents()
        running.save(REGISTERED)


@pytest.mark.parametrize("host_key", ["kept", "lost"])
@pytest.mark.parametrize("work", [seal.seal, seal.rekey, rekey_with_copy])
def test_what_a_unit_registers_with_the_key_that_it_started_with_can_be_read(
    work: Callable[[FileVault, SystemdKeys], object], host_key: str, machine: SystemdKeys
) -> None:
    """The unit may not have been restarted yet, or not at all, when the key of an empty vault changes."""
    locked(seal.seal, machine)
    in_unit(machine, *machine.kept())
    if host_key == "lost":
        Path(machine.command).with_name("host-key").write_bytes(b"another")
    locked(work, machine)
    registers(machine)
    after = replace(machine, unit_credentials=None)
    assert vault_of(after).load() == REGISTERED
    locked(seal.seal, after)
    (key,) = after.kept()
    assert opened(Path(machine.vault_directory), key).load() == REGISTERED


def test_unseal_forgets_no_key_that_a_unit_would_seal_a_registration_with(machine: SystemdKeys, tmp_path: Path) -> None:
    locked(seal.seal, machine)
    in_unit(machine, *machine.kept())
    with pytest.raises(VaultError) as caught:
        locked(unseal, machine)
    assert caught.value.code == "vault-key-in-unit"
    registers(machine)
    assert vault_of(replace(machine, unit_credentials=None)).load() == REGISTERED
    in_the_unit = tmp_path / "run" / CREDENTIAL

    def restart_unit() -> None:
        assert not machine.drop_in.exists()
        in_the_unit.unlink()

    with vault_of(machine).lock(NO_WAIT):
        seal.unseal(vault_of(machine), machine, restart_unit)
    assert machine.kept() == ()
    assert FileVault(machine.vault_directory, SystemClock()).load() == REGISTERED


def test_a_recovery_copy_replaces_no_other_file_and_nothing_has_changed_then(
    vault: FileVault, machine: SystemdKeys
) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    locked(seal_with_copy, machine)
    locked(seal_with_copy, machine)  # the same key again
    (key,), copied = machine.kept(), Path(recovery(machine).path)
    for text in (None, "", "by hand", box.encode_keys((OTHER,)).decode()):
        if text is not None:
            copied.write_text(text)
        before = copied.read_bytes()
        with pytest.raises(VaultError) as caught:
            locked(rekey_with_copy, machine)
        assert (caught.value.code, copied.read_bytes()) == ("recovery-key-exists", before)
        assert (machine.kept(), vault.sealed_with()) == ((key,), key.name)
    nowhere = keyfile.RecoveryFile(f"{machine.credstore}/nowhere/key")
    with pytest.raises(VaultError, match="No such file"):
        locked(lambda vault, keys: seal.rekey(vault, keys, [nowhere]), machine)
    assert machine.kept() == (key,)


def test_a_plain_vault_stays_plain_although_new_ones_are_sealed(vault: FileVault, directory: Path) -> None:
    """Its key may be one that `unseal` has removed, and that only a running unit still has."""
    save(vault, FULL)
    save(FileVault(directory, SystemClock(), lambda: (KEY,), seals_new=True), REGISTERED)
    assert vault.load() == REGISTERED


USE_PLAIN = """
import sys
from datetime import timedelta
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
vault = FileVault(sys.argv[1], SystemClock())
with vault.lock(timedelta()):
    vault.save(vault.load())
print(*sys.modules)
"""


def test_a_plain_vault_loads_nothing_of_the_seal(vault: FileVault, directory: Path) -> None:
    save(vault, FULL)
    command = [sys.executable, "-I", "-c", USE_PLAIN, str(directory)]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    unwanted = ("cryptography", "subprocess", "rolekeeper.adapters.vault.box", "rolekeeper.adapters.vault.key")
    assert not [name for name in loaded if name.startswith(unwanted)]


def test_seal_rekey_and_unseal_keep_what_the_vault_holds(vault: FileVault, machine: SystemdKeys) -> None:
    save(vault, FULL)
    seen = []
    for work in (seal.seal, seal.seal, seal.rekey, seal.rekey, seal.seal):
        locked(work, machine)
        assert vault_of(machine).load() == FULL
        assert [key.name for key in machine.read()] == [vault.sealed_with()]
        seen.append(vault.sealed_with())
    assert (len(set(seen)), seen[0] == seen[1], seen[3] == seen[4]) == (3, True, True)
    assert f"LoadCredentialEncrypted={CREDENTIAL}\n" in machine.drop_in.read_text()
    assert stat.S_IMODE((machine.credstore / CREDENTIAL).stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.credstore.stat().st_mode) == 0o700
    locked(unseal, machine)
    assert vault.load() == FULL
    assert not (machine.credstore / CREDENTIAL).exists()
    assert not machine.drop_in.exists()


@pytest.mark.parametrize(
    ("before", "work", "contents"),
    [
        *(
            pytest.param(before, work, contents, id=f"{name}, {state}")
            for state, contents in (("registered", FULL), ("empty", VaultContents()))
            for name, before, work in (
                ("seal", (), seal.seal),
                ("seal anew", (), seal.rekey),
                ("rekey", (seal.seal,), seal.rekey),
                ("unseal", (seal.seal,), unseal),
            )
        ),
        pytest.param((), seal_with_copy, FULL, id="seal with a copy", marks=pytest.mark.check),
        pytest.param((seal.seal,), rekey_with_copy, FULL, id="rekey with a copy", marks=pytest.mark.check),
    ],
)
def test_killed_at_any_step_there_is_one_readable_vault_with_its_key(
    before: tuple[Callable[[FileVault, SystemdKeys], object], ...],
    work: Callable[[FileVault, SystemdKeys], object],
    contents: VaultContents,
    machine: SystemdKeys,
    tmp_path: Path,
    vault: FileVault,
) -> None:
    save(vault, contents)
    for one in before:
        locked(one, machine)
    sealed_before = vault.sealed_with()
    places = [Path(machine.vault_directory), tmp_path / "etc"]
    (tmp_path / "etc").mkdir(exist_ok=True)
    for place in places:
        shutil.copytree(place, tmp_path / "before" / place.name)
    usual, step, killed = set(), 0, True
    while killed:
        step += 1
        for place in places:
            shutil.rmtree(place)
            shutil.copytree(tmp_path / "before" / place.name, place)
        killed = ends_before(step, lambda: locked(work, machine))
        assert vault_of(machine).load() == contents, f"step {step}"
        name = vault.sealed_with()
        if work in (seal_with_copy, rekey_with_copy) and name not in (None, sealed_before):
            assert name == keyfile.recovery_key(recovery(machine).path).name, f"step {step}"
        if killed or work is not rekey_with_copy:  # which, once done, would change the key again
            locked(work, machine)
        if work is unseal:
            assert vault.load() == contents
        else:
            (key,) = machine.read()
            assert opened(Path(machine.vault_directory), key).load() == contents
            assert vault.sealed_with() == (key.name if contents != VaultContents() else None)
        left = {name for place in places for name in names(place)}
        assert not any(name.endswith("-new") for name in left)
        usual.add(frozenset(left))
    assert len(usual) == 1
    assert step > 3


def test_a_key_that_cannot_be_decrypted_again_is_never_relied_on(vault: FileVault, machine: SystemdKeys) -> None:
    save(vault, FULL)
    command = Path(machine.command)
    command.write_text(command.read_text().replace("zip(given, ", "zip(given.upper(), "))
    with pytest.raises(VaultError):
        locked(seal.seal, machine)
    assert vault.load() == FULL
    assert not (machine.credstore / CREDENTIAL).exists()


def fail(machine: SystemdKeys, said: str) -> None:
    Path(machine.command).write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")


LOCKOUT = "TPM2 device is in dictionary attack lockout mode."


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (LOCKOUT, "tpm-locked"),
        ("tpm:warn(2.0): authorizations ... because the TPM is in DA lockout mode", "tpm-locked"),
        (
            "Current policy digest does not match stored policy digest, cancelling TPM2 authentication attempt.",
            "tpm-pcrs-changed",
        ),
        ("Failed to unseal data: tpm:session(1):a policy check failed", "tpm-pcrs-changed"),
        ("Failed to load HMAC key in TPM: tpm:parameter(1):integrity check failed", "tpm-changed"),
        ("TPM2 support is not installed.", "tpm-unsupported"),
        ("TPM2 support not installed: Operation not supported", "tpm-unsupported"),
        ("Failed to initialize TCTI context: tcti:IO failure", "tpm-absent"),
        ("Failed to unseal secret using TPM2: No locks available", "tpm-locked"),
        ("Failed to unseal secret using TPM2: Operation not permitted", "tpm-pcrs-changed"),
        ("Failed to unseal secret using TPM2: State not recoverable", "tpm-changed"),
        ("TPM device not usable as it does not support the required functionality", "tpm-unsupported"),
        ("ERROR:tcti:src/tss2-tcti/tcti-swtpm.c:617: Cannot connect to swtpm TPM socket", "tpm-absent"),
        ("Failed to determine local credential key: No such file or directory", "host-key-gone"),
        ("Decryption failed (incorrect key?): error:00000000:lib(0)::reason(0)", "host-key-changed"),
        ("Unknown encryption format, or corrupted data: Operation not supported", "vault-key-damaged"),
        ("Failed to read encrypted credential data: Broken pipe", "vault-key-damaged"),
        ("Encrypted file too short.", "vault-key-damaged"),
        ("A text of a later version", "vault-key-unreadable"),
        ("", "vault-key-unreadable"),
    ],
)
def test_what_systemd_creds_says_becomes_a_code_and_a_remedy(
    said: str, code: str, vault: FileVault, machine: SystemdKeys
) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    fail(machine, said)
    error = refused(vault_of(machine))
    assert (error.code, error.message.startswith("Cannot decrypt the vault's key: ")) == (code, True)


def test_where_systemd_creds_fails_without_a_word_the_missing_libraries_are_named(
    vault: FileVault, machine: SystemdKeys
) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    script = "#!/bin/sh\ncase $* in *has-tpm2*) printf 'partial\\n-libraries\\n' ;; esac\nexit 1\n"
    Path(machine.command).write_text(script)
    assert refused(vault_of(machine)).code == "tpm-unsupported"


def test_without_systemd_creds_that_is_what_is_said(vault: FileVault, machine: SystemdKeys) -> None:
    save(vault, FULL)
    for command in ("/nowhere/systemd-creds", "no-such-program-here"):
        with pytest.raises(VaultError) as caught:
            locked(seal.seal, replace(machine, command=command))
        assert caught.value.code == "systemd-creds-unusable"
    assert vault.load() == FULL


def test_a_lost_host_key_is_never_a_new_key_and_the_recovery_key_opens_the_vault(
    vault: FileVault, machine: SystemdKeys, tmp_path: Path
) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    recovery = tmp_path / "recovery"
    keyfile.RecoveryFile(str(recovery)).save(machine.read()[0])
    assert stat.S_IMODE(recovery.stat().st_mode) == 0o600
    Path(machine.command).with_name("host-key").write_bytes(b"another")
    for work in (seal.seal, seal.rekey, unseal):
        with pytest.raises(VaultError) as caught:
            locked(work, machine)
        assert (caught.value.code, "--recovery-key" in caught.value.hint) == ("host-key-changed", True)
    locked(seal.rekey, replace(machine, recovery=keyfile.recovery_key(str(recovery))))
    assert vault_of(machine).load() == FULL
    with pytest.raises(VaultError, match="it exists"):
        keyfile.RecoveryFile(str(recovery)).save(KEY)
    Path(machine.command).with_name("host-key").write_bytes(b"a third one")
    wrong = replace(machine, recovery=OTHER)
    with pytest.raises(VaultError) as caught:
        locked(seal.rekey, wrong)
    assert caught.value.code == "vault-key-other"


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, f"{'0' * 64}\n" * 3, "é" * 64])
def test_a_recovery_key_that_is_none_is_named_and_not_repeated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recovery"
    path.write_text(text)
    with pytest.raises(VaultError, match="64 hexadecimal digits") as caught:
        keyfile.recovery_key(str(path))
    assert not text or text not in caught.value.message


def test_while_the_unit_runs_its_credential_opens_the_vault(vault: FileVault, machine: SystemdKeys) -> None:
    """A change of the PCRs or the host key shows at the next start; `rekey` before that needs no recovery key."""
    save(vault, FULL)
    locked(seal.seal, machine)
    (key,) = machine.read()
    assert machine.in_unit() == ()
    in_unit(machine, key)
    assert machine.in_unit() == (key,)
    Path(machine.command).with_name("host-key").write_bytes(b"another")
    locked(seal.rekey, machine)
    assert vault_of(machine).load() == FULL
    assert machine.in_unit() != machine.read()


def test_the_key_of_another_vault_is_neither_replaced_nor_removed(machine: SystemdKeys, tmp_path: Path) -> None:
    save(FileVault(machine.vault_directory, SystemClock()), FULL)
    locked(seal.seal, machine)
    other = replace(machine, vault_directory=str(tmp_path / "other"))
    save(FileVault(other.vault_directory, SystemClock()), REGISTERED)
    for work in (seal.seal, seal.rekey, unseal):
        with pytest.raises(RefusedError) as caught:
            locked(work, other)
        assert caught.value.code == "vault-key-in-use"
    assert vault_of(machine).load() == FULL
    assert FileVault(other.vault_directory, SystemClock()).load() == REGISTERED
    moved = replace(machine, vault_directory=str(tmp_path / "moved"))
    Path(machine.vault_directory).rename(moved.vault_directory)
    locked(seal.rekey, moved)
    assert vault_of(moved).load() == FULL


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
def test_what_only_root_may_read_is_said_so(vault: FileVault, machine: SystemdKeys) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    (machine.credstore / CREDENTIAL).chmod(0)
    with pytest.raises(RolekeeperError) as caught:
        vault_of(machine).load()
    assert caught.value.code == "vault-key-permission-denied"


LOCK_MEMORY = """
import resource
from pathlib import Path
from rolekeeper.adapters.process import keep_out_of_swap
try:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except (OSError, ValueError):
    allowed = False
else:
    allowed = True
keep_out_of_swap()
b"x" * 10_000_000
locked = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck"))
print(allowed, locked.split()[1] != "0")
"""


@pytest.mark.parametrize("prefix", [(), ("setpriv", "--bounding-set=-all,+chown")], ids=["root", "in the sandbox"])
def test_a_process_is_kept_out_of_swap_where_that_is_allowed(prefix: tuple[str, ...]) -> None:
    """And nowhere else: a limit on locked memory would make a later allocation fail."""
    if prefix and os.geteuid() != 0:
        pytest.skip("only root can give capabilities up")
    command = [*prefix, sys.executable, "-I", "-c", LOCK_MEMORY]
    allowed, locked = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert allowed == locked
    assert not prefix or allowed == "False"


def test_a_key_that_only_the_running_unit_still_has_is_kept_again(vault: FileVault, machine: SystemdKeys) -> None:
    save(vault, FULL)
    locked(seal.seal, machine)
    in_unit(machine, *machine.kept())
    (machine.credstore / CREDENTIAL).unlink()
    locked(seal.seal, machine)
    assert [key.name for key in machine.kept()] == [vault.sealed_with()]
