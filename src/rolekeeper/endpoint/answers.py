"""One request in, one answer out: the SDKs' container credentials protocol (docs/protocol.md, section 6).

The rules, in this order; the first one that is broken answers:
- 400: the head is no HTTP/1 request with exactly one Host and no more than one Authorization;
- 403: Host is neither an IP address nor a name of the loopback interface, as when a web page has its own name resolved
  to this machine (DNS rebinding); or there is an Origin, which only browsers send;
- 405: the method is not GET;
- 404: there is no endpoint of that name;
- 401: Authorization is not the endpoint's token. The comparison takes as long for any wrong token of that length;
- 503: the endpoint has no credentials, or they have expired;
- 200 and the credentials.
Every other answer than 200 carries {"code", "message"}, which SDKs put into their error.
"""

from __future__ import annotations

# hmac.compare_digest by its other name: the hmac module loads OpenSSL.
from _operator import _compare_digest as compare_digest
from _socket import AF_INET, AF_INET6, inet_pton

TYPE_CHECKING = False  # as typing's, whose import would cost more than this module
if TYPE_CHECKING:
    from rolekeeper.endpoint.documents import Directory

LOOPBACK_NAMES = ("localhost", "ip6-localhost")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class _Refused(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def answer(head: bytes, documents: Directory) -> bytes:
    """The answer to a request whose head, up to the empty line, is `head`."""
    try:
        return _written(200, _body(head, documents))
    except _Refused as refused:
        return refusal(refused.status, refused.code, str(refused))


def refusal(status: int, code: str, message: str) -> bytes:
    """An answer that says no; code and message are plain words."""
    return _written(status, f'{{"code": "{code}", "message": "{message}"}}'.encode())


def _written(status: int, body: bytes) -> bytes:
    allow = "Allow: GET\r\n" if status == 405 else ""  # noqa: PLR2004 - as in the table above
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{allow}Connection: close\r\n\r\n"
    ).encode() + body


def _body(head: bytes, documents: Directory) -> bytes:
    method, target, headers = _parsed(head)
    if not _is_local(headers["host"]):
        raise _Refused(403, "host-refused", "Host is neither an address nor a name of the loopback interface")
    if "origin" in headers:
        raise _Refused(403, "origin-refused", "Web pages get no credentials")
    if method != "GET":
        raise _Refused(405, "method-refused", "Only GET is answered")
    return _credentials(target, headers.get("authorization", ""), documents)


def _credentials(target: str, authorization: str, documents: Directory) -> bytes:
    try:
        found = documents.find(target[1:]) if target.startswith("/") else None
    except (OSError, ValueError) as error:
        raise _Refused(503, "document-unreadable", "The endpoint's document cannot be read") from error
    if found is None:
        raise _Refused(404, "endpoint-unknown", "There is no endpoint of this name")
    if not compare_digest(authorization.encode("latin-1"), found.authorization):
        raise _Refused(401, "token-refused", "Authorization is not the token of this endpoint")
    if not found.body:
        raise _Refused(503, "credentials-absent", "No credentials are published yet; see rolekeeper status")
    if found.is_expired(documents.boot_id):
        raise _Refused(503, "credentials-expired", "The credentials have expired; see rolekeeper status")
    return found.body


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers, their names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name.strip() != name or (name in headers and name in ("host", "authorization")):
            raise _malformed()
        headers[name] = value.strip(" \t")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or "host" not in headers:  # noqa: PLR2004 - see _body
        raise _malformed()
    return parts[0], parts[1], headers


def _malformed() -> _Refused:
    return _Refused(400, "request-malformed", "This is no HTTP request with one Host")


def _is_local(host: str) -> bool:
    """Whether Host, with or without a port, is an IP address or a name of the loopback interface."""
    if host.startswith("["):
        return _is_address(AF_INET6, host[1:].partition("]")[0])
    name = host.partition(":")[0].lower()
    return name in LOOPBACK_NAMES or _is_address(AF_INET, name)


def _is_address(family: int, text: str) -> bool:
    try:
        inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
