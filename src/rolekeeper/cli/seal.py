"""`rolekeeper seal`: the vault becomes worthless on another machine; see docs/security.md.

Keys are never printed. A recovery key goes to a new file, and comes from one.
"""

import argparse
import re

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_out_of_swap, keep_secrets_in_memory
from rolekeeper.adapters.vault.keyfile import CREDENTIAL, RecoveryFile
from rolekeeper.adapters.vault.keys import CREDSTORE, DROP_IN, DROP_IN_TEXT
from rolekeeper.attempt import seal
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.output import print_json
from rolekeeper.cli.sealing import daemon_restart
from rolekeeper.errors import RefusedError, UsageError
from rolekeeper.model import VaultKey
from rolekeeper.settings import UNSEALED, Settings

EXAMPLE = "rolekeeper seal --save-recovery-key /root/rolekeeper-recovery-key"
PCRS = re.compile(r"([0-9]|1[0-9]|2[0-3])([+,]([0-9]|1[0-9]|2[0-3]))*")


def configure(parser: argparse.ArgumentParser) -> None:
    """What to bind to, and what to do when the old key cannot be decrypted any more."""
    parser.add_argument("--rekey", action="store_true", help="seal with a new key")
    parser.add_argument(
        "--pcrs",
        metavar="LIST",
        default="7",
        help="the PCRs that the TPM binds the key to, such as 7+14; default 7, the state of Secure Boot; 23, which "
        "nothing is measured into, binds to the TPM alone",
    )
    parser.add_argument("--save-recovery-key", metavar="FILE", help="write the key to a new file, to be kept elsewhere")
    parser.add_argument("--recovery-key", metavar="FILE", help="the key that opens the vault, with --rekey")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Seal the vault, or seal it with a new key; then the daemon is restarted, if it runs."""
    keep_secrets_in_memory()
    if options.recovery_key is not None and not options.rekey:
        hint = "`rolekeeper seal --rekey --recovery-key FILE`"
        raise UsageError("argument-missing", "--recovery-key is for --rekey", hint)
    if not PCRS.fullmatch(options.pcrs):
        hint = "write numbers from 0 to 23, such as 7 or 7+14"
        raise UsageError("argument-invalid", f"--pcrs {options.pcrs!r} is no list of PCRs", hint)
    settings = compose.settings(options.config)
    if settings.vault_seal == UNSEALED:
        hint = 'set vault.seal to "host", "tpm2" or "host+tpm2"'
        raise RefusedError("seal-not-configured", 'Cannot seal: vault.seal is "none"', hint)
    keep_out_of_swap()
    give_up_after(settings.daemon.attempt_timeout)
    key = _sealed(settings, options)
    _print(settings, key, as_json=options.json)
    return 0


def _sealed(settings: Settings, options: argparse.Namespace) -> VaultKey:
    keys = compose.vault_keys(settings, options.pcrs, options.recovery_key)
    vault = compose.vault(settings, keys)
    copies = [RecoveryFile(options.save_recovery_key)] if options.save_recovery_key is not None else []
    with daemon_restart() as restart, vault.lock(longest_wait_for_vault(settings)):
        key = seal.rekey(vault, keys, copies) if options.rekey else seal.seal(vault, keys, copies, encrypt_again=True)
        restart()  # with the lock held: the daemon writes nothing with the key that it had before
    return key


def _print(settings: Settings, key: VaultKey, *, as_json: bool) -> None:
    credential = str(CREDSTORE / CREDENTIAL)
    if as_json:
        drop_in = str(DROP_IN)
        print_json({"seal": settings.vault_seal, "key": key.name, "credential": credential, "drop_in": drop_in})
        return
    print(f"The vault {settings.vault_directory} is sealed with the key {key.name} ({settings.vault_seal}).")
    print(f"The key is encrypted in {credential}. The unit gets it by {DROP_IN}:\n")
    print(DROP_IN_TEXT, end="")
