"""The sockets: one thread, one epoll, one request a connection.

A connection is accepted, its head is read, the answer is written in one piece, and the connection is closed. That is
all that SDKs need, and it leaves an attacker little: a head has a largest size, a connection a longest life, and when
too many are open, the oldest is closed for the newest. A client with an honest request sends it at once and is answered
at once, so it is never the oldest for long, and no number of silent connections keeps it out.

A server that systemd has started ends by itself, `idle` seconds after the last connection or `longest` seconds after
its start. It then accepts nothing more, but finishes what is open. The listening sockets stay with systemd, so a
client that comes in this moment waits for the next server and is never refused.

There is no other state: sockets that wait are in `_listeners`, connections that are open in `_open`. All connections
have the same longest life, so the first one in `_open` is always the next one to expire.
"""

from __future__ import annotations

from os import close, read, set_blocking, write
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLIN, epoll
from time import monotonic

from rolekeeper.endpoint.answers import answer, refusal

TYPE_CHECKING = False  # as typing's, whose import would cost more than this module
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence

    from rolekeeper.endpoint.documents import Directory

LARGEST_HEAD = 8 * 1024  # bytes
LONGEST_CONNECTION = 5.0  # seconds
MOST_CONNECTIONS = 512  # and at most half of the limit on open files, since documents have to be opened too
_MOST_ACCEPTED = 64  # before other connections have their turn
_END = b"\r\n\r\n"


class Server:
    """Serves `documents` on listening `sockets`."""

    def __init__(self, sockets: Sequence[socket], documents: Directory) -> None:
        self._documents = documents
        self._listeners = {one.fileno(): one for one in sockets}
        self._open: dict[int, tuple[float, bytearray]] = {}  # by descriptor: latest moment, head so far
        limit, _ = getrlimit(RLIMIT_NOFILE)
        self._most = min(MOST_CONNECTIONS, limit // 2) if limit > 0 else MOST_CONNECTIONS
        self._epoll = epoll()
        self._last = monotonic()  # when a connection was last opened or closed
        for descriptor, listener in self._listeners.items():
            listener.settimeout(0)
            self._epoll.register(descriptor, EPOLLIN)

    def run(self, *, idle: float = float("inf"), longest: float = float("inf")) -> None:
        """Serve until nothing has happened for `idle` seconds, or for `longest` seconds."""
        end = monotonic() + longest
        while self._open or monotonic() < min(end, self._last + idle):
            if self._listeners and monotonic() >= end:
                self._stop_accepting()
            for descriptor, _ in self._epoll.poll(self._patience(min(end, self._last + idle))):
                if descriptor in self._listeners:
                    self._accept(self._listeners[descriptor])
                elif descriptor in self._open:  # else it was closed for a newer one just now
                    self._receive(descriptor)
            self._close_late()
        self._stop_accepting()

    def _stop_accepting(self) -> None:
        for listener in self._listeners.values():
            self._epoll.unregister(listener)
            listener.close()  # systemd, or a process that shares it, keeps it open
        self._listeners = {}

    def _patience(self, end: float) -> float | None:
        """How long nothing needs to be done unless a client does something; None: no limit."""
        next_late = next((latest for latest, _ in self._open.values()), float("inf"))
        wakes = min(next_late, end) if self._listeners else next_late
        return None if wakes == float("inf") else max(0.0, wakes - monotonic())

    def _accept(self, listener: socket) -> None:
        for _ in range(_MOST_ACCEPTED):
            try:
                descriptor, _address = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - socket's own way
            except BlockingIOError:
                return
            except ConnectionError:  # the client has gone already
                continue
            except OSError:
                if not self._open:
                    raise
                self._close_oldest()  # the system ran out of descriptors or memory
                continue
            if len(self._open) >= self._most:
                self._close_oldest()
            self._last = monotonic()
            set_blocking(descriptor, False)
            self._open[descriptor] = (self._last + LONGEST_CONNECTION, bytearray())
            self._epoll.register(descriptor, EPOLLIN)
            self._receive(descriptor)  # most clients have sent their request by now

    def _receive(self, descriptor: int) -> None:
        head = self._open[descriptor][1]
        try:
            data = read(descriptor, LARGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        head += data
        if _END in head:
            self._finish(descriptor, answer(bytes(head.partition(_END)[0]), self._documents))
        elif len(head) > LARGEST_HEAD:
            self._finish(descriptor, refusal(431, "request-too-large", "The head is longer than 8 KiB"))
        elif not data:
            self._close(descriptor)

    def _finish(self, descriptor: int, reply: bytes) -> None:
        """Write the answer: the socket of a new connection takes it whole."""
        try:
            write(descriptor, reply)
        except OSError:
            """The client has gone."""
        self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        del self._open[descriptor]
        close(descriptor)
        self._last = monotonic()

    def _close_oldest(self) -> None:
        self._close(next(iter(self._open)))

    def _close_late(self) -> None:
        now = monotonic()
        while self._open and next(iter(self._open.values()))[0] <= now:
            self._close_oldest()
