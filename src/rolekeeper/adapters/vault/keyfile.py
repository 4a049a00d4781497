"""Files that hold vault keys in clear: the unit's credential, which is in memory, and a recovery key."""

import os
from pathlib import Path

from rolekeeper.adapters.files.replace import describe, read_file
from rolekeeper.adapters.vault import KEY_MISSING, box
from rolekeeper.adapters.vault.agentformat import MalformedError
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultKey

CREDENTIAL = "rolekeeper-vault-key"
LOST = (
    "if there is a recovery key: `rolekeeper seal --rekey --recovery-key FILE`; without one, `rolekeeper clear` and "
    "`rolekeeper register` with a new activation"
)


def credential(directory: str | None) -> tuple[VaultKey, ...] | None:
    """The keys that systemd has put into the unit's credential directory; None when it has not."""
    path = Path(directory, CREDENTIAL) if directory else None
    if path is None or not os.path.exists(path):
        return None
    return read_keys(path)


def recovery_key(path: str) -> VaultKey:
    """The key in a file that `save_recovery_key` wrote."""
    return read_keys(Path(path))[0]


def refuse_existing(path: str) -> None:
    """Raise VaultError when there is a file of this name, or a link."""
    if os.path.lexists(path):
        hint = "name a file that does not exist yet"
        raise VaultError("recovery-key-exists", f"Cannot write {path}: it exists", hint)


def save_recovery_key(path: str, key: VaultKey) -> None:
    """Write the key in clear, for a safe place that is not this machine; a file that is there is left alone."""
    refuse_existing(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error("write", path, error) from error
    try:
        with open(descriptor, "wb") as file:
            file.write(box.encode_keys((key,)))
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        os.unlink(path)  # so that the same command can be run again
        raise file_error("write", path, error) from error


def missing_in_unit() -> VaultError:
    """The unit has no such credential, although a key is needed."""
    return VaultError(
        KEY_MISSING,
        f"Cannot use the vault: the unit has no credential {CREDENTIAL}",
        "`rolekeeper seal` as root writes the unit's drop-in and restarts the daemon",
    )


def read_keys(path: Path) -> tuple[VaultKey, ...]:
    """The keys in a file; raises VaultError."""
    try:
        data = read_file(str(path))
    except OSError as error:
        raise file_error("read", str(path), error) from error
    return decoded(str(path), data or b"")


def decoded(path: str, data: bytes) -> tuple[VaultKey, ...]:
    """The keys in `data`, which is what `path` holds; raises VaultError."""
    try:
        return box.decode_keys(data)
    except MalformedError as error:
        raise VaultError(
            "vault-key-damaged", f"Cannot use {path}: {error}", "restore it from a backup of this machine; " + LOST
        ) from None


def file_error(action: str, path: str, error: OSError) -> VaultError:
    """What the system says about a file of keys, as an error with a remedy."""
    code, remedy = describe(error)
    return VaultError(f"vault-key-{code}", f"Cannot {action} {path}: {error.strerror}", remedy)
