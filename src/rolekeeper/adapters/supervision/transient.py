"""A command in the sandbox of the daemon's unit: a transient unit that sees the same files (systemd-run(1)).

What the daemon may write depends on the unit's files and all its drop-ins. Only systemd knows what they come to, so it
is asked for the properties, and starts the command with them. The properties that decide about files are taken over;
the others are not, because a look at files needs neither network nor timers nor a watchdog. The unit's variables are
not taken over either: they would be visible in the command line of systemd-run, and may hold a proxy's password.

`systemctl show` prints most properties as they are set. It leaves out a path with a blank in it, so a unit that has one
cannot be repeated. The unit's own directories are writable by themselves (StateDirectory= and the like), which a
transient unit would remove at its end; they are opened by ReadWritePaths= instead.
"""

import subprocess
from collections.abc import Mapping
from datetime import timedelta

from rolekeeper.adapters.supervision import unit
from rolekeeper.errors import UnavailableError

_SINGLE = (
    *("User", "Group", "SupplementaryGroups", "UMask", "CapabilityBoundingSet", "AmbientCapabilities"),
    *("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateUsers"),
    *("ProtectKernelTunables", "ProtectControlGroups", "ProtectProc", "ProcSubset", "RootDirectory"),
    *("NoNewPrivileges", "RestrictSUIDSGID"),
)
_LISTS = (
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths"),
    *("TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths"),
)
_OWN = {"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}
_EMPTY_COUNTS = {"CapabilityBoundingSet"}  # empty: none at all
_UNPRINTABLE = "[unprintable]"
UNKNOWN = "sandbox-unknown"  # the code of the error that says that the sandbox cannot be repeated
_NAMESPACE = 226  # EXIT_NAMESPACE of systemd.exec(5)
_NAME = "ROLEKEEPER_UNIT"  # in whose name errors suggest a drop-in, as in systemd/rolekeeper.service


def run(command: tuple[str, ...], longest: timedelta, name: str = unit.UNIT) -> bytes:
    """What the command prints that runs as root in the sandbox of the unit `name`.

    UnavailableError `sandbox-unusable` when systemd cannot set the sandbox up, `sandbox-unknown` when it cannot be
    repeated.
    """
    found = unit.properties(name, (*_SINGLE, *_LISTS, *_OWN))
    if found is None:
        raise _unknown("systemd does not answer", "`systemctl show rolekeeper` says why")
    options = [f"--property={one}" for one in sandbox(found)]
    limit = f"--property=RuntimeMaxSec={max(1, round(longest.total_seconds()))}"
    line = ["/usr/bin/env", "systemd-run", "--quiet", "--wait", "--pipe", "--collect", limit, *options]
    try:
        done = subprocess.run(
            [*line, f"--setenv={_NAME}={name}", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=longest.total_seconds(),
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _unknown(f"systemd-run does not end: {type(error).__name__}", "try again") from error
    if done.returncode == _NAMESPACE:
        _, remedy = unit.why_not_running(unit.Unit("failed", "exit-code", str(_NAMESPACE), ""))
        raise UnavailableError("sandbox-unusable", "systemd cannot set up the unit's sandbox (226/NAMESPACE)", remedy)
    if not done.stdout:
        words = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise _unknown(f"a command in it ended with status {done.returncode}: {words}", "run this as root")
    return done.stdout


def sandbox(found: Mapping[str, str]) -> list[str]:
    """The properties of a transient unit with the sandbox of the unit that has these, as systemctl prints them."""
    if any(_UNPRINTABLE in value for value in found.values()):
        raise _unknown("it names a path with a blank in it", "see `systemctl cat rolekeeper`")
    single = [
        f"{name}={found[name]}" for name in _SINGLE if found.get(name) or (name in found and name in _EMPTY_COUNTS)
    ]
    lists = [f"{name}={found[name]}" for name in _LISTS if found.get(name)]
    own = [f"ReadWritePaths=-{top}/{name}" for kind, top in _OWN.items() for name in found.get(kind, "").split()]
    return [*single, *lists, *own]


def _unknown(why: str, hint: str) -> UnavailableError:
    return UnavailableError(UNKNOWN, f"Cannot look from within the unit's sandbox: {why}", hint)
