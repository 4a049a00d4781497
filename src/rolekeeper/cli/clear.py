"""`rolekeeper clear`: forget the registration on this machine, for instance before it becomes a golden image."""

import argparse
import sys
from collections.abc import Callable
from datetime import timedelta

from rolekeeper import compose
from rolekeeper.adapters.outputs.credentialsfile import SharedCredentialsFiles
from rolekeeper.adapters.outputs.publishedfile import PublishedFiles
from rolekeeper.adapters.process import keep_secrets_in_memory
from rolekeeper.adapters.supervision import runtime
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.messages import say
from rolekeeper.cli.sealing import daemon_restart
from rolekeeper.errors import OutputError, RefusedError, UsageError, VaultError
from rolekeeper.model import VaultContents
from rolekeeper.ports import SealableVault
from rolekeeper.settings import UNSEALED, FileFormat, Settings

LONGEST_FOR_FILE = timedelta(seconds=10)
EXAMPLE = "rolekeeper clear --yes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Scripts say yes beforehand."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Empty the vault and forget its key, after asking. The service still knows the node; credentials just expire."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    if not options.yes and not confirmed(f"Forget the registration in {settings.vault_directory}?", "clear"):
        print("Nothing was changed.")
        return 0
    refuse_while_daemon_registers_anew(settings)
    forget(settings)
    print("Forgot the registration; the managed node still exists in AWS until it is deregistered there.")
    return 0


def forget(settings: Settings, check: Callable[[SealableVault], None] = lambda _: None) -> None:
    """Empty the vault and forget its key, once `check` has seen it under its lock; the daemon learns it at once."""
    vault = compose.vault(settings)
    with daemon_restart() as restart, vault.lock(longest_wait_for_vault(settings)):
        has_key = settings.vault_seal != UNSEALED or _is_sealed(vault)
        keys = compose.vault_keys(settings)
        if has_key:
            keys.refuse_another_vault()
        check(vault)
        vault.save(VaultContents())
        try:
            if has_key:
                keys.take_back()
                keys.forget()
        finally:  # the registration is gone, whatever becomes of the key
            _withdraw(settings)
            if has_key:
                restart()
            compose.signal_daemon(settings)


def confirmed(question: str, verb: str) -> bool:
    """Whether a person at the terminal says yes; UsageError when there is no terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("not-confirmed", "Cannot ask: standard input is no terminal", f"`rolekeeper {verb} --yes`")
    try:
        answer = input(f"{question} This cannot be undone. [y/N] ")
    except (EOFError, UnicodeDecodeError):  # Ctrl-D, or what is no text: no yes
        print()
        return False
    return answer.strip().lower() in {"y", "yes"}


def refuse_while_daemon_registers_anew(settings: Settings) -> None:
    """RefusedError when a daemon runs that would register this machine again at once."""
    node = settings.node
    if node.activation_id and node.region and runtime.living(settings.daemon.runtime_directory) is not None:
        raise RefusedError(
            "would-register-again",
            "Cannot forget the registration: the running daemon would register anew at once, as [node] says",
            "`systemctl stop rolekeeper` first",
        )


def _is_sealed(vault: SealableVault) -> bool:
    """Whether a key belongs to the vault; a vault that cannot be read can still be emptied."""
    try:
        return vault.sealed_with() is not None
    except VaultError:
        return False


def _withdraw(settings: Settings) -> None:
    """Remove our expiry from shared files that are there; keys stay, and programs use them until they expire."""
    files = SharedCredentialsFiles(PublishedFiles(compose.clock().sleep))
    for file in settings.credentials_files:
        if file.format is not FileFormat.SHARED:
            continue
        try:
            files.withdraw(file, LONGEST_FOR_FILE)
        except OutputError as error:
            say(error.message, error.hint, code=error.code)
