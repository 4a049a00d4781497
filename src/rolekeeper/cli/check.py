"""`rolekeeper check`: whether the configuration is right, what it comes to, and what on this machine does not fit it.

Errors are what a person has to correct before the configuration can be used (78). Warnings concern one output each: it
would not be published, or not be served, while everything else works (0).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from rolekeeper import compose
from rolekeeper.adapters.outputs import accounts
from rolekeeper.adapters.outputs.accounts import Kind
from rolekeeper.adapters.vault import FILE
from rolekeeper.cli.endpointsocket import unserved
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.config import policies, show
from rolekeeper.config.files import DEFAULT_PATH, FRAGMENTS, is_fragment, read_fragment
from rolekeeper.config.load import ENDPOINTS, FILES, Loaded, load
from rolekeeper.errors import ConfigurationError, Problem, VaultError
from rolekeeper.settings import UNSEALED, Output, Settings

EXAMPLE = "rolekeeper check && systemctl reload rolekeeper"


def configure(parser: argparse.ArgumentParser) -> None:
    """The usual option, and a file that is to become part of the configuration."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--fragment",
        metavar="NAME=FILE",
        type=_fragment,
        help="check as if FILE were NAME in conf.d, before it is put there",
    )


def _fragment(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not file or "/" in name or not is_fragment(name):
        raise argparse.ArgumentTypeError("write NAME=FILE, where NAME is the name of a .toml file")
    return name, Path(file)


def run(options: argparse.Namespace) -> int:
    """Print the configuration resolved, or every problem at once (78); warnings go to standard error."""
    loaded = _loaded(Path(options.config) if options.config is not None else None, options.fragment)
    errors, warnings = policies.examine(loaded)
    warnings += account_warnings(loaded)
    warnings += seal_warnings(loaded.settings)
    if why := unserved(loaded.settings):
        warnings += (location.problem("", why.message, why.hint) for location in loaded.locations[ENDPOINTS])
    for warning in warnings:
        say(f"warning: {warning.where}: {warning.key}: {warning.message}", warning.hint)
    if loaded.problems or errors:
        raise ConfigurationError((*loaded.problems, *errors))
    if options.json:
        print_json({**show.resolved(loaded.settings), "warnings": [_fields(warning) for warning in warnings]})
    else:
        print(show.describe(loaded.settings), end="")
    return 0


def _loaded(path: Path | None, fragment: tuple[str, Path] | None) -> Loaded:
    if fragment is None:
        return load(path)
    name, file = fragment
    return load(path, fragment=read_fragment(file, str(Path(path or DEFAULT_PATH).parent / FRAGMENTS / name)))


def account_warnings(loaded: Loaded) -> Iterator[Problem]:
    """The owners and groups that cannot own a file here."""
    files = loaded.settings.credentials_files if loaded.locations[FILES] else ()  # the default file has no place
    outputs: tuple[Output, ...] = (*files, *loaded.settings.endpoints)
    for output, location in zip(outputs, loaded.locations[FILES] + loaded.locations[ENDPOINTS], strict=True):
        for key, kind, name in (("owner", Kind.USER, output.owner), ("group", Kind.GROUP, output.group)):
            if name is not None and (why := accounts.why_not(kind, name)):
                yield location.problem(key, *why)


def seal_warnings(settings: Settings) -> Iterator[Problem]:
    """The vault that is to be sealed, and is not: a setting alone seals nothing."""
    file = Path(settings.vault_directory, FILE)
    try:
        is_plain = settings.vault_seal != UNSEALED and file.exists() and compose.vault(settings).sealed_with() is None
    except (OSError, VaultError):  # it is for another user, or the daemon says what is wrong with it
        return
    if is_plain:
        yield Problem(str(file), "vault.seal", "the vault is not sealed", "`rolekeeper seal` seals it")


def _fields(warning: Problem) -> dict[str, str]:
    return {"file": warning.where, "key": warning.key, "message": warning.message, "hint": warning.hint}
