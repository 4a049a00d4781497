"""One HTTP exchange with a service: over a proxy or not, over TLS or not, with an answer of bounded size.

The rules:

1. A request is a POST over a connection of its own. It goes out once, and no redirect is followed.
2. The addresses of a name are tried in order. Connecting to each, a proxy's tunnel, and TLS take `connect_timeout` a
   step at most, and each piece of the answer `read_timeout`; the deadline of the attempt bounds the whole.
3. An answer has at most 1 MiB, everything included: head, interim answers, chunk sizes and trailers. One that ends
   before its length is incomplete.
4. Only what the network, TLS and the HTTP parser raise becomes a ServiceError here (`failures`). A fault in our own
   code comes out as it is.
"""

import io
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any

from rolekeeper.adapters.ssm.endpoints import Url
from rolekeeper.adapters.ssm.failures import AnswerTooLongError, ProxyError, failure_error
from rolekeeper.adapters.ssm.proxies import Proxy, proxy_for
from rolekeeper.adapters.ssm.tls import TlsInTls, directory, is_systems_own, secured, trust_store
from rolekeeper.model import Instant
from rolekeeper.ports import Clock
from rolekeeper.settings import ServiceSettings
from rolekeeper.values import Value

LONGEST_ANSWER = 1024 * 1024  # bytes; the longest that the service is known to send has 2 KiB
_SUCCESS = range(200, 300)


class Answer(Value):
    """What came back: header names in lower case; `sent` and `received` are this machine's clocks at either end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: Instant
    received: Instant

    @property
    def request_id(self) -> str | None:
        """The service's name for the request, when the service itself answered."""
        return self.headers.get("x-amzn-requestid")


class Wire:
    """Sends requests as the settings say; `environment` is where the variables of a proxy are looked up."""

    def __init__(self, settings: ServiceSettings, clock: Clock, version: str, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._clock = clock
        self._version = version
        self._environment = environment

    def exchange(self, action: str, endpoint: Url, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request and read the whole answer; ServiceError, which begins with `action`, when none comes."""
        settings = self._settings
        proxy = proxy_for(action, endpoint, settings.proxy_url, self._environment)
        trusted = trust_store(settings.ca_bundle)
        try:
            with closing(self._verified(endpoint, proxy, trusted)) as link:
                return self._exchange(link, self._request(endpoint, proxy, headers, body))
        except (OSError, HTTPException) as error:
            now, has_trust_store = self._clock.now().wall, is_systems_own(trusted)
            may_lack_ipv4 = endpoint.scheme == "https" and settings.endpoint_url is None and not settings.dual_stack
            failed = failure_error(
                action, error, endpoint, now, has_trust_store=has_trust_store, may_lack_ipv4=may_lack_ipv4
            )
        raise failed  # without the library's error, which may hold the request

    def issuer(self, action: str, endpoint: Url) -> str:
        """Who signed the certificate that the endpoint shows, verified or not; empty when that cannot be told.

        Nothing is sent beyond the proxy's tunnel and the handshake: this is for a person who asks why TLS fails.
        """
        from rolekeeper.adapters.ssm import peer  # noqa: PLC0415 - only a diagnosis needs it

        proxy = proxy_for(action, endpoint, self._settings.proxy_url, self._environment)
        try:
            with closing(self._carrier(endpoint, proxy, trust_store(self._settings.ca_bundle))) as link:
                return peer.issuer(link, endpoint.host)
        except (OSError, HTTPException):
            return ""

    def _verified(self, endpoint: Url, proxy: Proxy | None, trusted: str) -> socket.socket | TlsInTls:
        """A connection that the trust store's directory verifies, or else its file."""
        quick = directory(trusted)
        if quick is not None:
            with suppress(ssl.SSLCertVerificationError):
                return self._connected(endpoint, proxy, quick)
        return self._connected(endpoint, proxy, trusted)

    def _connected(self, endpoint: Url, proxy: Proxy | None, trusted: str) -> socket.socket | TlsInTls:
        link = self._carrier(endpoint, proxy, trusted)
        try:
            if endpoint.scheme == "https":
                link = secured(link, endpoint.host, trusted)
            link.settimeout(self._settings.read_timeout.total_seconds())
        except BaseException:
            link.close()
            raise
        return link

    def _carrier(self, endpoint: Url, proxy: Proxy | None, trusted: str) -> socket.socket | TlsInTls:
        """The connection to the endpoint, through the proxy's tunnel if there is one, before the endpoint's own TLS."""
        hop = proxy.endpoint if proxy else endpoint
        link: socket.socket | TlsInTls
        try:
            link = socket.create_connection((hop.host, hop.port), self._settings.connect_timeout.total_seconds())
        except OSError as error:
            raise ProxyError(f"{error.strerror or error}, {hop.url}") if proxy else error from None
        try:
            if proxy and hop.scheme == "https":
                link = secured(link, hop.host, trusted)
            if proxy and endpoint.scheme == "https":
                _open_tunnel(link, endpoint, proxy)
        except BaseException:
            link.close()
            raise
        return link

    def _request(self, endpoint: Url, proxy: Proxy | None, headers: Mapping[str, str], body: bytes) -> bytes:
        sent = {
            "host": endpoint.netloc,
            **headers,
            "content-length": str(len(body)),
            "accept-encoding": "identity",
            "user-agent": f"rolekeeper/{self._version}",
            "connection": "close",
        }
        forwarded = proxy is not None and endpoint.scheme == "http"
        if proxy and forwarded and proxy.authorization:
            sent["proxy-authorization"] = proxy.authorization
        return _head("POST", endpoint.url if forwarded else endpoint.path, sent) + body

    def _exchange(self, link: socket.socket | TlsInTls, request: bytes) -> Answer:
        sent = self._clock.now()
        link.sendall(request)
        with closing(_Response(link, "POST")) as response:
            response.begin()
            received = self._clock.now()
            if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                raise _refusal(response.status)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, response.read(), sent, received)


class _Response(HTTPResponse):
    """A response that is read from no more than LONGEST_ANSWER bytes."""

    def __init__(self, link: Any, method: str) -> None:
        super().__init__(link, method=method)
        self.fp: Any = _Bounded(self.fp)


class _Bounded:
    """A file that ends with AnswerTooLongError; http.client bounds each line of an answer, and nothing else."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = LONGEST_ANSWER
        self.close, self.flush = file.close, file.flush

    def readline(self, longest: int) -> bytes:
        return self._counted(self._file.readline(longest))

    def read(self, size: int = -1) -> bytes:
        most = self._left + 1
        return self._counted(self._file.read(min(size, most) if size >= 0 else most))  # a chunk's size can be negative

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise AnswerTooLongError(LONGEST_ANSWER)
        return piece


def _open_tunnel(link: socket.socket | TlsInTls, endpoint: Url, proxy: Proxy) -> None:
    """Have the proxy connect `link` to the endpoint. Nothing that a refusing proxy says is repeated but its status."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    headers = {"host": f"{host}:{endpoint.port}"}
    if proxy.authorization:
        headers["proxy-authorization"] = proxy.authorization
    link.sendall(_head("CONNECT", headers["host"], headers))
    with closing(_Response(link, "CONNECT")) as response:
        response.begin()
        if response.status not in _SUCCESS:
            raise _refusal(response.status)


def _refusal(status: int) -> ProxyError:
    words = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return ProxyError(f"it answers {status} {words}".rstrip())


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
