"""Whether systemd listens for the endpoints, for the verbs that say so: `check`, `status` and `doctor`."""

from pathlib import Path

from rolekeeper.adapters.supervision import unit
from rolekeeper.cli.endpoint import DIRECTORY
from rolekeeper.settings import Settings

SOCKET = "rolekeeper-endpoint.socket"
CODE = "endpoint-socket-inactive"
UNSERVED = f"nothing serves it: {SOCKET} is not active"
HINT = (
    f"`systemctl enable --now {SOCKET}`, or run `rolekeeper endpoint`; if it fails, `systemctl status {SOCKET}` says "
    "why, and `ss -tlnp 'sport = 4580'` shows who has the port"
)


def listens(settings: Settings) -> bool | None:
    """Whether the socket unit listens for the endpoints; None when it is not for it to serve them.

    Without systemd, and for another runtime directory than the unit's, `rolekeeper endpoint` serves them.
    """
    if not settings.endpoints or Path(settings.daemon.runtime_directory, "endpoint") != Path(DIRECTORY):
        return None
    socket = unit.state(SOCKET)
    return socket.active == "active" if socket is not None else None
