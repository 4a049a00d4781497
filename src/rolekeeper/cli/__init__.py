"""The commands, one file a verb: parse, call, print, return an exit code."""

import sys


def main() -> int:
    """Run the command line; returns the exit code (sysexits.h, see `rolekeeper --help`)."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["credential-process"]:  # started by SDKs, again and again: past argparse and the rest
        from rolekeeper.cli import credential_process

        return credential_process.main(arguments[1:])
    from rolekeeper.cli import parser

    return parser.main(arguments)
