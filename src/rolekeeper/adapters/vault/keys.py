"""Where vault keys come from: a systemd credential, which only this machine (or its TPM) can decrypt.

`rolekeeper seal` has systemd-creds(1) encrypt the keys into /etc/credstore.encrypted. For the unit, systemd decrypts
them into the unit's credential directory, which is memory that no other unit sees: `keyfile` reads them there, and
the sandbox needs no TPM. A command that root runs outside the unit has systemd-creds decrypt them. Keys go to it and
come from it through pipes, so they are in no argument list and no file.

systemd-creds has one exit code for everything, so its message decides (systemd 252 to 257; an unknown message has an
error code of its own, and is repeated).
"""

import os
import re
import subprocess
from pathlib import Path

from rolekeeper.adapters.files.paths import Attributes
from rolekeeper.adapters.files.replace import read_file, remove_file, replace_file, translated
from rolekeeper.adapters.vault import FILE, KEY_MISSING, box
from rolekeeper.adapters.vault.keyfile import CODE, CREDENTIAL, LOST, credential, decoded
from rolekeeper.errors import RefusedError, VaultError
from rolekeeper.model import VaultKey
from rolekeeper.values import Value

CREDSTORE = Path("/etc/credstore.encrypted")
DROP_IN = Path("/etc/systemd/system/rolekeeper.service.d/vault-key.conf")
DROP_IN_TEXT = f"""\
# Written by `rolekeeper seal`, removed by `rolekeeper unseal`.
[Service]
LoadCredentialEncrypted={CREDENTIAL}
# What an attempt decrypts is not swapped out.
MemorySwapMax=0
"""
_VAULT_LINE = "# The vault: "
_PRIVATE, _DIRECTORY = Attributes(0o600), Attributes(0o700)
_READABLE, _OPEN_DIRECTORY = Attributes(0o644), Attributes(0o755)
_NOT_FOUND = 127  # env(1)
_PATIENCE = 60  # seconds; a TPM takes some
# What systemd-creds says: the code, what that means, and the remedy.
_MEANINGS = (
    (
        r"dictionary attack lockout|lockout mode|using TPM2: No locks available",
        "tpm-locked",
        "the TPM is locked after power failures or failed tries",
        "wait: it unlocks by itself, after minutes or hours",
    ),
    (
        r"policy (digest )?does not match|policy check failed|POLICY_FAIL|using TPM2: Operation not permitted",
        "tpm-pcrs-changed",
        "the TPM releases the key only for another state of firmware and Secure Boot (PCRs)",
        "if an update of them was not meant to be, undo it; " + LOST,
    ),
    (
        r"integrity check failed|no matching TPM2|[Ss]torage root key|using TPM2: State not recoverable",
        "tpm-changed",
        "the TPM was cleared or replaced, or this is another machine",
        "on the machine that was sealed, put its TPM back; " + LOST,
    ),
    (
        r"TPM2 (support )?(is )?not (installed|available|compiled|enabled|supported)|device not usable|-libraries",
        "tpm-unsupported",
        "systemd was built or installed without TPM support",
        'install the tss2 libraries (Debian: tpm2-tools has them all), or set vault.seal = "host"',
    ),
    (
        r"TCTI|:tcti:|/dev/tpm|[Nn]o TPM2|TPM2 device",
        "tpm-absent",
        "there is no TPM, or it does not answer",
        'enable the TPM in the firmware; without one, set vault.seal = "host"',
    ),
    (
        r"local credential (key|secret)|credential\.secret.*No such file|Failed to .*host key",
        "host-key-gone",
        "the host key /var/lib/systemd/credential.secret cannot be read",
        "restore it from a backup of this machine, or run this as root; " + LOST,
    ),
    (
        r"incorrect key|Decryption failed|Bad message|Failed to finalize decryption",
        "host-key-changed",
        "the host key /var/lib/systemd/credential.secret is another one, or the credential was damaged",
        "restore both from the same backup of this machine; " + LOST,
    ),
    (
        r"corrupted data|Embedded credential name|base64|too short|truncated|Failed to read encrypted credential data",
        "vault-key-damaged",
        "the credential is damaged",
        "restore it from a backup of this machine; " + LOST,
    ),
)


class SystemdKeys(Value):
    """The keys of the vault in `vault_directory` as systemd keeps them, as ports.VaultKeys.

    There is one unit, so there is one credential; the drop-in says which vault it is for, and another vault's key is
    never replaced or removed.

    `with_key` is that of systemd-creds: host, tpm2 or host+tpm2. `pcrs` are those that a TPM binds to, such as `7`:
    with none, systemd 252 encrypts what it does not decrypt. `unit_credentials` is the credential directory of the
    running unit: while that runs, the keys are there, even if they cannot be decrypted any more. `recovery` is a key
    that is known from elsewhere.
    """

    vault_directory: str
    with_key: str
    pcrs: str = "7"
    recovery: VaultKey | None = None
    credstore: Path = CREDSTORE
    drop_in: Path = DROP_IN
    unit_credentials: str | None = None
    command: str = "systemd-creds"

    def kept(self) -> tuple[VaultKey, ...]:
        """The keys in the credential; none when it is missing or cannot be decrypted. A running unit does not count."""
        try:
            return self._decrypted()
        except VaultError:
            return ()

    def read(self) -> tuple[VaultKey, ...]:
        """The keys, decrypted."""
        if self.recovery is not None:
            return (self.recovery, *self.kept())  # which a change that was interrupted may have come to
        try:
            return self._decrypted()
        except VaultError:
            if running := self.in_unit():
                return running
            raise

    def write(self, keys: tuple[VaultKey, ...]) -> None:
        """Encrypt the keys, see that they can be decrypted, and only then replace the credential."""
        self.refuse_another_vault()
        data = box.encode_keys(keys)
        pcrs = (f"--tpm2-pcrs={self.pcrs}",) if "tpm2" in self.with_key else ()
        encrypted = self._systemd_creds("encrypt", f"--with-key={self.with_key}", *pcrs, "-", "-", given=data)
        if self._systemd_creds("decrypt", "-", "-", given=encrypted) != data:
            raise VaultError(
                "vault-key-unreadable",
                "Cannot keep the vault's key: systemd-creds does not decrypt what it encrypted",
                "nothing was changed; try `systemd-creds encrypt` by hand",
            )
        self._replace(self._file, encrypted, _PRIVATE, _DIRECTORY)

    def hand_out(self) -> None:
        """Write the unit's drop-in."""
        self.refuse_another_vault()
        text = f"{DROP_IN_TEXT}{_VAULT_LINE}{self.vault_directory}\n"
        self._replace(self.drop_in, text.encode(), _READABLE, _OPEN_DIRECTORY)

    def take_back(self) -> None:
        """Remove the unit's drop-in."""
        self.refuse_another_vault()
        self._remove(self.drop_in)

    def forget(self) -> None:
        """Remove the credential."""
        self.refuse_another_vault()
        self._remove(self._file)

    def new_key(self) -> VaultKey:
        """A new random key."""
        return box.new_key()

    def in_unit(self) -> tuple[VaultKey, ...]:
        """The keys in the running unit's credential; none when it does not run, has none, or they are damaged."""
        try:
            return credential(self.unit_credentials) or ()
        except VaultError:
            return ()

    def refuse_another_vault(self) -> None:
        """Raise RefusedError when the keys are those of a vault in another directory that is still there."""
        with translated(VaultError, f"read {self.drop_in}", CODE):
            lines = (read_file(str(self.drop_in)) or b"").decode("utf-8", errors="replace").splitlines()
        named = [line.removeprefix(_VAULT_LINE) for line in lines if line.startswith(_VAULT_LINE)]
        if named and named[-1] != self.vault_directory and os.path.exists(f"{named[-1]}/{FILE}"):
            raise RefusedError(
                "vault-key-in-use",
                f"Cannot change the vault's key: it is that of the vault {named[-1]}, and this one is "
                f"{self.vault_directory}",
                f"`rolekeeper unseal` that vault first, or remove {named[-1]} if nobody needs it",
            )

    @property
    def _file(self) -> Path:
        return self.credstore / CREDENTIAL

    def _decrypted(self) -> tuple[VaultKey, ...]:
        path = str(self._file)
        with translated(VaultError, f"read {path}", CODE):
            encrypted = read_file(path)
        if encrypted is None:
            raise VaultError(
                KEY_MISSING,
                f"Cannot use the vault: its key {path} is missing",
                "restore it from a backup of this machine; " + LOST,
            )
        return decoded(path, self._systemd_creds("decrypt", "-", "-", given=encrypted))

    def _remove(self, path: Path) -> None:
        with translated(VaultError, f"remove {path}", CODE):
            remove_file(str(path))

    def _replace(self, path: Path, data: bytes, attributes: Attributes, missing: Attributes) -> None:
        with translated(VaultError, f"write {path}", CODE):
            replace_file(str(path), data, attributes, missing=missing)

    def _systemd_creds(self, verb: str, *arguments: str, given: bytes) -> bytes:
        command = ["/usr/bin/env", self.command, f"--name={CREDENTIAL}", verb, *arguments]
        try:
            done = subprocess.run(command, input=given, capture_output=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = "it hangs" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
            raise _unusable(f"systemd-creds cannot be run: {why}") from error
        if done.returncode == _NOT_FOUND:
            raise _unusable("there is no systemd-creds")
        if done.returncode:
            said = done.stderr.decode("utf-8", errors="replace").strip()
            raise _explained(verb, said, "" if said else self._tpm_support())
        return done.stdout

    def _tpm_support(self) -> str:
        """What systemd has for a TPM, and what it lacks: without the libraries, systemd-creds 257 fails silently."""
        command = ["/usr/bin/env", self.command, "has-tpm2"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode("utf-8", errors="replace")


def _unusable(why: str) -> VaultError:
    hint = "install systemd 252 or later and run this as root, or leave the vault plain (vault.seal = none)"
    return VaultError("systemd-creds-unusable", f"Cannot use the vault's key: {why}", hint)


def _explained(verb: str, said: str, support: str) -> VaultError:
    """The error behind what systemd-creds printed, or, if that is nothing, behind what it lacks."""
    what = f"Cannot {verb} the vault's key"
    for pattern, code, meaning, remedy in _MEANINGS:
        if re.search(pattern, said or support):
            return VaultError(code, f"{what}: {meaning}", remedy)
    last = said.splitlines()[-1:] or ["it failed without a word"]
    return VaultError("vault-key-unreadable", f"{what}: systemd-creds: {last[0]}", "run this as root; " + LOST)
