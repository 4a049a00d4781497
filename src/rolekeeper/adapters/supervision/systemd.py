"""The service manager: readiness, status and signs of life over sd_notify(3), through the sdnotify package.

Rules: without a notification socket nothing is sent, and that is no error; sending never blocks and never raises,
because a service manager that does not listen is no reason to stop working; no socket stays open between two messages.
"""

import os
import re
import socket
from contextlib import suppress
from datetime import timedelta

from sdnotify import SystemdNotifier

_MICROSECONDS = r"[0-9]{1,20}"
_WATCHDOG_OFF = 2**64 - 1  # microseconds; systemd's infinity


class Systemd:
    """Fulfils ports.ServiceManager.

    The arguments are what systemd put into NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, None where it did not.
    """

    def __init__(
        self, notify_socket: str | None, watchdog_usec: str | None = None, watchdog_pid: str | None = None
    ) -> None:
        self._address = _socket_address(notify_socket)
        self._watchdog_interval = _watchdog_interval(watchdog_usec, watchdog_pid)
        # Past its constructor, which would read the environment and keep a blocking socket.
        self._notifier = SystemdNotifier.__new__(SystemdNotifier)
        self._notifier.debug = True  # so that it lets errors out; without it even KeyboardInterrupt would vanish

    def watchdog_interval(self) -> timedelta | None:
        """How often systemd wants `WATCHDOG=1`; None when it does not ask this process for it."""
        return self._watchdog_interval

    def notify(self, *assignments: str) -> None:
        """Send assignments such as `READY=1`, in one message; a line break in one of them becomes a blank."""
        if self._address is None:
            return
        message = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
        # OSError: no listener, or systemd's queue is full. The next message is due within a minute.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.settimeout(0)
            connection.connect(self._address)
            self._notifier.socket = connection
            # sdnotify encodes as Latin-1, systemd reads UTF-8: each byte of the one goes as a character of the other.
            self._notifier.notify(message.encode(errors="backslashreplace").decode("latin-1"))


def _socket_address(notify_socket: str | None) -> str | None:
    """The address to connect to: `@` is the NUL in front of an abstract name. Others are for virtual machines."""
    if notify_socket is None or not notify_socket.startswith(("/", "@")):
        return None
    return "\0" + notify_socket[1:] if notify_socket.startswith("@") else notify_socket


def _watchdog_interval(usec: str | None, pid: str | None) -> timedelta | None:
    if usec is None or not re.fullmatch(_MICROSECONDS, usec) or pid not in {None, "", str(os.getpid())}:
        return None
    microseconds = int(usec)
    return timedelta(microseconds=microseconds) if 0 < microseconds < _WATCHDOG_OFF else None
