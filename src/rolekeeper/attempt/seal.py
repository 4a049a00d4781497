"""Putting the vault under a key, changing that key, and taking it away; crash-safe at each step.

At every instant the vault on disk can be read with the keys that are kept. So keys and vault change in this order:

- *seal*: keep a new key, then save the vault sealed with it. A crash in between leaves a plain vault and a key that
  nothing needs yet; the next `seal` uses that key. A key that only the running unit still has is kept again.
- *rekey*: keep the new key and the old one, save the vault sealed with the new one, keep the new one alone.
- *unseal*: save the vault plain, then forget the key.

An empty vault has nothing to seal; then only the keys are prepared, and the registration is sealed from its first save.
The caller holds the vault's lock.
"""

from rolekeeper.model import VaultContents, VaultKey
from rolekeeper.ports import SealableVault, VaultKeys


def seal(vault: SealableVault, keys: VaultKeys, *, encrypt_again: bool = False) -> VaultKey:
    """Seal the vault and every later save; returns the key. A vault that is sealed keeps its key.

    With `encrypt_again`, also a key that is kept is encrypted for what the settings name now.
    """
    contents, name = vault.load(), vault.sealed_with()
    held = keys.read() if name is not None else keys.kept() or (keys.new_key(),)
    key = next((one for one in held if one.name == name), held[0])
    if encrypt_again or keys.kept() != (key,):
        keys.write((key,))
    keys.hand_out()
    if name is None:
        _save(vault, contents, key)
    return key


def rekey(vault: SealableVault, keys: VaultKeys) -> VaultKey:
    """Seal the vault with a new key, whatever it was sealed with before; returns the new key."""
    contents, name = vault.load(), vault.sealed_with()
    key = keys.new_key()
    if name is not None:
        keys.write((key, next(one for one in keys.read() if one.name == name)))
        _save(vault, contents, key)
    keys.write((key,))
    keys.hand_out()
    if name is None:
        _save(vault, contents, key)
    return key


def unseal(vault: SealableVault, keys: VaultKeys) -> None:
    """Make the vault plain and forget the key."""
    _save(vault, vault.load(), None)
    keys.remove()


def _save(vault: SealableVault, contents: VaultContents, key: VaultKey | None) -> None:
    vault.seal_with(key)
    if contents != VaultContents():
        vault.save(contents)
