"""`rolekeeper unseal`: the vault becomes plain again, and its key is forgotten."""

import argparse

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_out_of_swap, keep_secrets_in_memory
from rolekeeper.attempt import seal
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.sealing import daemon_restart
from rolekeeper.errors import RefusedError
from rolekeeper.settings import UNSEALED

EXAMPLE = "rolekeeper unseal"


def configure(_parser: argparse.ArgumentParser) -> None:
    """No options: the configuration says that the vault is to be plain."""


def run(options: argparse.Namespace) -> int:
    """Unseal; the daemon is restarted, if it runs, so that it forgets the key, too."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    if settings.vault_seal != UNSEALED:
        raise RefusedError(
            "seal-configured",
            f'Cannot unseal: vault.seal is "{settings.vault_seal}", and the next registration would be sealed again',
            'set vault.seal to "none" first',
        )
    keep_out_of_swap()
    give_up_after(settings.daemon.attempt_timeout)
    keys = compose.vault_keys(settings)
    vault = compose.vault(settings, keys)
    with daemon_restart() as restart, vault.lock(longest_wait_for_vault(settings)):
        seal.unseal(vault, keys, restart)
    print(f"The vault {settings.vault_directory} is plain; its key was removed.")
    return 0
