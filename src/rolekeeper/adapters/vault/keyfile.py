"""Files that hold vault keys in clear: the unit's credential, which is in memory, and a recovery key."""

import os

from rolekeeper.adapters.files.paths import Attributes
from rolekeeper.adapters.files.replace import read_file, replace_file, translated
from rolekeeper.adapters.vault import KEY_MISSING, box
from rolekeeper.adapters.vault.agentformat import MalformedError
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultKey
from rolekeeper.values import Value

CREDENTIAL = "rolekeeper-vault-key"
CODE = "vault-key-"  # the beginning of the code of an error that the system reports about a file of keys
LOST = (
    "if there is a recovery key: `rolekeeper seal --rekey --recovery-key FILE`; without one, `rolekeeper clear` and "
    "`rolekeeper register` with a new activation"
)
_PRIVATE = Attributes(0o600)


def credential(directory: str | None) -> tuple[VaultKey, ...] | None:
    """The keys that systemd has put into the unit's credential directory; None when it has not."""
    path = os.path.join(directory, CREDENTIAL) if directory else None
    if path is None or not os.path.exists(path):
        return None
    return read_keys(path)


def recovery_key(path: str) -> VaultKey:
    """The key in a file that `RecoveryFile` wrote."""
    return read_keys(path)[0]


class RecoveryFile(Value):
    """The key in clear, for a safe place that is not this machine, as ports.RecoveryCopy; no other file is replaced."""

    path: str

    def check(self, key: VaultKey) -> None:
        """Raise VaultError unless the file can be made, or holds this key: a run that was interrupted wrote it."""
        with translated(VaultError, f"write {self.path}", CODE):
            os.stat(os.path.dirname(os.path.abspath(self.path)))
        if os.path.lexists(self.path) and not self.holds(key):
            hint = "name a file that does not exist yet"
            raise VaultError("recovery-key-exists", f"Cannot write {self.path}: it exists", hint)

    def holds(self, key: VaultKey) -> bool:
        """Whether the file holds this key."""
        try:
            return read_keys(self.path) == (key,)
        except VaultError:
            return False

    def save(self, key: VaultKey) -> None:
        """Write the key."""
        self.check(key)
        with translated(VaultError, f"write {self.path}", CODE):
            replace_file(self.path, box.encode_keys((key,)), _PRIVATE)


def missing_in_unit() -> VaultError:
    """The unit has no such credential, although a key is needed."""
    return VaultError(
        KEY_MISSING,
        f"Cannot use the vault: the unit has no credential {CREDENTIAL}",
        "`rolekeeper seal` as root writes the unit's drop-in and restarts the daemon",
    )


def read_keys(path: str) -> tuple[VaultKey, ...]:
    """The keys in a file; raises VaultError."""
    with translated(VaultError, f"read {path}", CODE):
        return decoded(str(path), read_file(str(path)) or b"")


def decoded(path: str, data: bytes) -> tuple[VaultKey, ...]:
    """The keys in `data`, which is what `path` holds; raises VaultError."""
    try:
        return box.decode_keys(data)
    except MalformedError as error:
        raise VaultError(
            "vault-key-damaged", f"Cannot use {path}: {error}", "restore it from a backup of this machine; " + LOST
        ) from None
