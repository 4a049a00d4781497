"""What travels: requests, answers, and the two dialects in which the service speaks.

Systems Manager speaks JSON 1.1 and names the operation in X-Amz-Target (docs/protocol.md, section 2); STS speaks the
query protocol and answers in XML. The same trouble has one name in each: `UnrecognizedClientException` with status 400
there is `InvalidClientTokenId` with 403 here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

JSON_CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "AmazonSSM."
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are in lower case; values are as they came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str = "127.0.0.1"

    def header(self, name: str) -> str | None:
        """Every value of a header, joined by commas; None when it is absent."""
        values = [value for header, value in self.headers if header == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def with_header(self, name: str, value: str | None) -> "Response":
        """The same answer with a header set, or (None) without it.

        A header that must be absent stays in the list with an empty value, so that the server adds none of its own.
        """
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value or "")))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does: answer after `delay`, or hold the line, or (neither) close it without a word.

    `sent_bytes` closes the connection after that many bytes of the body, whatever Content-Length promised.
    """

    response: Response | None
    delay: timedelta = timedelta()
    hang: bool = False
    sent_bytes: int | None = None


class AnswerError(Exception):
    """An error that the service answers with: AWS's code, its message and the HTTP status."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one service is spoken to: its name in a signature's scope, and how its requests and answers are written."""

    service: str
    media_type: str
    success: Callable[[str, Mapping[str, Any], str], Response]
    failure: Callable[[AnswerError, str], Response]
    parse: Callable[[bytes], Mapping[str, Any]]


# The framework before the service answers these two, and writes its own name before the code.
FRAMEWORK_CODES = frozenset({"SerializationException", "UnknownOperationException"})

# JSON services answer 400 for every refusal; STS has names and statuses of its own.
STS_NAMES: Mapping[str, tuple[str, int]] = {
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "AccessDeniedException": ("AccessDenied", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "UnknownOperationException": ("InvalidAction", 400),
}


def json_document(body: bytes) -> Mapping[str, Any]:
    """The input of a JSON operation; SerializationException when it is not an object."""
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise AnswerError("SerializationException") from None
    if not isinstance(document, dict):
        raise AnswerError("SerializationException")
    return document


def json_success(_operation: str, answer: Mapping[str, Any], _request_id: str) -> Response:
    """A JSON 1.1 answer."""
    return _json(200, dict(answer))


def json_failure(error: AnswerError, _request_id: str) -> Response:
    """A JSON 1.1 error (docs/protocol.md, section 2.6)."""
    code = f"com.amazon.coral.service#{error.code}" if error.code in FRAMEWORK_CODES else error.code
    document = {"__type": code} | ({"message": error.message} if error.message else {})
    return _json(error.status, document)


def json_failure_in_header(error: AnswerError) -> Response:
    """The rarer form of the same: the code is in x-amzn-ErrorType and nowhere else (docs/protocol.md, section 2.6)."""
    return _json(error.status, {"message": error.message}).with_header("x-amzn-ErrorType", error.code)


def _json(status: int, document: Mapping[str, Any]) -> Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", JSON_CONTENT_TYPE),), body)


def query_document(body: bytes) -> Mapping[str, Any]:
    """The input of a query operation: form fields."""
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def query_success(operation: str, answer: Mapping[str, Any], request_id: str) -> Response:
    """An STS answer in XML."""
    members = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in answer.items())
    result = f"<{operation}Result>{members}</{operation}Result>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return _xml(200, f'<{operation}Response xmlns="{STS_NAMESPACE}">{result}{metadata}</{operation}Response>')


def query_failure(error: AnswerError, request_id: str) -> Response:
    """An STS error in XML, under the name that STS has for it."""
    code, status = STS_NAMES.get(error.code, (error.code, error.status))
    kind = "Receiver" if status >= 500 else "Sender"  # noqa: PLR2004 - where HTTP's server errors begin
    detail = f"<Type>{kind}</Type><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>"
    body = f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error>{detail}</Error><RequestId>{request_id}</RequestId>'
    return _xml(status, f"{body}</ErrorResponse>")


def _xml(status: int, document: str) -> Response:
    return Response(status, (("Content-Type", "text/xml"),), document.encode())


SSM = Dialect("ssm", JSON_CONTENT_TYPE, json_success, json_failure, json_document)
STS = Dialect("sts", "application/x-www-form-urlencoded", query_success, query_failure, query_document)


def dialect_of(request: Request) -> Dialect:
    """STS for a form without X-Amz-Target; Systems Manager for everything else, malformed requests included."""
    is_form = _media_type(request) == STS.media_type
    return STS if is_form and request.header("x-amz-target") is None else SSM


def check_head(request: Request, dialect: Dialect) -> None:
    """Refuse what is no POST to `/` (docs/protocol.md, section 2) with the dialect's media type."""
    path = request.target.partition("?")[0].strip("/")  # an endpoint with a slash at its end makes two of one
    if request.method != "POST" or path or _media_type(request) != dialect.media_type:
        raise AnswerError("UnknownOperationException", status=404)


def _media_type(request: Request) -> str:
    return (request.header("content-type") or "").partition(";")[0].strip().lower()


def operation_of(request: Request) -> str:
    """The name of the operation that a request asks for; empty when it names none."""
    if dialect_of(request) is STS:
        return str(query_document(request.body).get("Action", ""))
    target = request.header("x-amz-target") or ""
    return target.removeprefix(TARGET_PREFIX) if target.startswith(TARGET_PREFIX) else ""
