"""`rolekeeper check`: whether the configuration is right, and what it comes to."""

import argparse

from rolekeeper import compose
from rolekeeper.cli.output import print_json
from rolekeeper.config import show

EXAMPLE = "rolekeeper check && systemctl reload rolekeeper"


def configure(parser: argparse.ArgumentParser) -> None:
    """The usual option."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the configuration resolved; every problem at once otherwise (78)."""
    settings = compose.settings(options.config)
    if options.json:
        print_json(show.resolved(settings))
    else:
        print(show.describe(settings), end="")
    return 0
