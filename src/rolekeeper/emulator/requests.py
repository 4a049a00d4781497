"""What was asked and what became of it, for tests that count requests and wait for them."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

REMEMBERED = 10_000  # an emulator may run for weeks


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request and what became of it.

    `node_id` is the node that signed, that the token belongs to, or that was registered. `code` is the error code that
    was answered, empty for success and for foreign bodies. `verdict` is the code with which the
    service itself would have refused, empty when it found nothing wrong; the two differ under a fault. `status` is None
    when nothing was answered. `applied` says whether the request's effect was kept.
    """

    operation: str
    node_id: str
    fingerprint: str
    received_at: datetime
    status: int | None
    code: str
    verdict: str
    applied: bool
    request_id: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RequestLog:
    """The last requests, oldest first; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: deque[RecordedRequest] = deque(maxlen=REMEMBERED)

    def add(self, record: RecordedRequest) -> None:
        """Remember a request and wake whoever waits for it."""
        with self._changed:
            self._requests.append(record)
            self._changed.notify_all()

    def all(self) -> tuple[RecordedRequest, ...]:
        """Every request that is remembered."""
        with self._changed:
            return tuple(self._requests)

    def clear(self) -> None:
        """Begin a new list."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, operation: str, count: int, timeout: timedelta) -> tuple[RecordedRequest, ...]:
        """The requests for an operation, as soon as there are `count`; TimeoutError when they do not come in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._of(operation)) >= count, timeout.total_seconds()):
                raise TimeoutError(f"{len(self._of(operation))} of {count} {operation} requests came")
            return self._of(operation)

    def _of(self, operation: str) -> tuple[RecordedRequest, ...]:
        return tuple(record for record in self._requests if record.operation == operation)
