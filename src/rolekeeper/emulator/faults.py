"""Faults on demand: what the emulator answers the next requests for an operation instead of the right answer.

- Faults of one operation are used in the order in which they were added; `*` stands for any operation. Each is used
  `times` times (None: until the faults are cleared).
- The request is always verified and handled. `apply` says whether its effect is kept. Without `apply`, the service's
  own answer (late, edited or cut) keeps it; an error, a foreign body, a hang and a dropped connection discard it.
- A fault is a set of independent changes: an error with a wrong Date after a delay is one fault.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypedDict

from rolekeeper.emulator.dialects import STATUSES, Dialect, json_document, json_failure_in_header
from rolekeeper.emulator.messages import AnswerError, Reply, Request, Response
from rolekeeper.emulator.operations import NAMES
from rolekeeper.errors import UsageError

ANY = "*"

_LONGEST_DELAY = timedelta(days=1)
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 999  # lower ones are no answers yet
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")


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
    """One fault.

    error, message, status, error_in_header: an AWS error, its code in the body or only in x-amzn-ErrorType.
    body, content_type, status: a foreign answer, byte for byte.
    fields, remove: members of the service's own answer that are replaced or left out; `Credentials.Expiration` is a
    member of a member.
    token_lifetime: of the credentials issued now; may be negative or absurd.
    headers: set, or (None) left out; Date is one of them.
    delay, hang, drop: answer late; never; or close the connection without an answer.
    cut_body: send only this many bytes of the body, with the Content-Length of the part. cut_connection: the same with
    the Content-Length of the whole, then close.
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
            raise UsageError("fault-invalid", f"Cannot fail {self.times} times", "1 or more; none until cleared")
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
        for path in (*self.fields, *self.remove):
            answer = _edited(answer, path.split("."), remove=path in self.remove, value=self.fields.get(path))
        return answer

    @property
    def is_foreign(self) -> bool:
        """Whether the answer is not the service's own."""
        return bool(self.error) or self.body is not None

    def foreign(self, request: Request, dialect: Dialect, request_id: str) -> Response | None:
        """The answer that takes the place of the service's own, when there is one."""
        if self.error:
            message = self._message(request)
            if self.error_in_header:
                return json_failure_in_header(self.error, message, self.status or STATUSES.get(self.error, 400))
            return dialect.refusal(AnswerError(self.error, message, self.status), request_id)
        if self.body is not None:
            body = self.body.encode() if isinstance(self.body, str) else self.body
            return Response(self.status or 200, (("Content-Type", self.content_type),), body)
        return None

    def _message(self, request: Request) -> str:
        if self.message is not None:
            return self.message
        if self.error == "MachineFingerprintDoesNotMatch":
            return f"Fingerprint does not match {fingerprint_of(request)}"
        return "The emulator answers this on request."

    def reply(self, response: Response) -> Reply:
        """How, and how much of, an answer is sent."""
        for name, value in self.headers.items():
            response = response.with_header(name, value)
        if self.cut_body is not None:
            response = Response(response.status, response.headers, response.body[: self.cut_body])
        unsent = self.hang or self.drop
        return Reply(None if unsent else response, self.delay, self.hang, self.cut_connection)


def fingerprint_of(request: Request) -> str:
    """The fingerprint in a request, valid or not; empty without one."""
    try:
        return str(json_document(request.body).get("Fingerprint", ""))
    except AnswerError:
        return ""


def _edited(answer: Mapping[str, Any], path: list[str], *, remove: bool, value: Any) -> Mapping[str, Any]:
    name, *rest = path
    if rest:
        inner = answer.get(name)
        if not isinstance(inner, Mapping):
            return answer
        return {**answer, name: _edited(inner, rest, remove=remove, value=value)}
    return {key: old for key, old in answer.items() if key != name} if remove else {**answer, name: value}


class Faults:
    """The faults that are not used up. Not locked: the service takes them under its own lock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the queue."""
        self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Remove every fault."""
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
        """The faults that are not used up: `left` (None: until cleared), and what is set in each."""
        return [{"left": left, **_set(fault)} for fault, left in self._waiting]


def _set(fault: Fault) -> dict[str, Any]:
    plain = Fault(fault.operation)
    values = {one.name: getattr(fault, one.name) for one in fields(fault)}
    return {name: value for name, value in values.items() if name == "operation" or value != getattr(plain, name)}
