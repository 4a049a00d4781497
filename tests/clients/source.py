"""Where the clients get their credentials: a real daemon that publishes short tokens, and the ways to them.

A way is a set of environment variables, as docs/clients.md says them. Each holds for every client; what a client wants
beside it is in its row of the table (`table.py`).
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tests.conftest import COMMAND, Server

from rolekeeper.emulator import Emulator

LIFE = timedelta(seconds=16)  # of a token, so that a new one is published every 8 s

# The ways by the heading of their column, and what the page says of each.
WAYS = {
    "file": "AWS_SHARED_CREDENTIALS_FILE names a plain credentials file",
    "process, config": "AWS_CONFIG_FILE names a file with `credential_process = rolekeeper credential-process ...`",
    "process, credentials": "AWS_SHARED_CREDENTIALS_FILE names a file with that line",
    "process file": "AWS_SHARED_CREDENTIALS_FILE names the `.profile` beside a process file",
    "endpoint": "the two variables of /run/rolekeeper/env/NAME: the URI, and the token itself",
    "endpoint, token file": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE instead of the token",
}


@dataclass
class Source:
    """A running daemon, and how often it has published."""

    emulator: Emulator
    directory: Path
    endpoint: str
    published: list[str] = field(default_factory=list)  # access key ids, oldest first

    def environment(self, way: str) -> dict[str, str]:
        """What a client's process gets of this way, and nothing of the machine's own."""
        aws = self.directory / "aws"
        said = {
            "AWS_REGION": self.emulator.region,
            "AWS_DEFAULT_REGION": self.emulator.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(aws / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(aws / "none"),
        }
        token = self.directory / "run" / "token" / "app"
        at = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.endpoint}app"}
        return (
            said
            | {
                "file": {"AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials")},
                "process, config": {"AWS_CONFIG_FILE": str(aws / "process.config")},
                "process, credentials": {"AWS_SHARED_CREDENTIALS_FILE": str(aws / "process.credentials")},
                "process file": {"AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials.json.profile")},
                "endpoint": at | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": token.read_text()},
                "endpoint, token file": at | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)},
            }[way]
        )


@contextmanager
def running(directory: Path) -> Iterator[Source]:
    """A registered node whose daemon publishes all three outputs, with the endpoint in the foreground."""
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(token_lifetime=LIFE))
        file = directory / "aws" / "credentials.json"
        outputs = f'[[credentials_file]]\npath = "{file}"\nformat = "process"\n[[endpoint]]\nname = "app"\n'
        server = Server(directory, emulator, outputs)
        server.register()
        stack.enter_context(_process(server, "run"))
        done = subprocess.run(server.command("wait", "--timeout", "30s"), env=server.environment(), check=False)
        assert done.returncode == 0, (directory / "run.log").read_text()
        _write_profiles(directory)
        serving = stack.enter_context(_process(server, "endpoint", "--address", "127.0.0.1:0"))
        assert serving.stdout is not None
        source = Source(emulator, directory, serving.stdout.readline().decode().strip())
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(source, file, stop))
        watcher.start()
        try:
            yield source
        finally:
            stop.set()
            watcher.join()


def _write_profiles(directory: Path) -> None:
    aws = directory / "aws"
    line = f"credential_process = {COMMAND} credential-process --file {aws}/credentials\n"
    (aws / "process.config").write_text(f"[default]\n{line}")
    (aws / "process.credentials").write_text(f"[default]\n{line}")
    (aws / "config").write_text("[default]\noutput = json\n")


def _watch(source: Source, file: Path, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        key = json.loads(file.read_text())["AccessKeyId"]
        if key not in source.published[-1:]:
            source.published.append(key)


@contextmanager
def _process(server: Server, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        (server.directory / f"{arguments[0]}.log").open("wb") as log,
        subprocess.Popen(
            server.command(*arguments), env=server.environment(), stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
