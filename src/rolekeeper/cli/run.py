"""`rolekeeper run`: the daemon."""

import argparse

from rolekeeper import compose, daemon

EXAMPLE = "rolekeeper --config ./config.toml run"


def configure(_parser: argparse.ArgumentParser) -> None:
    """No options: the configuration says everything."""


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM."""
    return daemon.run(compose.daemon_world(options.config))
