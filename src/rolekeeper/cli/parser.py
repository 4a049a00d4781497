"""The command line as a whole: which verbs there are, and what errors look like.

A verb's module has `EXAMPLE`, `configure(parser)` and `run(options) -> exit code`; only that of the verb at hand is
imported. Results go to standard output, messages to standard error.
"""

import argparse
import importlib
import io
import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

from rolekeeper.cli.messages import failed_output, guarded
from rolekeeper.cli.output import print_json
from rolekeeper.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

VERBS = {
    "run": "run the daemon in the foreground",
    "register": "register this machine with a hybrid activation",
    "attempt": "make one attempt by hand and print its outcome as JSON",
    "refresh": "tell the running daemon to try now, and wait for the outcome",
    "status": "say how the running daemon and the credentials are",
    "doctor": "look at everything between this machine and its credentials, and name the remedies",
    "wait": "wait until fresh credentials are published",
    "fingerprint": "compare the hardware with the vault; accept other hardware; set the similarity threshold",
    "credential-process": "print the published credentials as SDKs want them from credential_process",
    "endpoint": "serve the published credentials as SDKs want them from a container credentials endpoint",
    "adopt": "take over the registration of SSM Agent",
    "export": "write the registration in SSM Agent's layout, for the way back",
    "seal": "seal the vault, so that it is worth nothing on another machine",
    "unseal": "make a sealed vault plain again",
    "check": "validate the configuration and print it resolved",
    "clear": "forget the registration on this machine",
    "deregister": "end the managed node in AWS, and forget the registration",
    "emulator": "run the loopback service that stands in for AWS",
    "version": "print the version",
}
EXIT_CODES = """\
exit codes:
  0   done                                  74  a file, the vault or the hardware could
  64  the command line is wrong                 not be read or written
  69  the service or the daemon cannot be   77  refused, or not registered
      reached, or failed                    78  the configuration is wrong
"""
HINTS = {"rolekeeper register": "the activation code comes from a file, standard input or a prompt, see --help"}
HIDDEN = "***"
_VALUE = re.compile(r"""(['"])((?:\\.|(?!\1).)*)\1""")  # as argparse quotes what it was given: by repr()
_WORD = re.compile(r"[a-z-]{1,18}")  # such as a misspelt verb; shorter than any code


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of sysexits.h, and without abbreviations of options.

    What is wrong on a command line may be an activation code in the wrong place. So only names and plain words are
    repeated, no values.
    """

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(prog, description=description, epilog=epilog, formatter_class=_formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and how to learn what is right."""
        hint = HINTS.get(self.prog, f"{self.prog} --help")
        shown = _VALUE.sub(lambda quoted: quoted[0] if _WORD.fullmatch(quoted[2]) else HIDDEN, message, count=1)
        raise UsageError("argument-invalid", shown, hint)

    def options(self, arguments: list[str]) -> argparse.Namespace:
        """All of `arguments` as options; errors show only the names of unknown ones, never their values."""
        found, strange = self.parse_known_args(arguments)
        if strange:
            names = (one.partition("=")[0] if one.startswith("--") else HIDDEN for one in strange)
            self.error(f"unrecognized arguments: {' '.join(names)}")
        return found


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter with the terminal's width; to find it, argparse would import shutil and all compression modules."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns
    except (OSError, ValueError):
        columns = 0
    return argparse.RawDescriptionHelpFormatter(prog, width=(columns or 80) - 2)


def duration(name: str, text: str) -> "timedelta":
    """The duration that the option `name` is given; UsageError when it is none."""
    from rolekeeper import durations

    try:
        return durations.parse(text)
    except ValueError as error:
        raise UsageError("argument-invalid", f"{name} {text!r} is no duration", "write 45s or 5min") from error


def main(arguments: list[str]) -> int:
    """Run the verb that `arguments` name; returns the exit code."""
    if sys.stdout is None:  # closed before we started: the caller wants no results
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without some character is no reason for a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    exit_code = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        return failed_output(error, exit_code)
    return exit_code


def _run(arguments: list[str]) -> int:
    def parsed_and_run() -> int:
        options = parse(arguments)
        return int(options.run(options))

    try:
        return guarded(parsed_and_run, print_json if "--json" in arguments else None)
    except SystemExit as ended:  # --help
        return int(ended.code or 0)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line, with the verb's function as `run`; ends the process for --help and errors."""
    options = top_parser().options(arguments)
    module = importlib.import_module(f"rolekeeper.cli.{options.verb.replace('-', '_')}")
    verb = verb_parser(options.verb)
    module.configure(verb)
    verb.set_defaults(run=module.run, config=options.config)
    return verb.options(options.rest)


def top_parser() -> Parser:
    """The options before the verb, and the verb."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:{width}}{summary}" for verb, summary in VERBS.items())
    description = "Short-lived IAM role credentials for servers outside AWS, with no access key anywhere."
    epilog = f"verbs:\n{verbs}\n\n`rolekeeper VERB --help` says more.\n\n{EXIT_CODES}"
    parser = Parser("rolekeeper", description, epilog)
    parser.add_argument("--config", metavar="FILE", help="read FILE and the conf.d beside it, nothing under /etc")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="what to do, see below")
    rest = parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # else the error for a missing verb would name it
    return parser


def verb_parser(verb: str) -> Parser:
    """The parser of a verb, without the verb's own options."""
    module = importlib.import_module(f"rolekeeper.cli.{verb.replace('-', '_')}")
    summary = VERBS[verb]
    return Parser(f"rolekeeper {verb}", f"{summary[0].upper()}{summary[1:]}.", f"example:\n  {module.EXAMPLE}")
