"""The systemd unit of the daemon, as systemctl(1) shows it: why it does not run, and what its processes get."""

import os
import re
from collections.abc import Iterable, Mapping

from rolekeeper.values import Value

UNIT = "rolekeeper.service"
_PATIENCE = 5  # seconds
_NAMESPACE = "226"  # EXIT_NAMESPACE of systemd.exec(5)
_CONFIGURATION = "78"  # EX_CONFIG
_CREDENTIALS = "243"  # EXIT_CREDENTIALS of systemd.exec(5)
_DROP_INS = "/etc/systemd/system"  # where an administrator writes them
SYSTEMD = "/run/systemd/system"  # sd_booted(3)


class Unit(Value):
    """The state of the unit: systemd's ActiveState, Result, the main process's last exit status, and UnitFileState.

    `load` is LoadState; `needs_reload`: its files have changed since systemd read them.
    """

    active: str
    result: str
    status: str
    enabled: str
    load: str = "loaded"
    needs_reload: bool = False


def state(name: str = UNIT) -> Unit | None:
    """The state of a unit; None where no systemd runs or it does not answer."""
    names = ("ActiveState", "Result", "ExecMainStatus", "UnitFileState", "LoadState")
    found = properties(name, (*names, "NeedDaemonReload", "DropInPaths"))
    if found is None:
        return None
    active, result, status, enabled, load = (found.get(one, "") for one in names)
    needs_reload = found.get("NeedDaemonReload") == "yes" or _has_unread(name, found.get("DropInPaths", "").split())
    return Unit(active, result, status, enabled, load, needs_reload)


def _has_unread(name: str, read: Iterable[str]) -> bool:
    """Whether there is a drop-in that systemd has not read: it overlooks those in a directory that is new."""
    directory = f"{_DROP_INS}/{name}.d"
    try:
        return any(one.endswith(".conf") and f"{directory}/{one}" not in read for one in os.listdir(directory))
    except OSError:
        return False


def properties(name: str, names: Iterable[str]) -> Mapping[str, str] | None:
    """Properties of a unit as systemctl prints them; None where no systemd runs or it does not answer."""
    if not os.path.isdir(SYSTEMD):
        return None
    shown = _shown("show", name, f"--property={','.join(names)}")
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line) or None


def systemd_version() -> int | None:
    """The major version of the systemd that runs; None where none does or it does not answer."""
    if not os.path.isdir(SYSTEMD):
        return None
    digits = re.match(r"Version=(\d+)", _shown("show", "--property=Version"))
    return int(digits[1]) if digits else None


def _shown(*words: str) -> str:
    """What systemctl prints; nothing when it does not answer."""
    import subprocess  # noqa: PLC0415 - `status` seldom asks, and it takes a while to load

    try:
        return subprocess.run(
            ["/usr/bin/env", "systemctl", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def environment(name: str = UNIT) -> dict[str, str]:
    """The variables that a running unit's main process was started with; else those that its files name.

    Only root can read the former, which also holds what an EnvironmentFile= says.
    """
    found = properties(name, ("MainPID", "Environment")) or {}
    try:
        with open(f"/proc/{int(found.get('MainPID', '0'))}/environ", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
    except (OSError, ValueError):
        words = _words(found.get("Environment", ""))
    return dict(word.split("=", 1) for word in words if "=" in word)


def manager_environment() -> dict[str, str]:
    """The variables that systemd gives to every service (systemctl(1), show-environment)."""
    lines = _shown("show-environment").splitlines()
    return {
        name: (_words(value) or [""])[0].removeprefix("$") for name, _, value in (one.partition("=") for one in lines)
    }


def _words(line: str) -> list[str]:
    import shlex  # noqa: PLC0415 - the same

    try:
        return shlex.split(line)
    except ValueError:
        return []


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
