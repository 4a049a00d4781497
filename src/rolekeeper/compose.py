"""The only place where adapters meet attempt and daemon, and, with `cli`, the only one that reads the environment.

HTTPS_PROXY and its like are the exception: botocore reads them, for adapters/ssm_wire.py.

Everything is imported where it is needed: the daemon never loads what only an attempt uses.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rolekeeper import __version__
from rolekeeper.errors import InputOutputError, UnavailableError
from rolekeeper.model import NodeSettings, Settings
from rolekeeper.ports import Clock, DaemonWorld, Log, NodeService, Vault, World

MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LONGEST_CODE = 4096  # bytes that are read for an activation code
CREDENTIAL = "activation-code"  # the name of the systemd credential (LoadCredential=)
BOOT_ID = "ROLEKEEPER_BOOT_ID"  # set by systemd/rolekeeper.service, as is
UNIT = "ROLEKEEPER_UNIT"  # its own name


def settings(configuration: str | None) -> Settings:
    """The accepted configuration, of a file or of /etc/rolekeeper; raises ConfigurationError."""
    from rolekeeper.config.load import load_settings

    return load_settings(Path(configuration) if configuration is not None else None)


def clock() -> Clock:
    """The clocks of this machine."""
    from rolekeeper.adapters.clock import SystemClock

    return SystemClock(os.environ.get(BOOT_ID))


def vault(accepted: Settings) -> Vault:
    """The vault that the configuration names."""
    from rolekeeper.adapters.vault.store import FileVault

    return FileVault(accepted.vault_directory, clock())


def service(accepted: Settings) -> NodeService:
    """The service as the configuration says it is reached."""
    from rolekeeper.adapters.ssm.service import SsmService

    os.environ.pop("SSLKEYLOGFILE", None)  # urllib3 would write the keys of our sessions there
    return SsmService(accepted.service, clock(), __version__)


def world(accepted: Settings, *, looks: int = 1) -> World:
    """What an attempt, a registration and an adoption work with; `looks`: how often they may look at the hardware."""
    from uuid import uuid4

    from rolekeeper.adapters.hardware import HardwareProbe, Sources, patience
    from rolekeeper.adapters.outputs.credentialsfile import FileSink
    from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker

    return World(
        clock=clock(),
        vault=vault(accepted),
        service=service(accepted),
        probe=HardwareProbe(clock(), Sources(patience=patience(accepted.daemon.attempt_timeout, looks))),
        sink=FileSink(clock().sleep, unit=os.environ.get(UNIT)),
        keys=RsaKeyMaker(),
        new_fingerprint=lambda: str(uuid4()),
        activation_code=_code_reader(accepted.node, os.environ),
    )


def _code_reader(node: NodeSettings, environment: Mapping[str, str]) -> Callable[[], str | None]:
    def read() -> str | None:
        path = node.activation_code_file or credential_file(environment)
        return read_activation_code(path, path) if path is not None else None

    return read


def credential_file(environment: Mapping[str, str]) -> str | None:
    """Where systemd has put the credential `activation-code`, if it has."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, CREDENTIAL) if directory else None
    return str(path) if path is not None and path.exists() else None


def read_activation_code(path: str, name: str) -> str:
    """The activation code in a file, without the line's end; raises InputOutputError, which calls the file `name`."""
    try:
        with Path(path).open("rb") as file:
            code = file.read(LONGEST_CODE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise InputOutputError(
            "activation-code-unreadable",
            f"Cannot read the activation code from {name}: {why}",
            "make the file readable for the user that runs rolekeeper, and for nobody else",
        ) from error
    if not code:
        raise InputOutputError(
            "activation-code-empty",
            f"Cannot read the activation code from {name}: the file is empty",
            "write the code that `aws ssm create-activation` gave into it",
        )
    return code


def tell_daemon(accepted: Settings) -> bool:
    """Ask the running daemon for an attempt now; False when none runs, or it cannot be told."""
    from rolekeeper.adapters.supervision import runtime

    try:
        return runtime.send(accepted.daemon.runtime_directory, signal.SIGUSR1)
    except (InputOutputError, UnavailableError):
        return False


def daemon_world(configuration: str | None) -> DaemonWorld:
    """What the daemon works with; its signals are blocked from here on."""
    from rolekeeper.adapters.supervision.attemptpipe import AttemptProcesses
    from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory, StatWatch
    from rolekeeper.adapters.supervision.signals import BlockedSignals
    from rolekeeper.adapters.supervision.systemd import Systemd

    environment = os.environ
    return DaemonWorld(
        clock=clock(),
        signals=BlockedSignals(),
        attempts=AttemptProcesses(_attempt_command(configuration), _attempt_environment(environment)),
        runtime=FileRuntimeDirectory(os.getpid(), clock().boot_id),
        watch=StatWatch(),
        manager=Systemd(
            environment.get("NOTIFY_SOCKET"), environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
        ),
        open_log=_open_log,
        pid=os.getpid(),
        version=__version__,
    )


def _attempt_command(configuration: str | None) -> tuple[str, ...]:
    """An attempt as a command of our own interpreter, isolated as it is, and without bytecode if it writes none."""
    isolation = ["-I"] if sys.flags.isolated else ["-P", "-s"]
    isolation += ["-B"] if sys.flags.dont_write_bytecode else []
    options = ("--config", configuration) if configuration is not None else ()
    return (sys.executable, *isolation, "-m", "rolekeeper", *options, "attempt", "--supervised")


def _attempt_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """All but what is between systemd and the daemon."""
    return {name: value for name, value in environment.items() if name not in MANAGER_VARIABLES}


def _open_log(level: str) -> Log:
    from rolekeeper.adapters.supervision import journal

    return journal.configure(level, 2, clock=clock(), journal_stream=os.environ.get("JOURNAL_STREAM"))
