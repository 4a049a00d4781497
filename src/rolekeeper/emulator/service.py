"""The service itself: one request in, one reply out, everything verified, everything recorded.

Requests are handled one at a time, under one lock. The changed account is written to disk, then kept in memory, then
answered. A fault may discard the change or replace the answer, but it never skips the verification: `verdict` in the
recorded request is the service's own result, whatever was answered.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from rolekeeper.emulator.account import ACCOUNT_ID, ANY_ROLE, REGION, Account, Node, Role, new_account
from rolekeeper.emulator.accountfile import load, save
from rolekeeper.emulator.administration import ROLE
from rolekeeper.emulator.authentication import authenticate, authorize
from rolekeeper.emulator.calls import Call, Caller, Done
from rolekeeper.emulator.constraints import Rule, Several, Text, Whole, check
from rolekeeper.emulator.dialects import SSM, Dialect, check_head, dialect_of
from rolekeeper.emulator.faults import Fault, Faults, fingerprint_of
from rolekeeper.emulator.messages import AnswerError, Reply, Request, Response
from rolekeeper.emulator.operations import OPERATIONS
from rolekeeper.emulator.requests import RecordedRequest, RequestLog
from rolekeeper.emulator.signature import key_id_of
from rolekeeper.errors import InputOutputError

TOKEN_LIFETIME = timedelta(hours=1)

# A role as the control interface and `Emulator.create_role` describe it.
ROLE_MEMBERS: Mapping[str, Rule] = {
    "name": ROLE,
    "trusts": Several(Text(shortest=1)),
    "external_id": Text(longest=1224, pattern=r"^[\w+=,.@:\/-]*$"),
    "longest_session_seconds": Whole(3600, 43200),
}

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request with what is fixed when it arrives: dialect, operation, id, time, and the fault for its answer."""

    request: Request
    dialect: Dialect
    operation: str
    request_id: str
    received_at: datetime
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class _Result:
    """The service's own result: a changed account with an answer, or an error."""

    account: Account
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: AnswerError | None = None

    @property
    def verdict(self) -> str:
        """The code of the error; empty when there is none."""
        return self.error.code if self.error else ""


class Service:
    """Account, clock, faults and recorded requests.

    `offset` is how far the service's clock is ahead of `clock`; `token_lifetime` is that of tokens issued from now on.
    """

    def __init__(
        self,
        *,
        state_file: Path | None = None,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        account_id: str | None = None,
        region: str | None = None,
        clock: Clock = system_clock,
    ) -> None:
        found = load(state_file) if state_file else None
        account = found or new_account(ACCOUNT_ID, REGION)
        self._account = replace(account, account_id=account_id or account.account_id, region=region or account.region)
        self._file = state_file
        self._clock = clock
        self._lock = threading.Lock()
        self._faults = Faults()
        self.requests = RequestLog()
        self.offset = timedelta()
        self.token_lifetime = token_lifetime
        self._save(self._account)

    @property
    def account(self) -> Account:
        """The account as it is now; a value that does not change."""
        return self._account

    def now(self) -> datetime:
        """The service's time."""
        return (self._clock() + self.offset).astimezone(UTC)

    def date_header(self) -> str:
        """The service's time, for the Date header."""
        return format_datetime(self.now(), usegmt=True)

    def handle(self, request: Request) -> Reply:
        """Handle a request, keep its effect unless a fault forbids it, record it, and return what to send."""
        dialect = dialect_of(request)
        operation = dialect.operation(request)
        with self._lock:
            fault = self._faults.take(operation)
            exchange = _Exchange(request, dialect, operation, str(uuid.uuid4()), self.now(), fault)
            result = self._result(exchange)
            applies = result.error is None and (fault is None or fault.applies)
            if applies:
                result = self._kept(result)
            response = _response(exchange, result)
            reply = Reply(response) if fault is None else fault.reply(response)
            self.requests.add(_recorded(exchange, result, reply, applied=applies and result.error is None))
        return reply

    def _result(self, exchange: _Exchange) -> _Result:
        try:
            return _Result(*self._done(exchange))
        except AnswerError as error:
            return _Result(self._account, error=error)

    def _done(self, exchange: _Exchange) -> Done:
        """AWS's order: head, input, operation, signature, permission, constraints, and last the operation itself."""
        request, dialect, now, fault = exchange.request, exchange.dialect, exchange.received_at, exchange.fault
        check_head(request, dialect)
        document = dialect.parse(request.body)
        row = OPERATIONS[dialect.service].get(exchange.operation)
        if row is None:
            raise AnswerError("UnknownOperationException")
        caller = authenticate(request, self._account, dialect.service, row.access, now)
        authorize(caller, self._account, dialect.service, exchange.operation, row.access)
        check(row.members, document)
        forced = fault.token_lifetime if fault else None
        return row.handler(self._account, Call(document, caller, now, self.token_lifetime, forced))

    def _kept(self, result: _Result) -> _Result:
        try:
            self._keep(result.account)
        except InputOutputError as error:
            return replace(result, error=AnswerError("InternalServerError", error.message, 500))
        return result

    def _keep(self, account: Account) -> None:
        if account is not self._account:
            self._save(account)
            self._account = account

    def _save(self, account: Account) -> None:
        if self._file is not None:
            save(self._file, account)

    # For tests and the control interface, without a request:

    def add_fault(self, fault: Fault) -> None:
        """Add a fault for the next requests."""
        with self._lock:
            self._faults.add(fault)

    def clear_faults(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._faults.clear()

    def waiting_faults(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        with self._lock:
            return self._faults.waiting()

    def perform(self, operation: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the administrator may do; AnswerError where the service refuses."""
        row = OPERATIONS[SSM.service][operation]
        check(row.members, document)
        with self._lock:
            caller = Caller(self._account.administrator.access_key_id)
            account, answer = row.handler(self._account, Call(document, caller, self.now(), self.token_lifetime))
            self._keep(account)
        return answer

    def create_role(self, document: Mapping[str, Any]) -> Role:
        """Add a role, or replace the one of that name. Raises AnswerError for an invalid one."""
        check(ROLE_MEMBERS, document)
        role = Role(
            document["name"],
            tuple(document.get("trusts", (ANY_ROLE,))),
            document.get("external_id", ""),
            timedelta(seconds=document.get("longest_session_seconds", 3600)),
        )
        self.change(lambda account: account.with_role(role))
        return role

    def change(self, change: Callable[[Account], Account]) -> None:
        """Replace the account by a changed one."""
        with self._lock:
            self._keep(change(self._account))

    def change_node(self, node_id: str, change: Callable[[Node], Node]) -> Node:
        """Replace a node by a changed one; KeyError when it does not exist."""
        with self._lock:
            node = change(self._account.nodes[node_id])
            self._keep(self._account.with_node(node))
        return node


def _response(exchange: _Exchange, result: _Result) -> Response:
    """The fault's answer if it has one, otherwise the service's own, edited by the fault."""
    dialect, fault = exchange.dialect, exchange.fault
    foreign = fault.foreign(exchange.request, dialect, exchange.request_id) if fault else None
    if foreign is not None:
        response = foreign
    elif result.error is not None:
        response = dialect.refusal(result.error, exchange.request_id)
    else:
        answer = fault.edited(result.answer) if fault else result.answer
        response = dialect.success(exchange.operation, answer, exchange.request_id)
    return response.with_header("x-amzn-RequestId", exchange.request_id)


def _recorded(exchange: _Exchange, result: _Result, reply: Reply, *, applied: bool) -> RecordedRequest:
    fault, status = exchange.fault, reply.response.status if reply.response else None
    verdict = exchange.dialect.code(result.verdict)
    answered = exchange.dialect.code(fault.error or "") if fault and fault.is_foreign else verdict
    return RecordedRequest(
        operation=exchange.operation,
        node_id=_node_id(exchange.request, result),
        fingerprint=fingerprint_of(exchange.request),
        received_at=exchange.received_at,
        status=status,
        code="" if status is None else answered,
        verdict=verdict,
        applied=applied,
        request_id=exchange.request_id,
        headers=exchange.request.headers,
        body=exchange.request.body,
    )


def _node_id(request: Request, result: _Result) -> str:
    key_id = key_id_of(request)
    if key_id.startswith("mi-"):
        return key_id
    token = result.account.tokens.get(key_id)
    return token.node_id if token else str(result.answer.get("InstanceId", ""))
