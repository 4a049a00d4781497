"""`rolekeeper emulator`: a loopback service that behaves like AWS, for trials and tests."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rolekeeper.cli.output import print_json
from rolekeeper.cli.parser import duration
from rolekeeper.errors import UsageError
from rolekeeper.identifiers import REGION

if TYPE_CHECKING:
    from rolekeeper.emulator import Emulator

LARGEST_PORT = 65535
ACCOUNT_ID = re.compile(r"[0-9]{12}")
EXAMPLE = "rolekeeper emulator --port 4599 --state ./emulator.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Where the emulator listens, and what it issues."""
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on, default 127.0.0.1")
    parser.add_argument("--port", type=int, default=4599, help="port to listen on, 0 for any free port, default 4599")
    parser.add_argument(
        "--state", metavar="FILE", help="file that keeps roles, activations, nodes and tokens over a restart"
    )
    parser.add_argument(
        "--token-lifetime", default="1h", metavar="DURATION", help="lifetime of role tokens, default 1h"
    )
    parser.add_argument("--account-id", help="account id in every ARN, 12 digits")
    parser.add_argument("--region", help="region that requests must be signed for, default us-east-1")
    parser.add_argument("--tls-certificate", metavar="FILE", help="certificate (PEM) for https")
    parser.add_argument("--tls-key", metavar="FILE", help="private key (PEM) for --tls-certificate")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines for a shell")


def run(options: argparse.Namespace) -> int:
    """Print the variables that clients need, and serve until SIGTERM or SIGINT."""
    try:
        from rolekeeper.emulator import Emulator, Tls
    except ModuleNotFoundError as error:
        raise UsageError(
            "emulator-not-installed",
            f"Cannot run the emulator: the module {error.name} is not installed",
            "run it from a checkout of rolekeeper: `make .venv/ready`, then `.venv/bin/rolekeeper emulator`",
        ) from error
    _check_filled(options)
    if (options.tls_certificate is None) != (options.tls_key is None):
        raise UsageError("argument-missing", "--tls-certificate and --tls-key go together", "pass both or neither")
    emulator = Emulator(
        address=options.address,
        port=_port(options.port),
        state_file=None if options.state is None else Path(options.state),
        token_lifetime=duration("--token-lifetime", options.token_lifetime),
        account_id=_account(options.account_id),
        region=_region(options.region),
        tls=Tls(Path(options.tls_certificate), Path(options.tls_key)) if options.tls_certificate else None,
    )
    emulator.run(_announce_json if options.json else _announce)
    return 0


def _announce(emulator: "Emulator") -> None:
    for name, value in emulator.environment.items():
        print(f"export {name}={value}", flush=True)


def _announce_json(emulator: "Emulator") -> None:
    print_json(emulator.environment)
    sys.stdout.flush()


def _check_filled(options: argparse.Namespace) -> None:
    """Refuse empty values, such as unset variables: an omitted option means something else."""
    for name, value in vars(options).items():
        if value == "":
            option = f"--{name.replace('_', '-')}"
            raise UsageError("argument-invalid", f"{option} is empty", "write a value, or omit the option")


def _port(port: int) -> int:
    if port not in range(LARGEST_PORT + 1):
        raise UsageError("argument-invalid", f"{port} is not a port", f"write a number from 0 to {LARGEST_PORT}")
    return port


def _account(account_id: str | None) -> str | None:
    if account_id is not None and ACCOUNT_ID.fullmatch(account_id) is None:
        raise UsageError("argument-invalid", f"{account_id!r} is not an account id", "write 12 digits")
    return account_id


def _region(region: str | None) -> str | None:
    if region is not None and REGION.fullmatch(region) is None:
        raise UsageError("argument-invalid", f"{region!r} is not a region", "write a name such as us-east-1")
    return region
