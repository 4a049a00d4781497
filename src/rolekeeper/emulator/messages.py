"""HTTP requests and answers as values, and the error that an operation raises to refuse a request."""

from dataclasses import dataclass, replace
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are in lower case; values are as they were sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str = "127.0.0.1"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

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
        """The same answer with a header set, or (None) left out.

        A header that is left out stays in the list with an empty value, so that the server does not add its own.
        """
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value or "")))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does: send the response after `delay`; without one, hold the connection open or close it.

    With `sent_bytes`, the server closes the connection after that many bytes of the body, whatever Content-Length says.
    """

    response: Response | None
    delay: timedelta = timedelta()
    hang: bool = False
    sent_bytes: int | None = None


class AnswerError(Exception):
    """An error answer: AWS's code in its JSON services, the message, and the HTTP status (None: the usual one)."""

    def __init__(self, code: str, message: str = "", status: int | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
