"""How each service reads requests and writes answers.

Systems Manager and ec2messages use JSON 1.1 and name the operation in X-Amz-Target (docs/protocol.md, section 2). STS
uses the query protocol, form fields in and XML out. ssmmessages has a path for each operation and answers in XML. The
same error has different names: UnrecognizedClientException with status 400 is InvalidClientTokenId with 403 in STS.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from rolekeeper.emulator.messages import AnswerError, Request, Response

STS_VERSION = "2011-06-15"
STS_NAMESPACE = f"https://sts.amazonaws.com/doc/{STS_VERSION}/"
_DEEPEST_FIELD = 6  # levels in the name of a form field; the deepest that STS knows has four
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CHANNEL = re.compile("/v1/(control|data)-channel/[^/]+")
_SERVER_ERRORS = 500  # the lowest status of an error that is the server's own

# The usual status of an error is 400. The others, in JSON services and in STS:
STATUSES: Mapping[str, int] = {
    "InternalServerError": 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ServiceUnavailableException": 503,
    "RegionDisabledException": 403,
    **dict.fromkeys(("AccessDenied", "ExpiredToken", "InvalidClientTokenId"), 403),
    **dict.fromkeys(("MissingAuthenticationToken", "SignatureDoesNotMatch"), 403),
}
# What STS calls the errors of the JSON services.
STS_NAMES: Mapping[str, str] = {
    "AccessDeniedException": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "SerializationException": "MalformedInput",
    "ThrottlingException": "Throttling",
    "UnknownOperationException": "InvalidAction",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "ValidationException": "ValidationError",
}
# AWS's framework answers these two before the service sees the request, and writes its own name before the code.
FRAMEWORK_CODES = frozenset({"SerializationException", "UnknownOperationException"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service: its name in a signature's scope, and the form of its requests and answers.

    `media_type` is empty when any is accepted; `names` holds the error codes that differ from those of JSON services.
    """

    service: str
    media_type: str
    path: re.Pattern[str]
    operation: Callable[[Request], str]
    parse: Callable[[bytes], Mapping[str, Any]]
    success: Callable[[str, Mapping[str, Any], str], Response]
    failure: Callable[[str, str, int, str], Response]
    names: Mapping[str, str] = field(default_factory=dict)

    def code(self, code: str) -> str:
        """The name that the service has for an error."""
        return self.names.get(code, code)

    def refusal(self, error: AnswerError, request_id: str) -> Response:
        """The answer to a request that is refused."""
        code = self.code(error.code)
        return self.failure(code, error.message, error.status or STATUSES.get(code, 400), request_id)


def dialect_of(request: Request) -> Dialect:
    """The service that a request is for: Systems Manager unless the request says otherwise."""
    target = request.header("x-amz-target")
    if _CHANNEL.fullmatch(request.path):
        return SSMMESSAGES
    if target is None and _media_type(request) == STS.media_type:
        return STS
    return EC2MESSAGES if (target or "").startswith(_EC2MESSAGES_PREFIX) else SSM


def check_head(request: Request, dialect: Dialect) -> None:
    """Refuse what is not a POST to the dialect's path (docs/protocol.md, section 2) with its media type."""
    fits = dialect.media_type in ("", _media_type(request))
    if request.method != "POST" or not dialect.path.fullmatch(request.path) or not fits:
        raise AnswerError("UnknownOperationException", status=None if dialect is STS else 404)


def _media_type(request: Request) -> str:
    return (request.header("content-type") or "").partition(";")[0].strip().lower()


# JSON 1.1


def strict_json(content: bytes) -> Any:
    """JSON in UTF-8, the only encoding that AWS accepts; ValueError for another, and for NaN and Infinity."""
    return json.loads(content.decode(), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def json_document(body: bytes) -> Mapping[str, Any]:
    """The input of a JSON operation; SerializationException when it is not an object."""
    try:
        document = strict_json(body or b"{}")
    except (ValueError, RecursionError):
        raise AnswerError("SerializationException") from None
    if not isinstance(document, dict):
        raise AnswerError("SerializationException")
    return document


def json_failure_in_header(code: str, message: str, status: int) -> Response:
    """The rarer form of an error: the code is only in x-amzn-ErrorType (docs/protocol.md, section 2.6)."""
    return _json(status, {"message": message}).with_header("x-amzn-ErrorType", code)


def _json_success(_operation: str, answer: Mapping[str, Any], _request_id: str) -> Response:
    return _json(200, dict(answer))


def _json_failure(code: str, message: str, status: int, _request_id: str) -> Response:
    """A JSON 1.1 error (docs/protocol.md, section 2.6)."""
    kind = f"com.amazon.coral.service#{code}" if code in FRAMEWORK_CODES else code
    return _json(status, {"__type": kind} | ({"message": message} if message else {}))


def _json(status: int, document: Mapping[str, Any]) -> Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/x-amz-json-1.1"),), body)


def _target(prefix: str) -> Callable[[Request], str]:
    def operation(request: Request) -> str:
        target = request.header("x-amz-target") or ""
        return target.removeprefix(prefix) if target.startswith(prefix) else ""

    return operation


# The query protocol


def _query_operation(request: Request) -> str:
    try:
        return str(query_document(request.body).get("Action", ""))
    except AnswerError:
        return ""


def query_document(body: bytes) -> Mapping[str, Any]:
    """The input of a query operation: `Tags.member.1.Key` is the Key of the first of the Tags.

    A top-level field that is empty counts as absent: SDKs write an empty list so.
    """
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
        tree: dict[str, Any] = {}
        for name, value in fields:
            if value or "." in name:
                _add(tree, name.split("."), value)
        return {name: _lists(value) for name, value in tree.items()}
    except ValueError as error:
        raise AnswerError("SerializationException", str(error)) from None


def _query_input(body: bytes) -> Mapping[str, Any]:
    document = query_document(body)
    version = document.get("Version", "NO_VERSION_SPECIFIED")
    if version != STS_VERSION:
        reason = f"Could not find operation {document.get('Action')} for version {version}"
        raise AnswerError("UnknownOperationException", reason)
    return document


def _add(tree: dict[str, Any], path: list[str], value: str) -> None:
    if len(path) > _DEEPEST_FIELD:
        raise ValueError("The name of a field has too many levels.")
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ValueError(f"{part} is both a value and a structure.")  # noqa: TRY004 - of the client's input
    if path[-1] in tree:
        raise ValueError(f"The field {'.'.join(path)} occurs more than once.")
    tree[path[-1]] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    members = value.get("member")
    if not isinstance(members, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(members[key]) for key in sorted(members, key=int)]


def _query_success(operation: str, answer: Mapping[str, Any], request_id: str) -> Response:
    result = f"<{operation}Result>{_elements(answer.items())}</{operation}Result>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return _xml(200, f'<{operation}Response xmlns="{STS_NAMESPACE}">{result}{metadata}</{operation}Response>')


def _elements(items: Iterable[tuple[str, Any]]) -> str:
    return "".join(
        f"<{name}>{_elements(value.items()) if isinstance(value, Mapping) else _escaped(str(value))}</{name}>"
        for name, value in items
    )


def _query_failure(code: str, message: str, status: int, request_id: str) -> Response:
    kind = "Receiver" if status >= _SERVER_ERRORS else "Sender"
    detail = _elements({"Type": kind, "Code": code, "Message": message}.items())
    body = f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error>{detail}</Error><RequestId>{request_id}</RequestId>'
    return _xml(status, f"{body}</ErrorResponse>")


def _escaped(text: str) -> str:
    return escape(_NOT_IN_XML.sub("\ufffd", text))


def _xml(status: int, document: str) -> Response:
    return Response(status, (("Content-Type", "text/xml"),), document.encode())


# REST with XML


def _channel_operation(request: Request) -> str:
    match = _CHANNEL.fullmatch(request.path)
    return f"Create{match[1].title()}Channel" if match else ""


def _rest_failure(code: str, message: str, status: int, _request_id: str) -> Response:
    return _xml(status, f"<{code}>\n  <Message>{_escaped(message)}</Message>\n</{code}>\n")


_EC2MESSAGES_PREFIX = "EC2WindowsMessageDeliveryService."
SSM = Dialect(
    "ssm",
    "application/x-amz-json-1.1",
    re.compile("/*"),  # an endpoint with a slash at its end makes two of one
    _target("AmazonSSM."),
    json_document,
    _json_success,
    _json_failure,
)
EC2MESSAGES = replace(SSM, service="ec2messages", operation=_target(_EC2MESSAGES_PREFIX))
STS = Dialect(
    "sts",
    "application/x-www-form-urlencoded",
    re.compile("/*"),
    _query_operation,
    _query_input,
    _query_success,
    _query_failure,
    STS_NAMES,
)
SSMMESSAGES = Dialect("ssmmessages", "", _CHANNEL, _channel_operation, json_document, _json_success, _rest_failure)
