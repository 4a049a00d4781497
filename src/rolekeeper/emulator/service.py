"""The service itself: one request in, one reply out, everything verified, everything recorded.

A request is worked out under one lock, on an unchanging state. Its effect is written to disk, then remembered, then
answered. A fault may throw the effect away, or spoil the answer, but not skip the verification: `verdict` in the record
is what the service thought of the request, whatever it answered.
"""

import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from rolekeeper.emulator import statefile
from rolekeeper.emulator.authentication import authenticate, authorize
from rolekeeper.emulator.calls import Call, Caller, Handler
from rolekeeper.emulator.constraints import check
from rolekeeper.emulator.faults import Fault, Faults, fingerprint_of
from rolekeeper.emulator.operations import OPERATIONS
from rolekeeper.emulator.signature import key_id_of
from rolekeeper.emulator.state import ACCOUNT_ID, REGION, Node, State, new_state
from rolekeeper.emulator.wire import SSM, AnswerError, Reply, Request, Response, dialect_of, operation_of

TOKEN_LIFETIME = timedelta(hours=1)
REMEMBERED_REQUESTS = 10_000

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request and what became of it.

    `node_id` is the signing node, or the one that the token or the input names. `code` is the error code that was
    answered, empty for success. `verdict` is the code with which the service itself would have refused, empty when it
    found nothing wrong; the two differ under a fault. `status` is None when nothing was answered.
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


@dataclass(frozen=True, slots=True)
class _Result:
    """What the service itself makes of a request."""

    state: State
    response: Response
    verdict: str


class Service:
    """State, clock, faults and records, behind one lock."""

    def __init__(
        self,
        *,
        state_file: Path | None = None,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        account_id: str | None = None,
        region: str | None = None,
        clock: Clock = system_clock,
    ) -> None:
        found = statefile.load(state_file) if state_file else None
        state = found or new_state(ACCOUNT_ID, REGION)
        self._state = replace(state, account_id=account_id or state.account_id, region=region or state.region)
        self._state_file = state_file
        self._clock = clock
        self._changed = threading.Condition()
        self._faults = Faults()
        self._requests: deque[RecordedRequest] = deque(maxlen=REMEMBERED_REQUESTS)
        self.offset = timedelta()
        self.token_lifetime = token_lifetime
        self._save(self._state)

    @property
    def state(self) -> State:
        """What the service remembers now; a value that does not change."""
        return self._state

    def now(self) -> datetime:
        """The service's time."""
        return (self._clock() + self.offset).astimezone(UTC)

    def date_header(self) -> str:
        """The service's time, for the Date header."""
        return format_datetime(self.now(), usegmt=True)

    def handle(self, request: Request) -> Reply:
        """Work out a request, keep its effect unless a fault forbids it, record it, and say how to reply."""
        operation, request_id = operation_of(request), str(uuid.uuid4())
        with self._changed:
            fault = self._faults.take(operation)
            now = self.now()
            result = self._result(request, operation, request_id, fault)
            applied = not result.verdict and (fault is None or fault.applies)
            if applied:
                self._keep(result.state)
            response, reply = _spoiled(result.response, request, request_id, fault)
            code = (fault.error or "") if fault and (fault.error or fault.body is not None) else result.verdict
            self._record(
                RecordedRequest(
                    operation=operation,
                    node_id=_node_id(request, result.state),
                    fingerprint=fingerprint_of(request),
                    received_at=now,
                    status=response.status if reply.response else None,
                    code=code if reply.response else "",
                    verdict=result.verdict,
                    applied=applied,
                    request_id=request_id,
                    headers=request.headers,
                    body=request.body,
                )
            )
        return reply

    def _result(self, request: Request, operation: str, request_id: str, fault: Fault | None) -> _Result:
        dialect = dialect_of(request)
        lifetime = self.token_lifetime if fault is None or fault.token_lifetime is None else fault.token_lifetime
        try:
            handler, call = self._admit(request, operation, lifetime)
            outcome = handler(self._state, call)
        except AnswerError as error:
            return _Result(self._state, dialect.failure(error, request_id), error.code)
        answer = fault.edited(outcome.answer) if fault else outcome.answer
        return _Result(outcome.state, dialect.success(operation, answer, request_id), "")

    def _admit(self, request: Request, operation: str, lifetime: timedelta) -> tuple[Handler, Call]:
        """The handler and its verified call; AWS's order: input, operation, signature, permission, constraints."""
        dialect, now = dialect_of(request), self.now()
        document = dialect.parse(request.body)
        row = OPERATIONS[dialect.service].get(operation)
        if row is None or request.method != "POST":
            raise AnswerError("UnknownOperationException")
        caller = authenticate(request, self._state, dialect.service, row.access, now)
        authorize(caller, self._state, dialect.service, operation, row.access)
        check(row.members, document)
        return row.handler, Call(document, caller, now, lifetime)

    def _keep(self, state: State) -> None:
        if state is not self._state:
            self._save(state)
            self._state = state

    def _save(self, state: State) -> None:
        if self._state_file is not None:
            statefile.save(self._state_file, state)

    def _record(self, record: RecordedRequest) -> None:
        self._requests.append(record)
        self._changed.notify_all()

    # What a test, or a person at the control interface, may do behind the protocol's back.

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The last requests, oldest first."""
        with self._changed:
            return tuple(self._requests)

    def forget_requests(self) -> None:
        """Begin a new list of requests."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, operation: str, count: int, timeout: timedelta) -> tuple[RecordedRequest, ...]:
        """The requests for an operation, as soon as there are `count`; TimeoutError when there are not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._of(operation)) >= count, timeout.total_seconds()):
                raise TimeoutError(f"{len(self._of(operation))} of {count} {operation} requests came")
            return self._of(operation)

    def _of(self, operation: str) -> tuple[RecordedRequest, ...]:
        return tuple(record for record in self._requests if record.operation == operation)

    def add_fault(self, fault: Fault) -> None:
        """Spoil answers to come."""
        with self._changed:
            self._faults.add(fault)

    def clear_faults(self) -> None:
        """Behave from now on."""
        with self._changed:
            self._faults.clear()

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are still to come."""
        with self._changed:
            return self._faults.described()

    def perform(self, operation: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the administrator may, without a request; AnswerError as the service would refuse."""
        row = OPERATIONS[SSM.service][operation]
        check(row.members, document)
        with self._changed:
            caller = Caller(self._state.administrator.access_key_id)
            outcome = row.handler(self._state, Call(document, caller, self.now(), self.token_lifetime))
            self._keep(outcome.state)
        return outcome.answer

    def change_node(self, node_id: str, change: Callable[[Node], Node]) -> Node:
        """Put a changed node in the place of what is remembered; KeyError when there is no such node."""
        with self._changed:
            node = change(self._state.nodes[node_id])
            self._keep(self._state.with_node(node))
        return node


def _spoiled(response: Response, request: Request, request_id: str, fault: Fault | None) -> tuple[Response, Reply]:
    dialect = dialect_of(request)
    if fault is not None:
        response = fault.replaced(response, request, dialect, request_id)
    response = response.with_header("x-amzn-RequestId", request_id)
    return response, Reply(response) if fault is None else fault.reply(response)


def _node_id(request: Request, state: State) -> str:
    key_id = key_id_of(request)
    token = state.tokens.get(key_id)
    return key_id if key_id.startswith("mi-") else token.node_id if token else ""
