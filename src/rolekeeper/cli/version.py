"""`rolekeeper version`."""

import argparse

from rolekeeper import __version__
from rolekeeper.cli.output import print_json

EXAMPLE = "rolekeeper version"


def configure(parser: argparse.ArgumentParser) -> None:
    """The usual option."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the version."""
    if options.json:
        print_json({"version": __version__})
    else:
        print(f"rolekeeper {__version__}")
    return 0
