"""The only place where adapters meet attempt and daemon, and, with `cli`, the only one that reads the environment.

Everything is imported where it is needed: the daemon never loads what only an attempt uses.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from rolekeeper import __version__
from rolekeeper.errors import InputOutputError, UnavailableError
from rolekeeper.model import VaultKey
from rolekeeper.ports import (
    Clock,
    DaemonWorld,
    Log,
    Outputs,
    RoleService,
    SealableVault,
    VaultKeys,
    World,
)
from rolekeeper.settings import UNSEALED, NodeSettings, Settings
from rolekeeper.values import replace

if TYPE_CHECKING:
    from rolekeeper.adapters.ssm.reach import Reach
    from rolekeeper.adapters.ssm.service import SsmService
    from rolekeeper.adapters.vault.keys import SystemdKeys

MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # between systemd and the daemon alone
STATE_DIRECTORY = "/var/lib/rolekeeper"  # of the unit; for another unit, systemd's variable has it
BOOT_ID = "ROLEKEEPER_BOOT_ID"  # set by systemd/rolekeeper.service
UNIT = "ROLEKEEPER_UNIT"  # the name of the unit, set by the unit itself
ANEW = "ROLEKEEPER_ANEW"  # from a daemon that re-executes itself: the expected version, lock, socket


def settings(configuration: str | None, *, anew: bool = False, keep: bool = False) -> Settings:
    """The accepted configuration, of a file or of /etc/rolekeeper; raises ConfigurationError.

    Settings that were kept from the same files are reused, unless `anew` is set. With `keep`, which only the daemon
    sets, what was read is kept for its next start and for commands.
    """
    from rolekeeper.adapters import acceptedsettings
    from rolekeeper.config.files import DEFAULT_PATH, digest

    directory = os.environ.get("STATE_DIRECTORY", STATE_DIRECTORY if configuration is None else "").partition(":")[0]
    if directory and not anew:
        current = digest(DEFAULT_PATH if configuration is None else configuration, must_exist=configuration is not None)
        kept = acceptedsettings.load(directory, current) if current else None
        if kept is not None:
            return kept
    from pathlib import Path

    from rolekeeper.config.load import load_settings

    accepted = load_settings(Path(configuration) if configuration is not None else None)
    if keep and directory:
        acceptedsettings.save(directory, accepted)
    return accepted


def clock() -> Clock:
    """The clocks of this machine."""
    from rolekeeper.adapters.clock import SystemClock

    return SystemClock(os.environ.get(BOOT_ID) or None)


def vault(accepted: Settings, keys: VaultKeys | None = None) -> SealableVault:
    """The vault that the configuration names; `keys` None: those available to this process."""
    from rolekeeper.adapters.vault.store import FileVault

    def read() -> tuple[VaultKey, ...]:
        return _vault_keys(accepted, os.environ) if keys is None else keys.read()

    return FileVault(accepted.vault_directory, clock(), read, seals_new=accepted.vault_seal != UNSEALED)


def _vault_keys(accepted: Settings, environment: Mapping[str, str]) -> tuple[VaultKey, ...]:
    """The vault keys: from the unit's credential inside the unit, decrypted by systemd-creds elsewhere."""
    from rolekeeper.adapters.process import keep_out_of_swap
    from rolekeeper.adapters.vault.keyfile import credential, missing_in_unit

    keep_out_of_swap()
    found = credential(environment.get("CREDENTIALS_DIRECTORY"))
    if found is None and environment.get(UNIT):
        raise missing_in_unit()
    return vault_keys(accepted).read() if found is None else found


def vault_keys(accepted: Settings, pcrs: str = "7", recovery: str | None = None) -> "SystemdKeys":
    """Where vault keys are kept; for commands that root runs. `recovery` is the file of a recovery key."""
    from rolekeeper.adapters.supervision.unit import UNIT as NAME
    from rolekeeper.adapters.vault.keyfile import recovery_key
    from rolekeeper.adapters.vault.keys import SystemdKeys

    return SystemdKeys(
        accepted.vault_directory,
        accepted.vault_seal,
        pcrs,
        recovery_key(recovery) if recovery is not None else None,
        unit_credentials=f"/run/credentials/{NAME}",
    )


def service(accepted: Settings) -> "SsmService":
    """SSM as the configuration says it is reached, for the hybrid operations and for calls with the role token."""
    from rolekeeper.adapters.ssm.service import SsmService

    return SsmService(accepted.service, clock(), __version__, os.environ)


def roles(accepted: Settings) -> RoleService:
    """STS as the configuration says it is reached; one role that hangs takes a quarter of the attempt's time."""
    from rolekeeper.adapters.sts import StsRoles

    longest = min(accepted.service.read_timeout, accepted.daemon.attempt_timeout / 4)
    return StsRoles(replace(accepted.service, read_timeout=longest), clock(), __version__, os.environ)


def reach(accepted: Settings, environment: Mapping[str, str]) -> "Reach":
    """The way to the service, step by step, with the proxies that `environment` names."""
    from rolekeeper.adapters.ssm.reach import Reach

    return Reach(accepted.service, clock(), __version__, environment)


def outputs(accepted: Settings) -> Outputs:
    """Where credentials are published."""
    from rolekeeper.adapters.outputs.credentialsfile import SharedCredentialsFiles
    from rolekeeper.adapters.outputs.dispatch import AllOutputs
    from rolekeeper.adapters.outputs.endpoint import EndpointDocuments, Endpoints
    from rolekeeper.adapters.outputs.processfile import ProcessFiles
    from rolekeeper.adapters.outputs.publishedfile import PublishedFiles

    files = PublishedFiles(clock().sleep, os.environ.get(UNIT))
    documents = EndpointDocuments(accepted.daemon.runtime_directory)
    shared, process = SharedCredentialsFiles(files), ProcessFiles(files)
    return AllOutputs(shared, process, Endpoints(documents, accepted.roles), documents.remove_others)


def world(accepted: Settings, *, looks: int = 1) -> World:
    """What an attempt, a registration and an adoption work with; `looks`: how often they may look at the hardware."""
    from rolekeeper.adapters.hardware import HardwareProbe, Sources, patience
    from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker

    return World(
        clock=clock(),
        vault=vault(accepted),
        service=service(accepted),
        roles=roles(accepted),
        probe=HardwareProbe(clock(), Sources(patience=patience(accepted.daemon.attempt_timeout, looks))),
        outputs=outputs(accepted),
        keys=RsaKeyMaker(),
        new_fingerprint=_new_fingerprint,
        activation_code=_code_reader(accepted.node, os.environ),
    )


def _new_fingerprint() -> str:
    from uuid import uuid4

    return str(uuid4())


def _code_reader(node: NodeSettings, environment: Mapping[str, str]) -> Callable[[], str | None]:
    from rolekeeper.adapters import activationcode

    def read() -> str | None:
        path = node.activation_code_file or activationcode.credential(environment.get("CREDENTIALS_DIRECTORY"))
        return activationcode.read(path, path) if path is not None else None

    return read


def signal_daemon(accepted: Settings, number: signal.Signals = signal.SIGUSR1) -> bool:
    """Ask the running daemon for an attempt now, or for a reload (SIGHUP); False when it cannot be asked."""
    from rolekeeper.adapters.supervision import runtime

    try:
        return runtime.send(accepted.daemon.runtime_directory, number)
    except (InputOutputError, UnavailableError):
        return False


def daemon_world(configuration: str | None) -> DaemonWorld:
    """What the daemon works with; its signals are blocked from here on."""
    from rolekeeper.adapters.supervision.attemptpipe import AttemptProcesses, SettingsInForce
    from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory, StatWatch
    from rolekeeper.adapters.supervision.signals import BlockedSignals
    from rolekeeper.adapters.supervision.systemd import Systemd

    environment = os.environ
    expected, inherited = _anew(environment.pop(ANEW, ""))
    runtime = FileRuntimeDirectory(os.getpid(), inherited)
    children = {name: value for name, value in environment.items() if name not in MANAGER_VARIABLES}
    in_force = SettingsInForce()
    attempts = AttemptProcesses(own_command(configuration, "attempt", "--supervised"), children, in_force)
    health = AttemptProcesses(own_command(configuration, "attempt", "--report-health"), children, in_force)
    return DaemonWorld(
        clock=clock(),
        signals=BlockedSignals(),
        attempts=attempts,
        health=health,
        runtime=runtime,
        watch=StatWatch(),
        manager=Systemd(
            environment.get("NOTIFY_SOCKET"), environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
        ),
        execute_anew=lambda version: _execute_anew(version, expected, configuration, runtime.held),
        open_log=_open_log,
        pid=os.getpid(),
        version=__version__,
    )


def _anew(passed_on: str) -> tuple[str, tuple[int, int] | None]:
    """What the previous daemon in this process passed on: the version that it expected, and its descriptors."""
    match passed_on.split():
        case [version, lock, alive]:
            return version, (int(lock), int(alive))
        case _:
            return "", None


def _execute_anew(version: str, expected: str, configuration: str | None, held: tuple[int, int]) -> NoReturn:
    """Replace this process by a daemon of the installed version, which gets our lock and socket."""
    why = "executing itself anew gave the old version again" if version == expected else ""
    if not why:
        for descriptor in held:
            if descriptor >= 0:
                os.set_inheritable(descriptor, True)  # noqa: FBT003 - the function takes it so
        command = own_command(configuration, "run")
        try:
            environment = {**os.environ, ANEW: f"{version} {held[0]} {held[1]}"}
            os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            why = f"{command[0]}: {error.strerror}"
    raise UnavailableError(
        "daemon-outdated",
        f"Cannot make an attempt: rolekeeper {version} is installed, and this daemon is {__version__} ({why})",
        "`systemctl restart rolekeeper`",
    )


def own_command(configuration: str | None, *verb: str) -> tuple[str, ...]:
    """A command of the interpreter that runs us, as isolated as we are, and without bytecode if we write none."""
    isolation = ["-I"] if sys.flags.isolated else ["-P", "-s"]
    isolation += ["-B"] if sys.flags.dont_write_bytecode else []
    options = ("--config", configuration) if configuration is not None else ()
    return (sys.executable, *isolation, "-m", "rolekeeper", *options, *verb)


def _open_log(level: str) -> Log:
    from rolekeeper.adapters.supervision import journal

    return journal.configure(level, 2, clock=clock(), journal_stream=os.environ.get("JOURNAL_STREAM"))
