"""`rolekeeper check`: whether the configuration is right, and what it comes to."""

import argparse

from rolekeeper import compose, config_text
from rolekeeper.cli.output import print_json

EXAMPLE = "rolekeeper check && systemctl reload rolekeeper"


def configure(parser: argparse.ArgumentParser) -> None:
    """The usual option."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the configuration resolved; every problem at once otherwise (78)."""
    settings = compose.settings(options.config)
    if options.json:
        print_json(config_text.resolved(settings))
    else:
        print(config_text.describe(settings), end="")
    return 0
