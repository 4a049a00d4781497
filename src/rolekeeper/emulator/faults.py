"""Faults on demand: what the next answers to an operation are to be instead of the right ones.

- Faults of one operation are used in the order in which they were asked for; `*` stands for any operation. Each is used
  `times` times (None: for ever).
- The request is always verified and worked out. Whether its effect is *kept* is `apply`. Left out, that follows from
  the answer: an answer that is the service's own (late, edited or cut) keeps it; an error, a foreign body, a hang and a
  drop do not.
- A fault is a set of independent changes: an error with a wrong Date after a delay is one fault.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypedDict

from rolekeeper.emulator.messages import (
    AnswerError,
    Dialect,
    Reply,
    Request,
    Response,
    json_document,
    json_failure_in_header,
)
from rolekeeper.emulator.operations import NAMES
from rolekeeper.errors import UsageError

ANY = "*"

_LONGEST_DELAY = timedelta(days=1)
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 999  # lower ones are no answers yet
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")

STATUSES: Mapping[str, int] = {
    "InternalServerError": 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ServiceUnavailableException": 503,
}


class FaultOptions(TypedDict, total=False):
    """The keywords of `Emulator.fail`; see `Fault`."""

    times: int | None
    apply: bool | None
    error: str | None
    message: str | None
    status: int | None
    error_in_header: bool
    body: bytes | str | None
    content_type: str
    fields: Mapping[str, Any]
    remove: tuple[str, ...]
    token_lifetime: timedelta | None
    headers: Mapping[str, str | None]
    delay: timedelta
    hang: bool
    drop: bool
    cut_body: int | None
    cut_connection: int | None


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble.

    error, message, status, error_in_header: an AWS error, its code in the body or only in x-amzn-ErrorType.
    body, content_type, status: a foreign answer, byte for byte.
    fields, remove: members of the service's own answer that are replaced or left out.
    token_lifetime: of the token issued now; may be negative or absurd.
    headers: set, or (None) left out; Date is one of them.
    delay, hang, drop: answer late; never; or close the connection without an answer.
    cut_body: keep so many bytes, with an honest Content-Length. cut_connection: send so many bytes of the body and
    close, with the whole one's Content-Length.
    """

    operation: str
    times: int | None = 1
    apply: bool | None = None
    error: str | None = None
    message: str | None = None
    status: int | None = None
    error_in_header: bool = False
    body: bytes | str | None = None
    content_type: str = "text/html"
    fields: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    token_lifetime: timedelta | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    delay: timedelta = timedelta()
    hang: bool = False
    drop: bool = False
    cut_body: int | None = None
    cut_connection: int | None = None

    def __post_init__(self) -> None:
        if self.operation != ANY and self.operation not in NAMES:
            known = ", ".join(sorted(NAMES))
            raise UsageError("fault-operation-unknown", f"Cannot fail {self.operation!r}", f"one of {known}, or {ANY}")
        if self.times is not None and self.times < 1:
            raise UsageError("fault-invalid", f"Cannot fail {self.times} times", "1 or more, or none for ever")
        if not timedelta() <= self.delay <= _LONGEST_DELAY:
            raise UsageError("fault-invalid", f"Cannot delay an answer by {self.delay}", "up to a day")
        if self.status is not None and not _LOWEST_STATUS <= self.status <= _HIGHEST_STATUS:
            raise UsageError("fault-invalid", f"Cannot answer with status {self.status}", "200 to 999")
        for name, value in self.headers.items():
            framing = name.lower() in _FRAMING
            if framing or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value or ""):
                reason = "a header's name and a string or null; the framing of a body is changed with cut_connection"
                raise UsageError("fault-invalid", f"Cannot send the header {name}", reason)
        self._check_content()

    def _check_content(self) -> None:
        for key, value in (("error", self.error), ("content_type", self.content_type)):
            if not _HEADER_VALUE.fullmatch(value or ""):
                reason = "printable ASCII without a blank at either end, since it may be a header"
                raise UsageError("fault-invalid", f"Cannot answer with this {key}", reason)
        body = "" if isinstance(self.body, bytes) else self.body
        for key, content in (("message", self.message), ("body", body), ("fields", dict(self.fields))):
            try:
                json.dumps(content, ensure_ascii=False).encode()
            except (TypeError, ValueError) as error:  # a lone surrogate; in Python, what JSON has no word for
                raise UsageError(
                    "fault-invalid",
                    f"Cannot answer with this {key}: {error}",
                    "text that UTF-8 can carry, and values that JSON has",
                ) from None

    @property
    def applies(self) -> bool:
        """Whether the request's effect is kept."""
        if self.apply is not None:
            return self.apply
        return not (self.is_foreign or self.hang or self.drop)

    def edited(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """The service's own answer, with members replaced and left out."""
        return {name: value for name, value in {**answer, **self.fields}.items() if name not in self.remove}

    @property
    def is_foreign(self) -> bool:
        """Whether the answer is not the service's own."""
        return bool(self.error) or self.body is not None

    def foreign(self, request: Request, dialect: Dialect, request_id: str) -> Response | None:
        """The answer that takes the place of the service's own, when there is one."""
        if self.error:
            status = self.status or STATUSES.get(self.error, 400)
            error = AnswerError(self.error, self._message(request), status)
            return json_failure_in_header(error) if self.error_in_header else dialect.failure(error, request_id)
        if self.body is not None:
            body = self.body.encode() if isinstance(self.body, str) else self.body
            return Response(self.status or 200, (("Content-Type", self.content_type),), body)
        return None

    def _message(self, request: Request) -> str:
        if self.message is not None:
            return self.message
        if self.error == "MachineFingerprintDoesNotMatch":
            return f"Fingerprint does not match {fingerprint_of(request)}"
        return "The emulator was asked to answer this."

    def reply(self, response: Response) -> Reply:
        """How, and how much of, an answer is sent."""
        for name, value in self.headers.items():
            response = response.with_header(name, value)
        if self.cut_body is not None:
            response = Response(response.status, response.headers, response.body[: self.cut_body])
        unsent = self.hang or self.drop
        return Reply(None if unsent else response, self.delay, self.hang, self.cut_connection)


def fingerprint_of(request: Request) -> str:
    """The fingerprint in a request, valid or not; empty when there is none."""
    try:
        return str(json_document(request.body).get("Fingerprint", ""))
    except AnswerError:
        return ""


class Faults:
    """The faults that are still to come. Not locked: the service takes them under its own lock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the queue."""
        self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Behave from now on."""
        self._waiting.clear()

    def take(self, operation: str) -> Fault | None:
        """The fault for the next answer to an operation; it counts as used."""
        for place, (fault, left) in enumerate(self._waiting):
            if fault.operation in (ANY, operation):
                self._use(place, fault, left)
                return fault
        return None

    def _use(self, place: int, fault: Fault, left: int | None) -> None:
        if left == 1:
            del self._waiting[place]
        elif left is not None:
            self._waiting[place] = (fault, left - 1)

    def waiting(self) -> list[dict[str, Any]]:
        """What is still to come, for a person: `left` (None: for ever) and whatever was asked for."""
        return [{"left": left, **_asked(fault)} for fault, left in self._waiting]


def _asked(fault: Fault) -> dict[str, Any]:
    plain = Fault(fault.operation)
    values = {one.name: getattr(fault, one.name) for one in fields(fault)}
    return {name: value for name, value in values.items() if name == "operation" or value != getattr(plain, name)}
