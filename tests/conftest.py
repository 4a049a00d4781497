"""A server in a directory: its own configuration, vault, runtime directory and output, and the installed command.

Also the two tiers of tests: `make check` runs what needs root, a booted systemd or minutes, `make test` all the rest.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests import alone, inprocess

from rolekeeper import compose
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.attempt import register
from rolekeeper.emulator import Activation, Emulator, Token
from rolekeeper.model import NodeKey, VaultContents, VaultKey
from rolekeeper.values import replace

COMMAND = str(Path(sys.executable).parent / "rolekeeper")
LONGEST = 60  # seconds, for whatever should end by itself
WHOLE = bool(os.environ.get("ROLEKEEPER_WHOLE"))  # `make faults`: every case, where `make test` has a sample
MEMORY_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)

# How long an example takes on a busy machine says nothing. `make check` sets the variable to 100.
EXAMPLES = int(os.environ.get("ROLEKEEPER_EXAMPLES", "10"))
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=EXAMPLES
)
settings.load_profile("unhurried")


def many(examples: int, *suppressed: HealthCheck) -> settings:
    """So many random examples in `make check`, and a tenth of them in `make test`."""
    return settings(max_examples=examples * EXAMPLES // 100, suppress_health_check=[HealthCheck.too_slow, *suppressed])


# What this machine sets for its own programs: of AWS, of a service, and of proxies that do not lead to the loopback.
FOREIGN = re.compile(r"AWS_|ROLEKEEPER_(BOOT_ID|UNIT)$|CREDENTIALS_DIRECTORY$|NOTIFY_SOCKET$|JOURNAL_STREAM$")
for _name in [name for name in os.environ if FOREIGN.match(name)]:
    del os.environ[_name]
os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"127.0.0.1,localhost,{os.environ.get('no_proxy', '')}"

TESTS = Path(__file__).parent
# The directories of `make check`.
CHECKED = ("clients", "demo", "faults", "fleet", "packages", "powerloss", "sdks", "soak", "systemd", "systems")
ONLY_ROOT = "only root"  # so begins the reason of a skipif where a test needs root; others use the fixture `as_root`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what belongs to `make check`."""
    for item in items:
        directory = item.path.relative_to(TESTS).parts[0]
        reasons = [str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")]
        needs_root = "as_root" in getattr(item, "fixturenames", ()) or any(one.startswith(ONLY_ROOT) for one in reasons)
        if directory in CHECKED or needs_root:
            item.add_marker(pytest.mark.check)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Tests of signals to their own process, as the daemon gets them, have no thread of pytest-xdist beside them."""
    if item.get_closest_marker("alone") is None or "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    return alone.run(item, nextitem)


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
    vault_keys: Callable[[], tuple[VaultKey, ...]] = tuple  # of a sealed vault

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
        """Run a command to its end in this process: where a process of its own makes no difference to the test."""
        said = Said(*inprocess.call(self.command(*arguments), self.environment(**(env or {})), stdin))
        self.heard += [said.out, said.err]
        return said

    def module(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command past the launcher, which keeps PYTHON* variables out; `options` are the interpreter's."""
        return [sys.executable, *options, "-m", "rolekeeper", "--config", str(self.config), *arguments]

    def process(
        self,
        *arguments: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        options: Sequence[str] | None = None,
    ) -> Said:
        """Run the installed command to its end as a process; or, with `options` of the interpreter, the module."""
        done = subprocess.run(
            self.command(*arguments) if options is None else self.module(*arguments, options=options),
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
        wanted = register.ActivationDetails(self.activation.activation_id, self.activation.code, self.emulator.region)
        world = replace(compose.world(compose.settings(str(self.config))), keys=ONE_KEY)
        with world.vault.lock(timedelta(seconds=LONGEST)):
            node = register.register(world, world.vault.load(), wanted, replace_old=True)
        self.node_id = node.registration.node_id

    def configure_activation(self, limit: int = 1, **tables: str) -> None:
        """Configure [node] with a new activation, and a file with its code."""
        self.activation = self.emulator.create_activation(limit=limit)
        code = self.directory / "code"
        code.touch(0o600)
        code.write_text(self.activation.code)
        self.configure(
            f'[node]\nregion = "{self.emulator.region}"\nactivation_id = "{self.activation.activation_id}"\n'
            f'activation_code_file = "{code}"\n',
            **tables,
        )

    def registration(self) -> tuple[str, ...]:
        assert self.activation is not None
        return ("register", "--activation-id", self.activation.activation_id, "--region", self.emulator.region)

    def vault(self) -> VaultContents:
        return FileVault(self.directory / "vault", SystemClock(), self.vault_keys).load()

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


def rebound(contents: VaultContents, **changes: Any) -> VaultContents:
    """Contents whose accepted fingerprint, or what belongs to it, was changed so."""
    assert contents.node is not None
    return replace(contents, node=replace(contents.node, accepted=replace(contents.node.accepted, **changes)))


def memory(process: Path) -> bytes:
    """Everything that the process /proc/PID could write into a core dump."""
    found = bytearray()
    with (process / "mem").open("rb", buffering=0) as file:
        for start, end in MEMORY_REGION.findall((process / "maps").read_text()):
            file.seek(int(start, 16))
            while (left := int(end, 16) - file.tell()) > 0 and (piece := file.read(left)):
                found += piece
    return bytes(found)


def forked(work: Callable[[], object]) -> int:
    """The pid of a child of this process, which does `work` and ends; with 3 when that fails."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent has to know, and pytest must not go on here
            os._exit(3)
        os._exit(0)
    return child


@pytest.fixture
def as_root() -> None:
    """What needs root is left to `make check`, and skipped there for anybody else."""
    if os.geteuid() != 0:
        pytest.skip(ONLY_ROOT)


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
