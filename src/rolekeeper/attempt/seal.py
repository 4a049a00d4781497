"""Putting the vault under a key, changing that key, and taking it away; crash-safe at each step.

At every instant the vault on disk can be read with the keys that are kept. So keys and vault change in this order:

- *seal*: keep a new key, then save the vault sealed with it. A crash in between leaves a plain vault and a key that
  nothing needs yet; the next `seal` uses that key. A key that only the running unit still has is kept again.
- *rekey*: keep the new key and the old one, save the vault sealed with the new one, keep the new one alone.
- *unseal*: save the vault plain, take the key from the unit, then forget it.

A recovery copy is written before the vault is sealed with its key, so a sealed vault has one from its first instant.

An empty vault has nothing to seal; then only the keys are prepared, and the registration is sealed from its first save.
That save may be made by the running unit with a key that it has had since its start, so that key is kept, too, for as
long as the vault is empty. The caller holds the vault's lock.
"""

from collections.abc import Callable, Sequence

from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents, VaultKey
from rolekeeper.ports import RecoveryCopy, SealableVault, VaultKeys


def seal(
    vault: SealableVault, keys: VaultKeys, copies: Sequence[RecoveryCopy] = (), *, encrypt_again: bool = False
) -> VaultKey:
    """Seal the vault and every later save; returns the key. A vault that is sealed keeps its key.

    With `encrypt_again`, also a key that is kept is encrypted for what the settings name now.
    """
    vault.load()  # raises for what cannot be sealed
    name = vault.sealed_with()
    held = keys.read() if name is not None else keys.kept() or keys.in_unit() or (keys.new_key(),)
    key = next((one for one in held if one.name == name), held[0])
    _put_under(key, vault, keys, copies, encrypt_again=encrypt_again)
    return key


def rekey(vault: SealableVault, keys: VaultKeys, copies: Sequence[RecoveryCopy] = ()) -> VaultKey:
    """Seal the vault with a new key, whatever it was sealed with before; returns the new key.

    A change that was interrupted after it had written its recovery copies goes on with its key.
    """
    vault.load()
    match keys.kept():
        case (begun, _) if copies and all(copy.holds(begun) for copy in copies):
            key = begun
        case _:
            key = keys.new_key()
    _put_under(key, vault, keys, copies, encrypt_again=True)
    return key


def unseal(vault: SealableVault, keys: VaultKeys, restart_unit: Callable[[], None]) -> None:
    """Make the vault plain and forget the key."""
    contents = vault.load()
    _save(vault, contents, None)
    keys.take_back()
    restart_unit()
    if contents == VaultContents() and keys.in_unit():
        raise VaultError(
            "vault-key-in-unit",
            "Cannot forget the vault's key: the running daemon still has it, and would seal a registration with it",
            "`systemctl stop rolekeeper`, then `rolekeeper unseal` again",
        )
    keys.forget()


def _put_under(
    key: VaultKey, vault: SealableVault, keys: VaultKeys, copies: Sequence[RecoveryCopy], *, encrypt_again: bool
) -> None:
    contents, name = vault.load(), vault.sealed_with()
    for copy in copies:
        copy.check(key)
    needed = (key, *(one for one in _in_use(contents, name, keys) if one != key))
    if encrypt_again or keys.kept() != needed:
        keys.write(needed)
    for copy in copies:
        copy.save(key)
    keys.hand_out()
    if name != key.name:
        _save(vault, contents, key)
    if name is not None and needed != (key,):
        keys.write((key,))


def _in_use(contents: VaultContents, name: str | None, keys: VaultKeys) -> tuple[VaultKey, ...]:
    """The key that the vault is sealed with, or that the unit would seal an empty one with."""
    if name is not None:
        return tuple(one for one in keys.read() if one.name == name)
    return keys.in_unit()[:1] if contents == VaultContents() else ()


def _save(vault: SealableVault, contents: VaultContents, key: VaultKey | None) -> None:
    vault.seal_with(key)
    if contents != VaultContents():
        vault.save(contents)
