"""`rolekeeper endpoint`: the container credentials endpoint, from the documents that the daemon publishes.

There are two ways to start it. `systemd/rolekeeper-endpoint.service` starts it without arguments, with the listening
sockets (sd_listen_fds(3)) and the documents as systemd credentials; its start is part of a request, so it goes past
the parser and the configuration. With --address it listens itself, and takes the documents from where the configured
daemon publishes them.
"""

from __future__ import annotations

from os import environ, getpid

from rolekeeper.cli.messages import keep_out_of_cores, say
from rolekeeper.endpoint.documents import Directory
from rolekeeper.endpoint.server import Server

TYPE_CHECKING = False  # as typing's, whose import would cost more than this module
if TYPE_CHECKING:
    import argparse
    from _socket import socket

EXAMPLE = "rolekeeper endpoint --address 127.0.0.1:4580"
DIRECTORY = "/run/rolekeeper/endpoint"
PREFIX = "endpoint_"  # before each credential that LoadCredential=endpoint:DIRECTORY loads
BOOT_ID = "ROLEKEEPER_BOOT_ID"
FIRST_SOCKET = 3  # sd_listen_fds(3)
IDLE = 10.0  # seconds without a connection after which a server that systemd started ends
LONGEST = 60.0  # seconds after which it ends in any case: its credentials are those of its start
INPUT_OUTPUT = 74  # the exit code of errors.InputOutputError, a module that only failures load
BACKLOG = 4096  # connections that wait to be accepted, as in the socket unit


def main() -> int:
    """Serve on the sockets that systemd has opened; without any, the ordinary parser explains."""
    count = _handed_over()
    if not count:
        from rolekeeper.cli.parser import main as main_with_help

        return main_with_help(["endpoint"])
    keep_out_of_cores()
    try:
        sockets = [_listening(FIRST_SOCKET + number) for number in range(count)]
    except OSError as error:
        hint = "give the unit a socket with ListenStream= and Accept=no"
        say(f"Cannot use an inherited socket: {error.strerror}", hint, code="socket-unusable")
        return INPUT_OUTPUT
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    directory = Directory(credentials or DIRECTORY, PREFIX if credentials else "", environ.get(BOOT_ID, ""))
    Server(sockets, directory).run(idle=IDLE, longest=LONGEST)
    return 0


def _handed_over() -> int:
    """How many sockets systemd has opened for this very process."""
    count = environ.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and environ.get("LISTEN_PID") == str(getpid()) else 0


def _listening(descriptor: int) -> socket:
    from _socket import SO_ACCEPTCONN, SOCK_STREAM, SOL_SOCKET, socket
    from errno import ENOTCONN

    found = socket(fileno=descriptor)
    if found.type != SOCK_STREAM or not found.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        raise OSError(ENOTCONN, "it is no stream socket that listens")
    return found


def configure(parser: argparse.ArgumentParser) -> None:
    """Where it listens."""
    parser.add_argument("--address", metavar="HOST:PORT", help="listen here; without it, on the sockets of systemd")


def run(options: argparse.Namespace) -> int:
    """Print the URL, and serve until a signal ends it."""
    import socket
    from pathlib import Path

    from rolekeeper import compose
    from rolekeeper.errors import InputOutputError, UsageError

    if options.address is None:
        hint = "give --address, or start it by `systemctl start rolekeeper-endpoint.socket`"
        raise UsageError("argument-missing", "systemd has handed over no socket, and there is no --address", hint)
    host, port = _host_and_port(options.address)
    runtime_directory = compose.settings(options.config).daemon.runtime_directory
    keep_out_of_cores()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "choose another address, or end what listens there (`ss -tlnp`)"
        message = f"Cannot listen on {options.address}: {error.strerror}"
        raise InputOutputError("address-unusable", message, hint) from error
    print(f"http://{options.address.rpartition(':')[0]}:{listener.getsockname()[1]}/", flush=True)
    Server([listener], Directory(str(Path(runtime_directory, "endpoint")), "", environ.get(BOOT_ID, ""))).run()
    return 0


def _host_and_port(address: str) -> tuple[str, int]:
    from rolekeeper.errors import UsageError

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise UsageError("argument-invalid", f"{address!r} is no address to listen on", "write one as 127.0.0.1:4580")
    return host.removeprefix("[").removesuffix("]"), int(port)
