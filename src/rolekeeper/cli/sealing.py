"""What several verbs do about the vault's key."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rolekeeper import compose
from rolekeeper.adapters.supervision.restart import Restart
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


@contextmanager
def daemon_restart() -> Iterator[Callable[[], None]]:
    """Yield what restarts the daemon with the unit's drop-ins, if it runs, and returns once the old one has ended.

    At the end, wait until the new one is ready. It needs the vault's lock for that, so the lock is released before.
    A failure is reported and no more.
    """
    restart = Restart()
    yield restart.begin
    if why := restart.end():
        say(f"the daemon does not run with the new drop-ins yet: {why}", "`systemctl status rolekeeper` says why")


def take_over_drop_in() -> None:
    """Restart the daemon where no lock is held."""
    with daemon_restart() as restart:
        restart()
