"""`rolekeeper run`: the daemon."""

from typing import TYPE_CHECKING

from rolekeeper import compose, daemon

if TYPE_CHECKING:
    import argparse

EXAMPLE = "rolekeeper --config ./config.toml run"


def configure(_parser: "argparse.ArgumentParser") -> None:
    """No options: the configuration says everything."""


def run(options: "argparse.Namespace") -> int:
    """Run until SIGTERM."""
    return start(options.config)


def start(configuration: str | None) -> int:
    """The same, of a command line that needs no parser."""
    return daemon.run(compose.daemon_world(configuration))
