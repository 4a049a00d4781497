"""`rolekeeper doctor`: the chain from the configuration to a program that can read its credentials, link by link."""

import argparse
import os
import sys
from pathlib import Path

from rolekeeper import compose
from rolekeeper.adapters.process import keep_secrets_in_memory
from rolekeeper.cli.output import print_json
from rolekeeper.cli.probes import chain, outputs
from rolekeeper.cli.probes.case import Case
from rolekeeper.config.load import Loaded, load
from rolekeeper.core.findings import Finding, Level, exit_code, failed, misconfigured, skipped, summary
from rolekeeper.errors import ConfigurationError, RolekeeperError

EXAMPLE = "sudo rolekeeper doctor"
COLOURS = {Level.OK: "32", Level.SKIPPED: "2", Level.WARNING: "33", Level.FAILED: "1;31"}  # ECMA-48, SGR
LEVEL_WIDTH = max(map(len, Level)) + 1
NAME_WIDTH = max(len(link.name) for link in chain.CHAIN) + 1


def configure(parser: argparse.ArgumentParser) -> None:
    """What it may spend, and the usual option; `--outputs` is the part that runs in the unit's sandbox."""
    parser.add_argument(
        "--token",
        action="store_true",
        help="request a role token, assume every role with it, and discard both",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--outputs", action="store_true", help=argparse.SUPPRESS)
    parser.epilog = (
        f"{parser.epilog}\n\nIt changes nothing, and ends within 30 seconds. The exit code is that of the first link\n"
        "that failed; warnings do not count. As another user than root, it cannot look everywhere."
    )


def run(options: argparse.Namespace) -> int:
    """Look at every link, print what was found, and end with the exit code of the first that failed."""
    keep_secrets_in_memory()
    if options.outputs:
        print_json(list(outputs.look(_case(options, load(_path(options))).settings)))
        return 0
    found = _examine(options)
    code = exit_code(found)
    if options.json:
        print_json({"exit_code": code, "findings": found})
    else:
        _print(found)
    return code


def _examine(options: argparse.Namespace) -> list[Finding]:
    try:
        loaded = load(_path(options))
    except RolekeeperError as error:  # the machine fails, and the configuration is not to blame
        return [failed("configuration", error), _rest()]
    unread = [problem for problem in loaded.problems if not problem.key]
    if unread:  # the rest would be about another configuration
        code = ConfigurationError(()).code
        return [
            *(misconfigured("configuration", Level.FAILED, code, one, ConfigurationError.exit_code) for one in unread),
            *chain.walk(_case(options, loaded), links=chain.WITHOUT_CONFIGURATION),
            _rest(),
        ]
    return chain.walk(_case(options, loaded))


def _path(options: argparse.Namespace) -> Path | None:
    return Path(options.config) if options.config is not None else None


def _case(options: argparse.Namespace, loaded: Loaded) -> Case:
    return Case(options.config, options.token, compose.clock(), dict(os.environ), loaded)


def _rest() -> Finding:
    return skipped("daemon", "neither this nor what follows was looked at: it needs configuration")


def _print(found: list[Finding]) -> None:
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    shown_hints: set[str] = set()
    for one in found:
        word = f"{one.level:{LEVEL_WIDTH}}"
        shown = f"\x1b[{COLOURS[one.level]}m{word}\x1b[0m" if is_coloured else word
        subject = f"{one.subject}: " if one.subject else ""
        code = f" [{one.code}]" if one.code else ""
        print(f"{shown}{one.name:{NAME_WIDTH}}{subject}{one.message}{code}")
        if one.hint:
            print(_remedy("as above" if one.hint in shown_hints else one.hint))
        shown_hints.add(one.hint)
    print(summary(found))


def _remedy(hint: str) -> str:
    """Below its finding; the lines after the first, such as those of a drop-in, stay as they are."""
    indented = " " * (LEVEL_WIDTH + NAME_WIDTH)
    return f"{indented}-> " + f"\n{indented}   ".join(hint.splitlines())
