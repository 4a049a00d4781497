"""The systemd unit of the daemon, as systemctl(1) shows it: why it does not run."""

import os
import subprocess
from dataclasses import dataclass

UNIT = "rolekeeper.service"
_PATIENCE = 5  # seconds
_NAMESPACE = "226"  # EXIT_NAMESPACE of systemd.exec(5)
_CONFIGURATION = "78"  # EX_CONFIG
_CREDENTIALS = "243"  # EXIT_CREDENTIALS of systemd.exec(5)
_LONGEST_START = 90  # seconds


@dataclass(frozen=True, slots=True)
class Unit:
    """The state of the unit: systemd's ActiveState, Result, the main process's last exit status, and UnitFileState."""

    active: str
    result: str
    status: str
    enabled: str


def state(name: str = UNIT) -> Unit | None:
    """The state of a unit; None where no systemd runs or it does not answer."""
    if not os.path.isdir("/run/systemd/system"):
        return None
    properties = ("ActiveState", "Result", "ExecMainStatus", "UnitFileState")
    try:
        shown = subprocess.run(
            ["/usr/bin/env", "systemctl", "show", name, f"--property={','.join(properties)}"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return Unit(*(found.get(name, "") for name in properties))


def take_over_drop_in(name: str = UNIT) -> str:
    """Let systemd read the unit's drop-ins anew, and restart the unit if it runs; returns why not, or nothing."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    for arguments in (("daemon-reload",), ("try-restart", name)):
        try:
            done = subprocess.run(
                ["/usr/bin/env", "systemctl", *arguments],
                capture_output=True,
                text=True,
                timeout=_LONGEST_START,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"systemctl {arguments[0]}: {error}"
        if done.returncode:
            return f"systemctl {arguments[0]}: {done.stderr.strip().partition(chr(10))[0]}"
    return ""


def why_not_running(unit: Unit | None) -> tuple[str, str]:
    """Why no daemon runs, in a few words, and the remedy."""
    if unit is None:
        return "", "`systemctl start rolekeeper`, or `rolekeeper run` where there is no systemd"
    if unit.status == _NAMESPACE:
        return (
            "systemd cannot set up the unit's sandbox (226/NAMESPACE)",
            "a drop-in names a directory that does not exist: see `systemctl cat rolekeeper`, and write a - before it",
        )
    if unit.status == _CREDENTIALS:
        return (
            "systemd cannot decrypt the unit's credentials (243/CREDENTIALS), and tries again every 5 seconds",
            "`rolekeeper attempt` as root says why, if it is the vault's key",
        )
    if unit.status == _CONFIGURATION:
        return "the configuration is wrong", "`rolekeeper check` says where; then `systemctl start rolekeeper`"
    if unit.active == "failed" or unit.result not in ("success", ""):
        return (
            f"the unit failed ({unit.result}, exit status {unit.status})",
            "`journalctl -u rolekeeper -n 20` says why",
        )
    return "", "`systemctl start rolekeeper`"
