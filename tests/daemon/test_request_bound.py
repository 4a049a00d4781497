"""Promise 6: the requests that docs/request-bound.md states, counted at a hostile service.

The real attempt and the real client speak HTTP with it; vault, hardware and files are kept in memory, and the daemon's
clock is virtual, so that an hour is as long as its requests take.
"""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.attempt.conftest import NoRoles
from tests.daemon.conftest import SETTINGS, Behaviour, world_of

from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.adapters.sts import StsRoles
from rolekeeper.attempt.run import run
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.core.steps import SeenOutput
from rolekeeper.errors import OutputError, VaultError
from rolekeeper.model import (
    COMPONENTS,
    AcceptedFingerprint,
    AttemptReport,
    Hardware,
    IssueRecord,
    Node,
    NodeKey,
    Outcome,
    OutputContents,
    OutputName,
    PendingRegistration,
    Registration,
    RoleToken,
    VaultContents,
)
from rolekeeper.ports import World
from rolekeeper.settings import NodeSettings, Output, Settings
from rolekeeper.values import replace

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
MOST = 500  # requests in a test, so that it need not make the thousands of a loop without end
NODE = "mi-0000000e8d4d97a04"
HARDWARE = dict.fromkeys(COMPONENTS, "the same")
FINGERPRINT = AcceptedFingerprint("4b3cf7cb-6b2f-4d31-9c5b-0d6b4b6f2a77", HARDWARE)
KEYS = sorted(
    {
        one["private_key_pkcs1_b64"]
        for one in json.loads((ROOT / "tests/vectors/signed-requests.json").read_text(encoding="utf-8"))
    }
)
CURRENT, OTHER, NEXT = (NodeKey(KEYS[n % len(KEYS)], NOON) for n in range(3))

TOKEN = "token"
EXPIRED = "a token that has expired"
REGISTERED = "registered"
GARBAGE = "garbage"
Answer = str  # one of these, or a code; `503` for a service that fails


@dataclass
class Hostile:
    """A service that answers as the test says, and whose clock is fast and slow in turn, by `drift`."""

    clock: Any
    answers: Callable[[int], Answer]  # by the number of the request in its attempt, from 1
    asked: list[timedelta] = field(default_factory=list)
    in_attempt: int = 0
    url: str = ""
    drift: timedelta = timedelta(minutes=5)
    life: timedelta = HOUR  # of its tokens

    def reply(self, _body: bytes) -> tuple[int, Any, datetime]:
        self.in_attempt += 1
        now = self.clock.now()
        self.asked.append(now.boot)
        date = (now.wall + (self.drift if self.in_attempt % 2 else -self.drift)).replace(microsecond=0)
        answer = self.answers(self.in_attempt)
        if answer in (TOKEN, EXPIRED):
            return 200, token_fields(date + (self.life if answer == TOKEN else -self.life)), date
        if answer == GARBAGE:
            return 200, [answer], date
        if answer == REGISTERED:
            return 200, {"InstanceId": NODE}, date
        return (503 if answer == "503" else 400), {"__type": answer, "message": "no"}, date


def most_in_any_hour(moments: Sequence[timedelta]) -> int:
    return max(sum(first <= one < first + HOUR for one in moments) for first in moments)


def token_fields(expires_at: datetime) -> dict[str, Any]:
    return {
        "AccessKeyId": "ASIA3D3ZFM53CNDSWS5E",
        "SecretAccessKey": "a secret access key".replace(" ", "-"),
        "SessionToken": "a session token".replace(" ", "-"),
        "TokenExpirationDate": expires_at.timestamp(),
        "UpdateKeyPair": True,
    }


@contextmanager
def listening(service: Hostile) -> Iterator[Hostile]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, said, date = service.reply(self.rfile.read(int(self.headers["Content-Length"])))
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(date, usegmt=True))
            self.send_header("x-amzn-RequestId", "5f3f0c53-5a7f-4c0c-9d21-3b8f0e6e2f10")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Memory:
    """A vault, outputs, hardware and keys, all in memory."""

    contents: VaultContents
    published: dict[OutputName, OutputContents] = field(default_factory=dict)
    output_fails: bool = False  # once the token is there
    vault_fails: bool = False

    @contextmanager
    def lock(self, _wait: timedelta) -> Iterator[None]:
        yield

    def load(self) -> VaultContents:
        return self.contents

    def save(self, contents: VaultContents) -> None:
        if self.vault_fails:
            raise VaultError("vault-no-space", "Cannot write the vault", "free some space")
        self.contents = contents

    def new_key(self, created_at: datetime) -> NodeKey:
        return replace(NEXT, created_at=created_at)

    def remove_others(self, outputs: object) -> None:
        pass

    def look(self, output: Output, _longest: timedelta) -> SeenOutput:
        return SeenOutput(output, self.published.get(output.output_name, OutputContents()))

    def publish(self, output: Output, token: RoleToken, _issue: IssueRecord, _longest: timedelta) -> None:
        if self.output_fails:
            raise OutputError("no-space", "Cannot write the output", "free some space")
        contents = OutputContents(token.access_key_id, format_expiry(token.expires_at), is_complete=True)
        self.published[output.output_name] = contents


class Machinery:
    """Hardware that never changes."""

    def look(self) -> Hardware:
        return Hardware(HARDWARE)


def attempting(service: Hostile, memory: Memory, plain: Settings) -> Callable[[], AttemptReport]:
    """One attempt, with a client of its own, as in a process of its own."""
    accepted = replace(
        plain,
        node=NodeSettings("eu-central-1", "8f0e6e2f-0000-4000-8000-000000000000", None),
        service=replace(plain.service, endpoint_url=service.url, sts_endpoint_url=service.url),
    )

    def attempt() -> AttemptReport:
        assert len(service.asked) < MOST, "far more than any bound"
        service.in_attempt = 0
        world = World(
            clock=service.clock,
            vault=memory,
            service=SsmService(accepted.service, service.clock, "1.2.3"),
            roles=StsRoles(accepted.service, service.clock, "1.2.3", {}) if accepted.roles else NoRoles(),
            probe=Machinery(),
            outputs=memory,
            keys=memory,
            new_fingerprint=lambda: "a-fingerprint",
            activation_code=lambda: "an-activation-code-of-20",
        )
        start = service.clock.starts[-1].what if service.clock.starts else None
        return run(world, accepted, reuse=False, passed_over=start.passed_over if start else frozenset())

    return attempt


def with_keys(**more: Any) -> Memory:
    """What a key change that was cut off leaves: two keys, of which the service knows one."""
    registration = Registration(NODE, "eu-central-1", CURRENT)
    return Memory(VaultContents(Node(registration, FINGERPRINT), **more))


def documented(row: str, column: int) -> int:
    page = (ROOT / "docs/request-bound.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| {row}"))
    return int(re.split(r" *\| *", line)[column])


def refused_until(last: int, *then: Answer) -> Callable[[int], Answer]:
    """InvalidSignature for so many requests, then these answers."""
    return lambda number: "InvalidSignature" if number <= last else then[number - last - 1]


ROWS = {  # what it answers in turn, at the end of one attempt after the other
    "fails": ("503", "ThrottlingException", GARBAGE, EXPIRED),
    "refuses: ": ("AccessDeniedException", "InvalidSignature"),
    "refuses the fingerprint": ("MachineFingerprintDoesNotMatch", "InvalidInstanceId"),
}
ANSWERS = [answer for answers in ROWS.values() for answer in answers]


def ends_with(answers: Sequence[Answer], hours: float) -> tuple[Hostile, int]:
    """A service that was asked for so long, each time as often as can be before these answers; and the attempts."""
    world = world_of()

    def by_the_attempt(number: int) -> Answer:
        return refused_until(3, answers[len(world.starts) % len(answers)])(number)

    with listening(Hostile(world, by_the_attempt)) as service:
        world.script = [Behaviour(attempting(service, with_keys(pending_key=OTHER), SETTINGS))]
        world.runs(hours * HOUR)
    return service, len(world.starts)


@pytest.mark.parametrize("row", ROWS)
def test_the_documented_number_of_requests_in_an_hour_is_reached_and_not_exceeded(row: str) -> None:
    service, attempts = ends_with(ROWS[row], 1.05)
    each = documented("that brings no token", 2)
    assert len(service.asked) == attempts * each
    assert most_in_any_hour(service.asked) <= documented(row, 3) == documented(row, 2) * each
    if row != "fails":  # no node id is known whose jitter reaches it
        assert most_in_any_hour(service.asked) == documented(row, 3)


@settings(max_examples=5)
@given(st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=30))
@example([*["503"] * 8, "AccessDeniedException"])
def test_hours_of_any_of_these_answers_in_any_order_stay_within_the_documented_number(answers: list[Answer]) -> None:
    service, attempts = ends_with(answers, 2)
    assert most_in_any_hour(service.asked) <= documented("gives any of these answers in any order", 3)
    assert len(service.asked) == attempts * documented("that brings no token", 2)


TOKENS = {  # row and hours; a token's life, what fails, and the row of the first table that bounds one attempt
    "that are published": ("live for an hour", 8, HOUR, {}, "that brings a token"),
    "that no output takes": (
        "cannot be published",
        1.05,
        1.1 * SECOND,  # so that the one that is kept is no longer fresh at the next attempt
        {"output_fails": True},
        "that brings a token",
    ),
    "that neither output nor vault takes": (
        "cannot be published",
        1.05,
        HOUR,
        {"output_fails": True, "vault_fails": True},
        "that brings no token",
    ),
}


@pytest.mark.parametrize("tokens", TOKENS)
def test_hours_of_tokens_reach_the_documented_numbers_and_do_not_exceed_them(tokens: str) -> None:
    """The service accepts the newest key only and leaves its change undone, so that each attempt begins with two."""
    row, hours, life, failing, each = TOKENS[tokens]
    world = world_of()
    memory = replace(with_keys(pending_key=OTHER), **failing)
    often = replace(SETTINGS, rotate_key_after=SECOND)
    script = (TOKEN, "InvalidSignature", "PublicKeyAlreadyRegistered", "InvalidSignature", "503")
    with listening(Hostile(world, refused_until(3, *script), life=life)) as service:
        world.script = [Behaviour(attempting(service, memory, often))]
        world.runs(hours * HOUR)
    attempts = most_in_any_hour(world.began())
    most, requests = (documented(f"issues tokens that {row}", column) for column in (2, 3))
    assert most_in_any_hour(service.asked) == attempts * documented(each, 2)
    assert requests == most * documented("that brings a token", 2)
    assert attempts == most if "hour" in row else attempts <= most  # no node id is known whose jitter reaches the other


def once(memory: Memory, answers: Callable[[int], Answer]) -> tuple[AttemptReport, int]:
    """One attempt; its report, and the number of its requests."""
    with listening(Hostile(world_of(), answers)) as service:
        report = attempting(service, memory, SETTINGS)()
    return report, len(service.asked)


def test_an_attempt_that_brings_a_token_reaches_its_bound_too() -> None:
    memory = with_keys(superseded_key=OTHER)
    script = (TOKEN, "InvalidSignature", "PublicKeyAlreadyRegistered", "InvalidSignature", TOKEN)
    report, requests = once(memory, refused_until(3, *script))
    assert report.outcome is Outcome.ISSUED
    assert requests == documented("that brings a token", 2)
    assert memory.contents.pending_key is None


def test_an_attempt_that_registers_first_stays_within_the_same_bound() -> None:
    begun = PendingRegistration(
        "8f0e6e2f-0000-4000-8000-000000000000", "eu-central-1", FINGERPRINT.fingerprint, HARDWARE, OTHER
    )
    script = ("InstanceAlreadyRegistered", REGISTERED, "InvalidSignature", TOKEN)
    change = ("InvalidSignature", "PublicKeyAlreadyRegistered", "InvalidSignature", TOKEN)
    report, requests = once(
        Memory(VaultContents(pending_registration=begun)), lambda number: (*script, *change)[number - 1]
    )
    assert report.outcome is Outcome.ISSUED
    assert requests == documented("that brings a token", 2)


@pytest.mark.parametrize("answer", ANSWERS)
def test_with_the_clocks_alike_and_no_key_change_an_attempt_is_one_request(answer: Answer) -> None:
    with listening(Hostile(world_of(), lambda _: answer, drift=timedelta(0))) as service:
        attempting(service, with_keys(), SETTINGS)()
    assert len(service.asked) == 1


CODES = ["InvalidSignature", "503", "PublicKeyAlreadyRegistered", "InvalidInstanceId", TOKEN, TOKEN]


@given(st.lists(st.sampled_from(CODES), min_size=12, max_size=12), st.sampled_from(["pending_key", "superseded_key"]))
def test_no_answers_in_any_order_make_an_attempt_exceed_its_bound(answers: list[str], second: str) -> None:
    report, requests = once(with_keys(**{second: OTHER}), lambda number: answers[number - 1])
    row = "that brings a token" if report.outcome is Outcome.ISSUED else "that brings no token"
    assert requests <= documented(row, 2)
