"""A server in a directory: its own configuration, vault, runtime directory and output, and the installed command."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rolekeeper import compose
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.attempt import register
from rolekeeper.emulator import Activation, Emulator, Token
from rolekeeper.model import NodeKey, VaultContents

COMMAND = str(Path(sys.executable).parent / "rolekeeper")
LONGEST = 60  # seconds, for whatever should end by itself
WHOLE = bool(os.environ.get("ROLEKEEPER_WHOLE"))  # `make faults`: every case, where `make test` has a sample
MEMORY_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)

# How long an example takes, on a machine with other things to do, says nothing.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


class OneKey:
    """One real key for every server that is not registered by a command: to make one takes its time."""

    made: NodeKey | None = None

    def new_key(self, created_at: datetime) -> NodeKey:
        self.made = self.made or RsaKeyMaker().new_key(created_at)
        return replace(self.made, created_at=created_at)


ONE_KEY = OneKey()


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Server:
    """One server; `tables` is the configuration beyond the paths, as text."""

    directory: Path
    emulator: Emulator
    tables: str = ""
    activation: Activation | None = None
    node_id: str = ""
    heard: list[str] = field(default_factory=list)  # everything that any command printed

    def __post_init__(self) -> None:
        self.configure(self.tables)

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def output(self) -> Path:
        return self.directory / "aws" / "credentials"

    @property
    def runtime(self) -> Path:
        return self.directory / "run"

    def configure(self, tables: str = "", *, daemon: str = "", service: str = "", output: str = "") -> None:
        """Write the configuration: the paths and the endpoint, more keys for three tables, and more tables."""
        self.config.write_text(
            f'[service]\nendpoint_url = "{self.emulator.url}"\n{service}\n'
            f'[vault]\ndirectory = "{self.directory}/vault"\n'
            f'[daemon]\nruntime_directory = "{self.runtime}"\n{daemon}\n'
            f'[[credentials_file]]\npath = "{self.output}"\n{output}\n{tables}\n'
        )

    def command(self, *arguments: str) -> list[str]:
        return [COMMAND, "--config", str(self.config), *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the person's who runs the tests, but what measures coverage."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.directory), **kept, **more}

    def run(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Said:
        """Run the installed command to its end."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
            env=self.environment(**(env or {})),
        )
        self.heard += [done.stdout, done.stderr]
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def register(self) -> None:
        """Register with a new activation, in this process: a command of its own takes longer than many a test."""
        self.activation = self.emulator.create_activation()
        wanted = register.Activation(self.activation.activation_id, self.activation.code, self.emulator.region)
        world = replace(compose.world(compose.settings(str(self.config))), keys=ONE_KEY)
        with world.vault.lock(timedelta(seconds=LONGEST)):
            contents = register.register(world, world.vault.load(), wanted, replace_old=True)
        assert contents.registration is not None
        self.node_id = contents.registration.node_id

    def registration(self) -> tuple[str, ...]:
        assert self.activation is not None
        return ("register", "--activation-id", self.activation.activation_id, "--region", self.emulator.region)

    def vault(self) -> VaultContents:
        return FileVault(self.directory / "vault", SystemClock()).load()

    def status_file(self) -> dict[str, Any]:
        """What status.json says; empty while there is none."""
        path = self.runtime / "status.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def tokens(self) -> list[Token]:
        """The tokens that the emulator has issued to this server's node, oldest first."""
        return [token for token in self.emulator.tokens.values() if token.node_id == self.node_id]

    def secrets(self) -> list[str]:
        """Everything that must be in no output, status, log, argument list or environment."""
        contents = self.vault()
        keys = [contents.registration and contents.registration.key, contents.pending_key, contents.superseded_key]
        private = [key.private_key for key in keys if key]
        codes = [activation.code for activation in self.emulator.activations.values()]
        issued = [secret for token in self.tokens() for secret in (token.secret_access_key, token.session_token)]
        return [*codes, *private, *issued]


def memory(process: Path) -> bytes:
    """Everything that the process /proc/PID could write into a core dump."""
    found = bytearray()
    with (process / "mem").open("rb", buffering=0) as file:
        for start, end in MEMORY_REGION.findall((process / "maps").read_text()):
            file.seek(int(start, 16))
            while (left := int(end, 16) - file.tell()) > 0 and (piece := file.read(left)):
                found += piece
    return bytes(found)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, emulator: Emulator) -> Iterator[Server]:
    """A server that is not registered."""
    yield Server(tmp_path, emulator)
    emulator.clear_faults()


@pytest.fixture
def node(server: Server) -> Server:
    """A server that is registered."""
    server.register()
    return server
