"""Sockets and HTTP/1.1: a thread for each connection, h11 for the protocol, TLS when there is a certificate.

`stop` shuts every socket down. That wakes a thread that reads, hangs on demand or writes, so that none has to poll.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import h11

from rolekeeper.emulator.messages import Reply, Request, Response
from rolekeeper.errors import InputOutputError, UnavailableError, UsageError

LARGEST_BODY = 1024 * 1024  # bytes; requests of the protocol have a few thousand at most
_CHUNK = 64 * 1024
_BACKLOG = 512  # a whole fleet may connect at the same moment
_JOIN_SECONDS = 5.0
_PAUSE_SECONDS = 0.1  # before the next accept, after it ran out of descriptors or threads
_BODILESS = frozenset({204, 304})
_STATUSES = frozenset(HTTPStatus)


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate (with its chain) and its private key, both PEM files."""

    certificate: Path
    key: Path


class Server:
    """Listens from construction, serves from `start` to `stop`; `handle` makes a reply, `date_header` its Date."""

    def __init__(
        self,
        handle: Callable[[Request], Reply],
        date_header: Callable[[], str],
        *,
        address: str,
        port: int,
        tls: Tls | None,
    ) -> None:
        self._handle = handle
        self.date_header = date_header
        self._tls = _context(tls) if tls else None
        self._listener = _listen(address, port)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, threading.Thread] = {}
        self._acceptor = threading.Thread(target=self._accept, name="emulator-accept", daemon=True)
        self.address: str = address
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients find the service."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def start(self) -> None:
        """Accept connections."""
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection, answered or not, and the listening socket."""
        self._stopping.set()
        _shut(self._listener)
        if self._acceptor.is_alive():  # `start` need not have been called
            self._acceptor.join(_JOIN_SECONDS)
        self._listener.close()
        with self._lock:
            peers = dict(self._peers)
            for peer in peers:
                _shut(peer)
        for thread in peers.values():
            thread.join(_JOIN_SECONDS)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                peer, origin = self._listener.accept()
                self._welcome(peer, origin[0])
            except (OSError, RuntimeError):  # shut down; or out of descriptors or threads until a client leaves
                self._stopping.wait(_PAUSE_SECONDS)

    def _welcome(self, peer: socket.socket, origin: str) -> None:
        thread = threading.Thread(target=self._serve, args=(peer, origin), name="emulator-peer", daemon=True)
        with self._lock:
            self._peers[peer] = thread
        try:
            thread.start()
        except RuntimeError:
            self._release(peer)
            raise

    def _serve(self, peer: socket.socket, origin: str) -> None:
        try:
            # An error of the socket means that the client closed it, or that `stop` shut it.
            with contextlib.suppress(OSError):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(peer, origin)
        finally:
            self._release(peer)

    def _release(self, peer: socket.socket) -> None:
        peer.close()  # while `stop` still waits for this thread
        with self._lock:
            self._peers.pop(peer, None)

    def _converse(self, peer: socket.socket, origin: str) -> None:
        if self._tls is None:
            _Conversation(peer, origin, self).run()
            return
        # `stop` keeps the raw socket, so that it can shut it whatever TLS is doing.
        with self._tls.wrap_socket(peer.dup(), server_side=True) as channel:
            _Conversation(channel, origin, self).run()

    def reply(self, request: Request) -> Reply:
        """The reply to a request; its delay is over when this returns."""
        reply = self._handle(request)
        if self._stopping.wait(reply.delay.total_seconds()):
            return Reply(None)
        return reply


class _Conversation:
    """One connection: requests and answers in turn, until either side closes it."""

    def __init__(self, channel: socket.socket, origin: str, server: Server) -> None:
        self._channel = channel
        self._origin = origin
        self._server = server
        self._http = h11.Connection(h11.SERVER)
        self._method = ""

    def run(self) -> None:
        """Serve requests until the connection ends."""
        try:
            while request := self._read_request():
                if not self._answer(self._server.reply(request)):
                    return
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _read_request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match event := self._next_event():
                case h11.Request():
                    head = event
                    self._method = head.method.decode("ascii")
                    if self._method == "CONNECT":  # h11 would take it for a tunnel, and write no answer
                        raise h11.RemoteProtocolError("no proxy", error_status_hint=405)
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage() if head is not None:
                    return _request(head, bytes(body), self._origin)
                case _:
                    return None
            if len(body) > LARGEST_BODY:
                raise h11.RemoteProtocolError("body too large", error_status_hint=413)

    def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(self._channel.recv(_CHUNK))
        return event

    def _answer(self, reply: Reply) -> bool:
        """Send the reply; returns whether the connection stays open."""
        if reply.response is None:
            while reply.hang and self._channel.recv(_CHUNK):
                pass  # hold it open until the client or `stop` closes it
            return False
        response = reply.response
        body = b"" if self._method == "HEAD" or response.status in _BODILESS else response.body
        self._send_head(response)
        self._send(h11.Data(data=body[: reply.sent_bytes]))
        if reply.sent_bytes is not None:
            return False
        self._send(h11.EndOfMessage())
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _send_head(self, response: Response) -> None:
        named = {name.lower() for name, _ in response.headers}
        headers = [(name, value) for name, value in response.headers if value]
        if "date" not in named:
            headers.append(("Date", self._server.date_header()))
        headers.append(("Content-Length", str(len(response.body))))
        self._send(h11.Response(status_code=response.status, headers=headers, reason=_reason(response.status)))

    def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send_head(Response(status, (("Connection", "close"),), b""))
            self._send(h11.EndOfMessage())

    def _send(self, *events: h11.Event) -> None:
        self._channel.sendall(b"".join(self._http.send(event) or b"" for event in events))


def _request(head: h11.Request, body: bytes, origin: str) -> Request:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return Request(head.method.decode("ascii"), head.target.decode("latin-1"), headers, body, origin)


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else ""


def _shut(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is shut already
        channel.shutdown(socket.SHUT_RDWR)


def _listen(address: str, port: int) -> socket.socket:
    if not address:  # such as an unset variable; the system would take it for every interface
        raise UsageError("address-empty", "Cannot listen on an empty address", "name an address, or omit it")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        address.encode("idna")  # create_server does the same, but leaks a socket when it fails
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UnavailableError(
            "cannot-listen",
            f"Cannot listen on {address} port {port}: {error}",
            "choose another address or port, or port 0 for any that is free",
        ) from None


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise InputOutputError(
            "tls-files-unreadable",
            f"Cannot use the certificate {tls.certificate} with the key {tls.key}: {error}",
            "PEM files, the certificate with its chain, and the private key without a passphrase",
        ) from None
    return context
