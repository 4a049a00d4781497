"""Whether systemd serves the endpoints, for the verbs that say so: `check`, `status` and `doctor`."""

import os

from rolekeeper.adapters.supervision import unit
from rolekeeper.model import OutputProblem
from rolekeeper.settings import Settings

SOCKET = "rolekeeper-endpoint.socket"
OLDEST = 250  # of systemd: it loads a directory of credentials


INACTIVE = OutputProblem(
    "endpoint-socket-inactive",
    f"nothing serves it: {SOCKET} is not active",
    f"`systemctl enable --now {SOCKET}`, or run `rolekeeper endpoint`; if it fails, `systemctl status {SOCKET}` says "
    "why, and `ss -tlnp 'sport = 4580'` shows who has the port",
)
ALONE = "run `rolekeeper endpoint --address 127.0.0.1:4580` as a service of your own, or use a process file"


def is_for_systemd(settings: Settings) -> bool:
    """Whether it is for the socket unit to serve the endpoints; for another runtime directory it is not."""
    if not settings.endpoints:
        return False
    from rolekeeper.cli.endpoint import DIRECTORY

    return os.path.normpath(f"{settings.daemon.runtime_directory}/endpoint") == DIRECTORY


def unserved(settings: Settings) -> OutputProblem | None:
    """Why systemd does not serve the endpoints; None when it does, or where it is not for it to serve them."""
    socket = unit.state(SOCKET) if is_for_systemd(settings) else None
    if socket is None:
        return None
    version = unit.systemd_version()
    if version is not None and version < OLDEST:
        message = f"nothing serves it: {SOCKET} takes systemd {OLDEST} or later, and this is systemd {version}"
        return OutputProblem("systemd-too-old", message, ALONE)
    return None if socket.active == "active" else INACTIVE
