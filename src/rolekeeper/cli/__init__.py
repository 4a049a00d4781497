"""The commands, one file a verb: parse, call, print, return an exit code."""

import sys

from rolekeeper.cli.messages import guarded, open_standard_streams


def main() -> int:
    """Run the command line; returns the exit code (sysexits.h, see `rolekeeper --help`)."""
    open_standard_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["credential-process"]:  # started by SDKs, again and again: past argparse and the rest
        from rolekeeper.cli.credential_process import main as credential_process

        return credential_process(arguments[1:])
    if arguments == ["endpoint"]:  # started by systemd for a request that waits: likewise
        from rolekeeper.cli.endpoint import main as endpoint

        return endpoint()
    if arguments[-1:] in (["--supervised"], ["--report-health"]):  # started by the daemon for each refresh: likewise
        return guarded(lambda: _supervised(arguments))
    if arguments == ["run"] or (arguments[:1], arguments[2:]) == (["--config"], ["run"]):  # by systemd at each boot
        return guarded(lambda: _daemon(arguments[1] if len(arguments) > 1 else None))
    from rolekeeper.cli.parser import main as run

    return run(arguments)


def _supervised(arguments: list[str]) -> int:
    from rolekeeper.cli.supervised import main

    return main(arguments)


def _daemon(configuration: str | None) -> int:
    from rolekeeper.cli.run import start

    return start(configuration)
