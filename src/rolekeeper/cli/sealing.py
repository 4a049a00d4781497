"""What several verbs do about the vault's key."""

from rolekeeper import compose
from rolekeeper.adapters.supervision import unit
from rolekeeper.cli.messages import say
from rolekeeper.ports import SealableVault
from rolekeeper.settings import UNSEALED, Settings


def seal_if_configured(settings: Settings, vault: SealableVault) -> bool:
    """Seal the vault and every later save, as `vault.seal` says; whether the running daemon lacks the key.

    To be called with the vault's lock held.
    """
    if settings.vault_seal == UNSEALED:
        return False
    from rolekeeper.adapters.process import keep_out_of_swap
    from rolekeeper.attempt import seal

    keep_out_of_swap()
    keys = compose.vault_keys(settings)
    return keys.in_unit()[:1] != (seal.seal(vault, keys),)


def take_over_drop_in() -> None:
    """Have systemd read the unit's drop-ins and restart the daemon, if it runs; a failure is reported and no more."""
    if why := unit.take_over_drop_in():
        say(f"the daemon does not run with the new drop-ins yet: {why}", "`systemctl status rolekeeper` says why")
