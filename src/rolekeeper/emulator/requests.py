"""The requests that the service received, with their results, for tests that count them and wait for them."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

REMEMBERED = 10_000  # an emulator may run for weeks


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request and its result.

    `node_id` is the node that signed, that the credentials belong to, or that was registered. `code` is the error code
    in the answer, empty for success and for foreign bodies. `verdict` is the error code with which the service itself
    refuses the request, empty for a valid request; the two differ under a fault. `status` is None without an answer.
    `applied` says whether the request's effect was kept.
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

    def add(self, request: RecordedRequest) -> None:
        """Record a request, and wake the threads that wait for one."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def all(self) -> tuple[RecordedRequest, ...]:
        """Every recorded request."""
        with self._changed:
            return tuple(self._requests)

    def clear(self) -> None:
        """Forget every request."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, operation: str, count: int, timeout: timedelta) -> tuple[RecordedRequest, ...]:
        """The requests for an operation, as soon as there are `count`; TimeoutError after `timeout`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._of(operation)) >= count, timeout.total_seconds()):
                raise TimeoutError(f"{len(self._of(operation))} of {count} {operation} requests arrived")
            return self._of(operation)

    def _of(self, operation: str) -> tuple[RecordedRequest, ...]:
        return tuple(request for request in self._requests if request.operation == operation)
