"""A machine in miniature: the real vault, files, keys and HTTP, against an emulator that shares its clock.

Only the clock and the hardware are made up: time stands still until somebody sleeps or the test moves it, and the
hardware is a dict.
"""

import configparser
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from rolekeeper.adapters.outputs.credentialsfile import SharedCredentialsFiles
from rolekeeper.adapters.outputs.dispatch import AllOutputs
from rolekeeper.adapters.outputs.endpoint import EndpointDocuments, Endpoints
from rolekeeper.adapters.outputs.processfile import ProcessFiles
from rolekeeper.adapters.outputs.publishedfile import PublishedFiles
from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key
from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.attempt.register import ActivationDetails, register
from rolekeeper.attempt.run import run
from rolekeeper.emulator import Activation as EmulatedActivation
from rolekeeper.emulator import Emulator, RecordedRequest, Token
from rolekeeper.model import (
    AttemptReport,
    Hardware,
    Instant,
    NodeKey,
    OutputName,
    Registration,
    RoleToken,
    TokenAnswer,
    VaultContents,
)
from rolekeeper.ports import Outputs, World
from rolekeeper.settings import (
    CredentialsFile,
    DaemonSettings,
    HibernationSettings,
    NodeSettings,
    Role,
    ServiceSettings,
    Settings,
)
from rolekeeper.values import replace

TOKEN = "RequestManagedInstanceRoleToken"
REGISTER = "RegisterManagedInstance"
UPDATE_KEY = "UpdateManagedInstancePublicKey"
NO_WAIT = timedelta(seconds=1)
HARDWARE = {
    "machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
    "processor-hash": "D2sWmEZEqUbRRd08CHTR8w==",
    "memory-hash": "jtgQvZOkRr/kyGcpViCzcg==",
    "bios-hash": "zBUwXPcQkUe1xTpRE+3kSQ==",
    "system-hash": "cBXxz/yT9anGxXazdWsRPA==",
    "hostname-info": "vm",
    "ipaddress-info": "192.0.2.2",
    "macaddr-info": "42:08:26:a9:82:e2",
    "disk-info": "Zm9yIHRlc3RzIG9ubHkhIQ==",
}


@dataclass
class MovingClock:
    """Both clocks of a machine; they move when somebody sleeps, and when a test says so."""

    wall: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    boot: timedelta = timedelta(hours=1)
    boot_name: str = "first-boot"
    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> Instant:
        return Instant(self.wall, self.boot)

    def sleep(self, duration: timedelta) -> None:
        self.slept.append(duration)
        self.move(duration)

    def boot_id(self) -> str:
        return self.boot_name

    def move(self, duration: timedelta) -> None:
        self.wall += duration
        self.boot += duration

    def reboot(self) -> None:
        self.boot, self.boot_name = timedelta(seconds=20), "second-boot"


@dataclass
class Machinery:
    """The hardware, as a dict that tests change; `later` replaces it after so many more looks.

    A component in `transient` cannot be read before so many looks.
    """

    components: dict[str, str] = field(default_factory=lambda: dict(HARDWARE))
    unreadable: dict[str, str] = field(default_factory=dict)
    looks: int = 0
    later: tuple[int, dict[str, str]] | None = None
    transient: dict[str, int] = field(default_factory=dict)

    def look(self) -> Hardware:
        self.looks += 1
        if self.later is not None and self.looks > self.later[0]:
            self.components, self.later = self.later[1], None
        waited_for = frozenset(name for name, looks in self.transient.items() if self.looks < looks)
        unreadable = {**self.unreadable, **dict.fromkeys(waited_for, "not ready")}
        shown = {name: "" if name in unreadable else value for name, value in self.components.items()}
        return Hardware(shown, unreadable, waited_for)

    def replace_parts(self, *names: str, by: str = "another") -> None:
        self.components.update({name: f"{by} {name}" for name in names})


@dataclass
class StockOfKeys:
    """Real keys, made ahead: to make one takes longer than a test."""

    made: list[NodeKey] = field(default_factory=list)
    taken: int = 0

    def new_key(self, created_at: datetime) -> NodeKey:
        if self.taken == len(self.made):
            self.made.append(RsaKeyMaker().new_key(created_at))
        self.taken += 1
        return replace(self.made[self.taken - 1], created_at=created_at)


@dataclass
class Machine:
    """One machine; every attempt gets adapters of its own, as a process of its own would."""

    emulator: Emulator
    directory: Path
    clock: MovingClock
    settings: Settings
    keys: StockOfKeys
    hardware: Machinery = field(default_factory=Machinery)
    code: str | None = None
    node_id: str = ""
    outputs: Outputs | None = None  # files, unless a test puts something before them

    def world(self) -> World:
        return World(
            clock=self.clock,
            vault=FileVault(self.settings.vault_directory, self.clock),
            service=SsmService(self.settings.service, self.clock, "1.2.3"),
            probe=self.hardware,
            roles=NoRoles(),
            outputs=self.outputs or real_outputs(self.settings, self.clock),
            keys=self.keys,
            new_fingerprint=lambda: str(uuid4()),
            activation_code=lambda: self.code,
        )

    def register(self, activation: EmulatedActivation | None = None, *, replace_old: bool = False) -> VaultContents:
        given = activation or self.emulator.create_activation()
        wanted = ActivationDetails(given.activation_id, given.code, self.emulator.region)
        world = self.world()
        with world.vault.lock(NO_WAIT):
            node = register(world, world.vault.load(), wanted, replace_old=replace_old)
        self.node_id = node.registration.node_id
        return world.vault.load()

    def attempt(self, *, reuse: bool = False) -> AttemptReport:
        return run(self.world(), self.settings, reuse=reuse)

    def change(self, **changes: object) -> None:
        """Another configuration from now on."""
        self.settings = replace(self.settings, **changes)

    def vault(self) -> VaultContents:
        return FileVault(self.settings.vault_directory, self.clock).load()

    def save(self, contents: VaultContents) -> None:
        vault = FileVault(self.settings.vault_directory, self.clock)
        with vault.lock(NO_WAIT):
            vault.save(contents)

    def copied_to(self, directory: Path) -> "Machine":
        """Another machine that was given a copy of this one's vault."""
        return replace(self, directory=directory, settings=settings_in(directory, self.emulator.url))

    def output(self, number: int = 0) -> Path:
        return Path(self.settings.credentials_files[number].path)

    def named(self, *numbers: int) -> tuple[OutputName, ...]:
        """The outputs as a report names them."""
        outputs = self.settings.credentials_files
        return tuple(outputs[number].output_name for number in numbers)

    def published(self, number: int = 0) -> Token | None:
        """The token of the emulator's that an output holds."""
        parser = configparser.RawConfigParser()
        parser.read(self.output(number))
        if not parser.has_section("default"):
            return None
        found = self.emulator.tokens[parser["default"]["aws_access_key_id"]]
        assert parser["default"]["aws_session_token"] == found.session_token
        return found

    def requests(self, operation: str = TOKEN) -> tuple[RecordedRequest, ...]:
        return tuple(request for request in self.emulator.requests if request.operation == operation)

    def knows_one_key(self) -> bool:
        """Whether the vault holds a single node key, and the service the same."""
        contents = self.vault()
        assert contents.registration is not None
        ours = public_key(contents.registration.key)
        alone = contents.pending_key is None and contents.superseded_key is None
        return alone and self.emulator.nodes[self.node_id].public_key == ours


def real_outputs(settings: Settings, clock: MovingClock) -> AllOutputs:
    """Every kind of output."""
    files = PublishedFiles(clock.sleep)
    documents = EndpointDocuments(settings.daemon.runtime_directory)
    endpoints = Endpoints(documents, settings.roles)
    return AllOutputs(SharedCredentialsFiles(files), ProcessFiles(files), endpoints, documents.remove_others)


class NoRoles:
    """STS for machines that have no roles."""

    def assume(self, role: Role, registration: Registration, token: RoleToken) -> TokenAnswer:
        raise AssertionError(f"{registration.node_id} has no role {role.name} to assume with {token.access_key_id}")


def impatient(machine: Machine) -> Machine:
    """The same machine, for a service that is known to be silent: it waits for it a moment only."""
    service = replace(machine.settings.service, read_timeout=timedelta(milliseconds=300))
    return replace(machine, settings=replace(machine.settings, service=service))


def output(path: Path, **changes: object) -> CredentialsFile:
    plain = CredentialsFile(
        str(path), "default", 0o600, keep_mode=True, owner=None, group=None, replace_long_lived_keys=False
    )
    return replace(plain, **changes)


def settings_in(directory: Path, endpoint_url: str) -> Settings:
    return Settings(
        node=NodeSettings(None, None, None),
        service=ServiceSettings(
            endpoint_url=endpoint_url,
            proxy_url=None,
            ca_bundle=None,
            fips=False,
            dual_stack=False,
            connect_timeout=timedelta(seconds=5),
            read_timeout=timedelta(seconds=10),
        ),
        vault_directory=str(directory / "vault"),
        daemon=DaemonSettings(str(directory / "run"), timedelta(minutes=2), "info"),
        refresh_share=0.5,
        hibernation=HibernationSettings(timedelta(minutes=5), timedelta(hours=1)),
        rotate_key_after=None,
        credentials_files=(output(directory / "aws" / "credentials"),),
    )


@pytest.fixture(scope="session")
def keys_made() -> list[NodeKey]:
    return []


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Files in memory where there is such a place: every step here is flushed, and a disk takes its time for that."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.fixture
def unregistered(directory: Path, keys_made: list[NodeKey]) -> Iterator[Machine]:
    clock = MovingClock()
    with Emulator(clock=lambda: clock.wall) as emulator:
        yield Machine(emulator, directory, clock, settings_in(directory, emulator.url), StockOfKeys(keys_made))


@pytest.fixture
def machine(unregistered: Machine) -> Machine:
    """A registered machine; its registration is not among the emulator's requests."""
    unregistered.register()
    unregistered.emulator.forget_requests()
    return unregistered
