"""Errors for requests without an answer: what the network, TLS and the HTTP parser raise.

No error repeats what a server sent, so nothing of a request can show. A certificate that is expired or not yet valid is
more often a wrong clock than a wrong certificate, and its error says so.
"""

import errno
import ssl
from collections.abc import Mapping
from datetime import datetime
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected, UnknownProtocol

from rolekeeper.adapters.ssm.endpoints import Url
from rolekeeper.adapters.ssm.tls import NO_TRUST_STORE
from rolekeeper.errors import ServiceError


class ProxyError(OSError):
    """The proxy cannot be reached, or refuses."""


class AnswerTooLongError(HTTPException):
    """The answer is longer than any of the service's."""

    def __init__(self, longest: int) -> None:
        super().__init__(f"it is longer than {longest} bytes")


_PROXY = "check the proxy's address, port, user and password: service.proxy_url, or HTTPS_PROXY and NO_PROXY"
_ACCESS = "{setting}, service.proxy_url and HTTPS_PROXY"
_FIREWALL = (
    f"see whether a firewall drops the connection, and check {_ACCESS}; service.connect_timeout and "
    "service.read_timeout say how long to wait"
)
_TRUST = (
    "add the CA that signed the certificate (an inspecting proxy has its own) to the system's trust store, or name its "
    "file in service.ca_bundle"
)
_NAME = f"see what answers at that address, such as an inspecting proxy or a captive portal: {_ACCESS}"
_NO_TLS = f"write http:// where the proxy or endpoint speaks no TLS, or see what answers at that address: {_ACCESS}"
_CLOCK = "set this machine's clock; if it is right, see whether an inspecting proxy made the certificate"
_IPV6 = "; on a machine that has IPv6 only, set service.dual_stack"
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})

# From the special to the general: the first row that fits counts.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], str, str, str], ...] = (
    ((ProxyError,), "proxy-failed", "the proxy does not let it through", _PROXY),
    ((ssl.SSLError,), "tls-failed", "no trusted TLS connection", _TRUST),
    ((TimeoutError,), "timeout", "no answer in time", _FIREWALL),
    (
        (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, IncompleteRead),
        "connection-lost",
        "the connection ended before the answer was complete",
        f"try again; if it stays so, check {_ACCESS}",
    ),
    (
        (HTTPException,),
        "unusable-answer",
        "what came cannot be understood",
        f"see what answers in the service's place, such as a proxy or a captive portal: {_ACCESS}",
    ),
    ((OSError,), "unreachable", "no connection", f"check the network, the name service, the region, {_ACCESS}"),
)

# By OpenSSL's X509_V_ERR: what is wrong with a certificate, and what a person does.
_CERTIFICATES: Mapping[int, tuple[str, str]] = {
    2: ("it is from an unknown CA", _TRUST),
    18: ("it is self-signed", _TRUST),
    19: ("its CA is not trusted", _TRUST),
    20: ("it is from an unknown CA", _TRUST),
    21: ("it is from an unknown CA", _TRUST),
    62: ("it is for another name", _NAME),
    64: ("it is for another address", _NAME),
}
_OUT_OF_TIME = {9: "not yet valid", 10: "expired"}


def failure_error(
    action: str, error: Exception, endpoint: Url, now: datetime, *, has_trust_store: bool, may_lack_ipv4: bool
) -> ServiceError:
    """What an OSError or HTTPException means for `action` (`Cannot request ...`); `now` is this machine's clock."""
    code, says, hint = next(row[1:] for row in _FAILURES if isinstance(error, row[0]))
    detail = f"{_words(error)}, {endpoint.url}"
    if isinstance(error, ssl.SSLCertVerificationError):
        says, hint = _certificate(error, now, has_trust_store=has_trust_store)
    elif isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        says, hint = "what answers does not speak TLS", _NO_TLS
    if may_lack_ipv4 and code == "unreachable" and error.errno in _NO_ROUTE:  # type: ignore[attr-defined] # an OSError
        hint += _IPV6
    return ServiceError(code, f"{action}: {says} ({detail})", hint.format(setting=endpoint.setting))


def _certificate(error: ssl.SSLCertVerificationError, now: datetime, *, has_trust_store: bool) -> tuple[str, str]:
    if error.verify_code in _OUT_OF_TIME:
        when = f"{_OUT_OF_TIME[error.verify_code]} by this machine's clock, which says {now:%Y-%m-%d %H:%M:%S} UTC"
        return f"the certificate is {when}", _CLOCK
    wrong, hint = _CERTIFICATES.get(error.verify_code, ("it cannot be verified", _TRUST))
    if hint is _TRUST and not has_trust_store:
        return f"the certificate is not trusted: {wrong}, and this machine has no trust store", NO_TRUST_STORE
    return f"the certificate is not trusted: {wrong}", hint


def _words(error: Exception) -> str:
    """The library's words, except for what a server said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, (BadStatusLine, UnknownProtocol)) and not isinstance(error, RemoteDisconnected):
        return "it is not HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
