"""`rolekeeper register`: this machine becomes a managed node.

The activation code is a secret. It comes from a file, from the systemd credential `activation-code`, from standard
input or from a prompt, and never from the command line, which every user of the machine can see. A user may still type
it there by mistake, so an error names the option and never repeats its value.
"""

import argparse
import getpass
import os
import re
import signal
import sys

from rolekeeper import compose
from rolekeeper.adapters import activationcode
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.attempt.look import LOOKS, between_looks
from rolekeeper.attempt.register import ActivationDetails, register
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.fingerprint import warn_of_machine_id
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.cli.sealing import seal_if_configured, take_over_drop_in
from rolekeeper.errors import InputOutputError, UsageError
from rolekeeper.identifiers import REGION, UUID
from rolekeeper.model import Registration
from rolekeeper.settings import Settings
from rolekeeper.values import replace

EXAMPLE = (
    "rolekeeper register --activation-id 12345678-1234-1234-1234-123456789012 --region eu-central-1 "
    "--activation-code-file /root/code"
)
ID_HINT = "copy the ActivationId that `aws ssm create-activation` printed"
REGION_HINT = "write one such as eu-central-1; for FIPS endpoints set service.fips"
ACTIVATION_CODE = re.compile(r"[\x21-\x7e]{20,250}")  # docs/protocol.md, section 2.1


def configure(parser: argparse.ArgumentParser) -> None:
    """The activation, where its code is, and --json."""
    id_help = "the ActivationId that `aws ssm create-activation` printed"
    parser.add_argument("--activation-id", required=True, metavar="ID", help=id_help)
    parser.add_argument("--region", required=True, help="the region of the activation")
    parser.add_argument(
        "--activation-code-file",
        metavar="FILE",
        help="a file that holds the activation code; without it the systemd credential `activation-code`, standard "
        "input, or a prompt",
    )
    parser.add_argument("--force", action="store_true", help="replace the existing registration")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Register; the old registration, if any, stays in force until the new one is on disk."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    activation_id = _matching("--activation-id", UUID, options.activation_id, ID_HINT)
    region = _matching("--region", REGION, options.region, REGION_HINT)
    activation = ActivationDetails(activation_id, _code(options.activation_code_file, settings), region)
    give_up_after(settings.daemon.attempt_timeout)
    vault, between = compose.vault(settings), between_looks(settings.daemon.attempt_timeout)
    world = replace(compose.world(settings, looks=LOOKS), vault=vault)
    with vault.lock(longest_wait_for_vault(settings)):
        is_new_key = seal_if_configured(settings, vault)
        node = register(world, vault.load(), activation, replace_old=options.force, between=between)
    _print(node.registration, as_json=options.json)
    warn_of_machine_id(node.accepted.hardware_hash, node.accepted.hardware_hash)
    if is_new_key:
        take_over_drop_in()
    if not compose.signal_daemon(settings, signal.SIGHUP):
        say(
            "registered; no daemon runs, or it could not be signalled",
            "`systemctl start rolekeeper` keeps credentials published; a running daemon notices within a minute",
        )
    return 0


def _matching(name: str, pattern: re.Pattern[str], value: str, hint: str) -> str:
    if pattern.fullmatch(value) is None:
        raise UsageError("argument-invalid", f"The value of {name} is not valid", hint)
    return value


def _code(path: str | None, settings: Settings) -> str:
    source = path or activationcode.credential(os.environ.get("CREDENTIALS_DIRECTORY"))
    name = "the file of --activation-code-file" if path else source or "standard input"
    if source is not None:
        give_up_after(settings.daemon.attempt_timeout)  # it may be a FIFO; the prompt has no time limit
        code = activationcode.read(source, name)
    elif sys.stdin is None:  # closed before we began
        code = ""
    elif sys.stdin.isatty():
        code = _ask()
    else:
        code = _from_standard_input()
    if ACTIVATION_CODE.fullmatch(code) is None:
        raise UsageError(
            "activation-code-invalid",
            f"The activation code from {name} is not one: 20 to 250 characters, no blanks",
            "copy it from `aws ssm create-activation`, where it is shown only once",
        )
    return code


def _from_standard_input() -> str:
    """The first line, as `activationcode.read` takes it: a byte order mark goes, other characters are no code."""
    try:
        return sys.stdin.buffer.readline(activationcode.LONGEST).decode("utf-8-sig", errors="replace").strip()
    except OSError as error:
        raise InputOutputError(
            "activation-code-unreadable",
            f"Cannot read the activation code from standard input: {error.strerror}",
            "run the command again, or name a file with --activation-code-file",
        ) from error


def _ask() -> str:
    try:
        return getpass.getpass("Activation code: ").strip()
    except (EOFError, UnicodeDecodeError):  # Ctrl-D, or bytes that are no text
        return ""


def _print(node: Registration, *, as_json: bool) -> None:
    if as_json:
        print_json({"node_id": node.node_id, "region": node.region})
    else:
        print(f"Registered as {node.node_id} in {node.region}.")
