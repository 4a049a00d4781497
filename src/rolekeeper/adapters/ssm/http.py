"""One HTTP exchange with the service: proxy, TLS, and an answer of bounded size.

The rules:

1. A request goes out once: no retry here, and no redirect is followed (botocore's HTTP session does neither).
2. An answer's body is at most 1 MiB; a longer one is no answer. How slowly it may come is bounded by `read_timeout`
   between two pieces, and as a whole by the deadline of the attempt.
3. TLS trusts `ca_bundle`; without one the system's trust store, where the CA of an inspecting proxy is; without that
   botocore's own bundle.
4. A proxy is `proxy_url`, or else what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say, by botocore's own means.
"""

import os
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import ProxyError

from rolekeeper.errors import ServiceError, TrustStoreError
from rolekeeper.model import Instant, ServiceSettings
from rolekeeper.ports import Clock

LONGEST_ANSWER = 1024 * 1024  # bytes; the longest that the service is known to send has 2 KiB

# Debian, Alpine and Arch; RHEL and Fedora, old and new; SUSE; Alpine without the package of the first.
_TRUST_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PEM_MARK = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Answer:
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
    """Sends requests as the settings say, each over a connection of its own."""

    def __init__(self, settings: ServiceSettings, clock: Clock, trust: str | bool) -> None:  # noqa: FBT001 - botocore's type
        self._settings = settings
        self._clock = clock
        self._trust = trust

    def exchange(self, request: AWSPreparedRequest) -> Answer:
        """Send `request` and read the whole answer. botocore's and urllib3's exceptions come out as they are."""
        session = self._session(request.url)
        request.stream_output = True  # the session leaves the body to us
        try:
            sent = self._clock.now()
            response = session.send(request)
            received = self._clock.now()
            headers = {name.lower(): value for name, value in response.headers.items()}
            with closing(response.raw) as raw:
                _check_proxy(response.status_code)
                return Answer(response.status_code, headers, _whole_body(raw, headers), sent, received)
        finally:
            session.close()

    def _session(self, url: str) -> Any:
        proxy = self._settings.proxy_url
        return URLLib3Session(
            verify=self._trust,
            proxies={"http": proxy, "https": proxy} if proxy else get_environ_proxies(url),
            timeout=(self._settings.connect_timeout.total_seconds(), self._settings.read_timeout.total_seconds()),
        )


class _Body(BytesIO):
    """A body that is here already, as botocore reads one."""

    def stream(self) -> Iterable[bytes]:
        """All of it."""
        return (self.getvalue(),)


def as_botocore_response(url: str, answer: Answer) -> AWSResponse:
    """The answer as botocore's parser takes it."""
    return AWSResponse(url, answer.status, dict(answer.headers), _Body(answer.body))


def trust_store(ca_bundle: str | None, candidates: Iterable[str] | None = None) -> str | bool:
    """The file of trusted CAs, or True for botocore's own; TrustStoreError for a `ca_bundle` without certificates."""
    if ca_bundle is not None:
        return _checked(ca_bundle)
    if candidates is None:
        candidates = (ssl.get_default_verify_paths().openssl_cafile, *_TRUST_STORES)
    return next((path for path in candidates if os.path.isfile(path) and os.path.getsize(path) > 0), True)


def _checked(ca_bundle: str) -> str:
    try:
        with open(ca_bundle, "rb") as file:
            usable = _PEM_MARK in file.read(LONGEST_ANSWER)
    except OSError as error:
        raise _bad_bundle(ca_bundle, error.strerror or "it cannot be opened") from error
    if not usable:
        raise _bad_bundle(ca_bundle, "it holds no PEM certificate")
    return ca_bundle


def _bad_bundle(ca_bundle: str, reason: str) -> TrustStoreError:
    return TrustStoreError(
        TrustStoreError.CODE,
        f"Cannot use the CA bundle {ca_bundle}: {reason}",
        "name a readable file of PEM certificates in service.ca_bundle, or leave it out for the system's trust store",
    )


def _check_proxy(status: int) -> None:
    """With plain HTTP a proxy's refusal comes as an answer; with TLS there is no tunnel, and botocore raises."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        refused = ConnectionRefusedError(f"{status} Proxy Authentication Required")
        raise ProxyError(str(refused), refused) from refused


def _whole_body(raw: Any, headers: Mapping[str, str]) -> bytes:
    body: bytes = raw.read(LONGEST_ANSWER + 1, decode_content=False)
    if len(body) > LONGEST_ANSWER:
        raise ServiceError(
            "unusable-answer",
            f"Cannot use the service's answer: it is longer than {LONGEST_ANSWER} bytes",
            "see what answers in the service's place: service.endpoint_url, service.proxy_url and HTTPS_PROXY",
        )
    declared = headers.get("content-length", "")
    if declared.isdecimal() and len(body) < int(declared):  # botocore's session does not look
        raise ConnectionResetError(f"{len(body)} of {declared} bytes came")
    return body
