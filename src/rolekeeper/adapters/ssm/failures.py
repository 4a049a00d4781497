"""What kept an answer from coming: botocore's and urllib3's exceptions, made into errors of ours, as a table.

No exception's text is taken as it is: the innermost cause is quoted, in one bounded line, without a proxy's user and
password and without anything that was sent: it may quote the request. A certificate that is expired or not yet valid is
more often a wrong clock than a wrong certificate, and is told so.
"""

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from botocore import exceptions as botocore_errors
from urllib3 import exceptions as urllib3_errors

from rolekeeper.adapters.ssm.answers import presentable
from rolekeeper.errors import ServiceError, ServiceRefusedError

# In a URL, of a proxy for one. Tried only where it can begin: else the time grows with the square of the text's length.
_USER_INFO = re.compile(r"(?<![^/\s])[^/\s]*@")
_OUT_OF_TIME = {9: "not yet valid", 10: "expired"}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_ACCESS = "service.endpoint_url, service.proxy_url and HTTPS_PROXY"


@dataclass(frozen=True, slots=True)
class _Failure:
    """One row: these exceptions, what to call them, and what a person does."""

    exceptions: tuple[type[Exception], ...]
    code: str
    says: str
    hint: str
    error: type[ServiceError] | type[ServiceRefusedError] = ServiceError


# From the special to the general: the first row that fits counts, and botocore's exceptions inherit from each other.
_FAILURES = (
    _Failure(
        (botocore_errors.EndpointVariantError,),
        "endpoint-not-available",
        "botocore knows no such endpoint in this region",
        "turn service.dual_stack or service.fips off, or name the endpoint in service.endpoint_url",
        ServiceRefusedError,
    ),
    _Failure(
        (botocore_errors.ProxyConnectionError, botocore_errors.InvalidProxiesConfigError, urllib3_errors.ProxyError),
        "proxy-failed",
        "the proxy does not let it through",
        "check the proxy's address, port, user and password: service.proxy_url, or HTTPS_PROXY and NO_PROXY",
    ),
    _Failure(
        (botocore_errors.SSLError, urllib3_errors.SSLError),
        "tls-failed",
        "no trusted TLS connection",
        "add the CA that signed the certificate (an inspecting proxy has its own) to the system's trust store, or name "
        "its file in service.ca_bundle",
    ),
    _Failure(
        (botocore_errors.ConnectTimeoutError, botocore_errors.ReadTimeoutError, urllib3_errors.TimeoutError),
        "timeout",
        "no answer in time",
        f"see whether a firewall drops the connection, and check {_ACCESS}; service.connect_timeout and "
        "service.read_timeout say how long to wait",
    ),
    _Failure(
        (botocore_errors.ConnectionClosedError, urllib3_errors.ProtocolError, ConnectionResetError),
        "connection-lost",
        "the connection ended before the answer was complete",
        f"try again; if it stays so, check {_ACCESS}",
    ),
    _Failure(
        (botocore_errors.HTTPClientError, botocore_errors.ConnectionError, urllib3_errors.HTTPError, OSError),
        "unreachable",
        "no connection",
        f"check the network, the name service, the region, {_ACCESS}",
    ),
    _Failure(
        (
            botocore_errors.BotoCoreError,
            botocore_errors.ClientError,
            AttributeError,
            KeyError,
            RuntimeError,
            TypeError,
            ValueError,  # and with it UnicodeDecodeError
        ),
        "unusable-answer",
        "what came cannot be understood",
        f"see what answers in the service's place, such as a proxy or a captive portal: {_ACCESS}",
    ),
)

EXCEPTIONS = tuple(kind for failure in _FAILURES for kind in failure.exceptions)
"""Everything that botocore, its parser and urllib3 let out."""


def failure_error(
    action: str, error: Exception, secrets: Iterable[str], now: datetime
) -> ServiceError | ServiceRefusedError:
    """What one of EXCEPTIONS means for `action` (`Cannot request ...`); none of `secrets` shows in the result.

    `now` is what this machine's clock says.
    """
    failure = next(failure for failure in _FAILURES if isinstance(error, failure.exceptions))
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in _OUT_OF_TIME:
        failure = _by_the_clock(failure, _OUT_OF_TIME[cause.verify_code], now)
    where = getattr(error, "kwargs", {}).get("endpoint_url")  # botocore's way to say it
    told = f"{_words(cause)}, {where}" if where else _words(cause)
    detail = presentable(_USER_INFO.sub("***@", told), secrets)
    return failure.error(failure.code, f"{action}: {failure.says} ({detail})", failure.hint)


def _by_the_clock(failure: _Failure, what: str, now: datetime) -> _Failure:
    return replace(
        failure,
        says=f"the certificate is {what} by this machine's clock, which says {now:%Y-%m-%d %H:%M:%S} UTC",
        hint="set this machine's clock; if it is right, see whose certificate that is: the service's own, or an "
        "inspecting proxy's",
    )


def _cause(error: BaseException) -> BaseException:
    """The innermost cause: botocore wraps urllib3, which wraps the operating system."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, UnicodeEncodeError):  # whose text quotes a character, of a proxy's password for one
        return "what is to be sent is not ASCII"
    if isinstance(error, urllib3_errors.LocationParseError):  # whose text quotes what was taken for the host
        return "what is to be the URL of a proxy, or of the service, is none"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
