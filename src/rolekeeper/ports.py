"""What attempt and daemon need from the world, as Protocols; `adapters/` fulfils them, `compose` joins the two.

Only values of `model` and `core` cross a port, and only errors of `errors` come back: nothing of boto3, psutil or
cryptography.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from rolekeeper.core.loop.status import Status
from rolekeeper.core.steps import SeenOutput
from rolekeeper.model import (
    AttemptReport,
    Hardware,
    HealthFacts,
    HealthReported,
    Instant,
    IssueRecord,
    NodeKey,
    Registration,
    RegistrationFound,
    RoleToken,
    TokenAnswer,
    VaultContents,
    VaultKey,
)
from rolekeeper.settings import Output, Role, SupervisorSettings
from rolekeeper.values import Value


class Clock(Protocol):
    """The only way to the time."""

    def now(self) -> Instant:
        """The present moment on both clocks."""

    def sleep(self, duration: timedelta) -> None:
        """Wait for `duration`; suspend may lengthen it."""

    def boot_id(self) -> str:
        """A name for the time since this machine was started; another one after every boot.

        Raises HardwareError when it cannot be read; once read, it stays known.
        """


class NodeService(Protocol):
    """The hybrid operations of SSM (docs/protocol.md, section 2).

    Every method raises ServiceError when no usable answer came, ServiceRefusedError (or one of its subclasses) when the
    service said no. A request is sent at most twice: again, signed anew, when the answer shows that the clocks differ.
    """

    def register(self, region: str, activation_id: str, code: str, fingerprint: str, key: NodeKey) -> str:
        """RegisterManagedInstance; returns the node id."""

    def request_role_token(self, registration: Registration, fingerprint: str) -> TokenAnswer:
        """RequestManagedInstanceRoleToken, signed with the registration's key."""

    def update_public_key(self, registration: Registration, new_key: NodeKey) -> None:
        """UpdateManagedInstancePublicKey, signed with the registration's current key."""


class RoleCalls(Protocol):
    """What a node calls at SSM with its role token (docs/protocol.md, section 2.4); errors as of NodeService.

    A refusal for want of a permission names the permission.
    """

    def report_health(self, registration: Registration, token: RoleToken, facts: HealthFacts) -> None:
        """UpdateInstanceInformation: Systems Manager shows the node as online."""

    def deregister(self, registration: Registration, token: RoleToken) -> None:
        """DeregisterManagedInstance: the node exists no longer."""


class RoleService(Protocol):
    """Roles by sts:AssumeRole."""

    def assume(self, role: Role, registration: Registration, token: RoleToken) -> TokenAnswer:
        """Assume `role` with the node's role token; the session has the node id for a name unless the role names one.

        The role's policy file is read at each call. Raises ServiceError when no usable answer came, RoleRefusedError
        when STS said no or the role cannot be requested as it is configured. A request is sent at most twice: again,
        signed anew, when the answer shows that the clocks differ.
        """


class KeyMaker(Protocol):
    """Where new node keys come from."""

    def new_key(self, created_at: datetime) -> NodeKey:
        """A new RSA-2048 key."""


class Vault(Protocol):
    """The registration and everything that belongs to it, on disk.

    Methods raise VaultError, which names the file and the remedy; what was in the vault is then still there.
    """

    def lock(self, wait: timedelta) -> AbstractContextManager[None]:
        """Keep every other writer out; wait for it that long at most (VaultError `vault-locked` after that)."""

    def load(self) -> VaultContents:
        """What is in the vault; an absent or empty vault directory is an empty VaultContents."""

    def save(self, contents: VaultContents) -> None:
        """Make the vault hold `contents`: all of it or nothing, whatever is killed; to be called with the lock held."""


class SealableVault(Vault, Protocol):
    """A vault that may lie sealed on disk, in a box that only a vault key opens.

    A vault stays as it is: what was loaded from a sealed vault is saved sealed, with the same key, and a plain vault
    stays plain. Only `seal_with` changes that.
    """

    def sealed_with(self) -> str | None:
        """The name of the key that the vault on disk is sealed with; None when it is plain or absent.

        Raises VaultError when that cannot be told.
        """

    def seal_with(self, key: VaultKey | None) -> None:
        """Let every later `save` seal with `key`, or with None save plain; to be called with the lock held."""


class VaultKeys(Protocol):
    """Where vault keys are kept, encrypted for this machine. Methods raise VaultError, which names the remedy."""

    def kept(self) -> tuple[VaultKey, ...]:
        """The keys on disk, if this machine can decrypt them; else none, although a running unit may have them."""

    def in_unit(self) -> tuple[VaultKey, ...]:
        """The keys that the running unit has, which seals a new vault with the first; none when it does not run."""

    def read(self) -> tuple[VaultKey, ...]:
        """The keys, decrypted: the current one first, and during a change the one before it."""

    def write(self, keys: tuple[VaultKey, ...]) -> None:
        """Keep exactly these, once this machine was seen to decrypt them again. Nothing is half done, or lost."""

    def hand_out(self) -> None:
        """Let systemd give the keys to the unit, from its next start on."""

    def take_back(self) -> None:
        """Let systemd give no keys to the unit any more, from its next start on."""

    def forget(self) -> None:
        """Forget the keys; nothing may be sealed with them, now or by a unit that still has them."""

    def new_key(self) -> VaultKey:
        """A new random key."""


class RecoveryCopy(Protocol):
    """A place outside the vault that a person wants the vault key to be written to. Methods raise VaultError."""

    def check(self, key: VaultKey) -> None:
        """Raise VaultError when `save` would: there is something else already."""

    def holds(self, key: VaultKey) -> bool:
        """Whether that key is there."""

    def save(self, key: VaultKey) -> None:
        """Write the key, durably, and replace nothing but the same key."""


class HardwareProbe(Protocol):
    """The machine's hardware."""

    def look(self) -> Hardware:
        """The hardware hash of this moment; never raises: the answer names what cannot be read."""


class Outputs(Protocol):
    """Where credentials are published. No method takes longer than `longest`, whatever hangs or is locked."""

    def remove_others(self, outputs: Iterable[Output]) -> None:
        """Remove the endpoints of an earlier configuration that are not in `outputs`."""

    def look(self, output: Output, longest: timedelta) -> SeenOutput:
        """What the output holds, and whether `publish` would succeed; changes nothing that a reader sees."""

    def publish(self, output: Output, token: RoleToken, issue: IssueRecord, longest: timedelta) -> None:
        """Put credentials into the output, whole or not at all. Raises OutputError; the output is then as it was."""


class ServiceManager(Protocol):
    """The service manager that started the daemon, if any (sd_notify)."""

    def watchdog_interval(self) -> timedelta | None:
        """How often the service manager wants a sign of life; None when it does not ask."""

    def notify(self, *assignments: str) -> None:
        """Send assignments such as `READY=1` or `STATUS=...`."""


class World(Value):
    """Everything that an attempt, a registration or an adoption needs from outside."""

    clock: Clock
    vault: Vault
    service: NodeService
    roles: RoleService
    probe: HardwareProbe
    outputs: Outputs
    keys: KeyMaker
    new_fingerprint: Callable[[], str]  # a random version-4 UUID in lower case
    activation_code: Callable[[], str | None]  # for a registration without a person; None when there is none


class Wakeup(Enum):
    """Why the daemon's wait ended early."""

    STOP = "stop"
    RELOAD = "reload"
    REFRESH = "refresh"
    ATTEMPT = "attempt"  # it wrote something, or ended


class Signals(Protocol):
    """The signals of this process, taken one at a time."""

    def wait(self, longest: timedelta) -> Wakeup | None:
        """Sleep until a signal comes, `longest` at most; None when none came."""


class Accepted(Value):
    """The attempt has read the configuration; it continues after `proceed`."""

    settings: SupervisorSettings


class Rejected(Value):
    """The attempt has read a configuration that is wrong, and uses the one in force; without one it ends."""

    problems: str


class Outdated(Value):
    """The attempt is of another version than the daemon, and has done nothing: rolekeeper was upgraded."""

    version: str


class Ended(Value):
    """The attempt has ended without a report: `status` is its exit status, negative for a signal.

    `why` says why it could not be started, if it could not.
    """

    status: int
    why: str = ""


Message = Accepted | Rejected | Outdated | RegistrationFound | AttemptReport | HealthReported | Ended


class Attempts(Protocol):
    """Attempts, or health reports, as processes of their own, one at a time; no method waits."""

    def start(self, *, reload: bool, reuse: bool, passed_over: Collection[str] = ()) -> None:
        """Start an attempt; it reads the configuration first when it is to reload, or when none is in force.

        It requests none of the roles in `passed_over`.
        """

    def messages(self) -> Iterable[Message]:
        """What the attempt has said since the last call."""

    def proceed(self) -> None:
        """Tell the attempt that its configuration was taken over."""

    def end(self) -> None:
        """End the attempt at once, and whatever it has started."""

    def reap(self) -> None:
        """Let go of attempts that have ended."""


class RuntimeDirectory(Protocol):
    """Where one running daemon shows itself: a lock with its pid, a socket to see that it lives, its reports."""

    def claim(self, directory: str) -> None:
        """Take the lock and write our pid; UnavailableError `daemon-running` when another daemon holds it.

        InputOutputError when not all of that can be done: then `write_status` tries again.
        """

    def write_status(self, status: Status) -> None:
        """Replace status.json; errors as of `claim`."""

    def write_metrics(self, text: str) -> None:
        """Replace metrics.prom; errors as of `claim`."""


class VaultWatch(Protocol):
    """Whether the vault has changed, found out with two stats and nothing else."""

    def look(self, directory: str) -> object:
        """A value that differs after the vault has changed."""


class Log(Protocol):
    """Where the daemon's entries go."""

    def log(self, event: str, level: str, message: str, **fields: str) -> None:
        """Write one entry; never raises and never waits."""


class DaemonWorld(Value):
    """Everything that the daemon needs from outside."""

    clock: Clock
    signals: Signals
    attempts: Attempts
    runtime: RuntimeDirectory
    watch: VaultWatch
    manager: ServiceManager
    execute_anew: Callable[[str], None]  # this process, by the code of that version; raises UnavailableError
    open_log: Callable[[str], Log]  # with a level of `[daemon] log_level`
    pid: int
    version: str
    health: Attempts | None = None  # processes that report health; None: there are no such reports
