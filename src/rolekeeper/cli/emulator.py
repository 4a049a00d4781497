"""`rolekeeper emulator`: AWS on the loopback interface, for trying and testing."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rolekeeper.cli.arguments import duration
from rolekeeper.cli.output import print_json
from rolekeeper.errors import UsageError
from rolekeeper.identifiers import REGION

if TYPE_CHECKING:
    from rolekeeper.emulator import Emulator

LARGEST_PORT = 65535
ACCOUNT_ID = re.compile(r"[0-9]{12}")
EXAMPLE = "rolekeeper emulator --port 4599 --state ./emulator.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Where it listens, and what it issues."""
    parser.add_argument("--address", default="127.0.0.1", help="to listen on, default 127.0.0.1")
    parser.add_argument("--port", type=int, default=4599, help="to listen on, 0 for any free one, default 4599")
    parser.add_argument("--state", metavar="FILE", help="keep activations, nodes and tokens here, over restarts")
    parser.add_argument("--token-lifetime", default="1h", metavar="DURATION", help="of role tokens, default 1h")
    parser.add_argument("--account-id", help="in every ARN, 12 digits")
    parser.add_argument("--region", help="that requests must be signed for, default us-east-1")
    parser.add_argument("--tls-certificate", metavar="FILE", help="speak https with this certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="and this private key (PEM)")
    parser.add_argument("--json", action="store_true", help="print JSON, not lines for a shell")


def run(options: argparse.Namespace) -> int:
    """Print what clients need, and serve until SIGTERM or SIGINT."""
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
        raise UsageError("argument-missing", "--tls-certificate and --tls-key go together", "give both or neither")
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
    """Refuse what is empty, as of a variable that is not set: left out, each of these means something else."""
    for name, value in vars(options).items():
        if value == "":
            option = f"--{name.replace('_', '-')}"
            raise UsageError("argument-invalid", f"{option} is empty", "name what is meant, or leave the option out")


def _port(port: int) -> int:
    if port not in range(LARGEST_PORT + 1):
        raise UsageError("argument-invalid", f"{port} is no port", f"write one of 0 to {LARGEST_PORT}")
    return port


def _account(account_id: str | None) -> str | None:
    if account_id is not None and ACCOUNT_ID.fullmatch(account_id) is None:
        raise UsageError("argument-invalid", f"{account_id!r} is no account id", "write 12 digits")
    return account_id


def _region(region: str | None) -> str | None:
    if region is not None and REGION.fullmatch(region) is None:
        raise UsageError("argument-invalid", f"{region!r} is no region", "write one such as us-east-1")
    return region
