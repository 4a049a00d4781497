"""Faults of the emulator in the states that an attempt can find: outcome, requests, credentials, the way back.

tests/core/test_attempt.py has every answer in every state as a table; here is a sample with real requests and files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.attempt.conftest import HARDWARE, REGISTER, TOKEN, Machine, MovingClock, StockOfKeys, impatient, settings_in
from tests.conftest import WHOLE
from tests.daemon.test_request_bound import documented

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.emulator import Emulator, Node
from rolekeeper.emulator.faults import ANY, Fault
from rolekeeper.model import NODE_ROLE, HeldToken, NodeKey, Outcome, RoleToken, VaultContents
from rolekeeper.settings import NodeSettings
from rolekeeper.values import replace

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # as in conftest: to flush a disk takes its time
OTHERS = "[work]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
JSON = "application/x-amz-json-1.1"
NOT_USABLE: dict[str, dict[str, Any]] = {
    "a captive portal": {"body": "<html>Please log in</html>"},
    "a proxy's refusal": {"body": "<html>Forbidden</html>", "status": 403},
    "nothing at all": {"body": b"", "headers": {"x-amzn-RequestId": None}},
    "an empty object": {"body": "{}", "content_type": JSON},
    "a list": {"body": "[]", "content_type": JSON},
    "a string": {"body": '"x"', "content_type": JSON},
    "null": {"body": "null", "content_type": JSON},
    "no UTF-8": {"body": b"\xff\xfe", "content_type": JSON},
    "a body cut short": {"cut_body": 40},
    "a connection cut short": {"cut_connection": 40},
    "a dropped connection": {"drop": True},
    "silence": {"hang": True},
    "a redirect": {"body": "", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    "an unknown code with 500": {"error": "BrandNew", "status": 500},
    "an expiry in the past": {"token_lifetime": timedelta(hours=-1)},
    "an expiry of now": {"token_lifetime": timedelta(0)},
    "an expiry in the year 9999": {"token_lifetime": timedelta(days=3_600_000)},
    "an expiry in two days": {"token_lifetime": timedelta(days=2)},
    "an expiry that is text": {"fields": {"TokenExpirationDate": "2026-11-23T13:00:00Z"}},
    "an expiry that is no number": {"fields": {"TokenExpirationDate": [1]}},
    "an infinite expiry": {"fields": {"TokenExpirationDate": float("inf")}},
    "a true expiry": {"fields": {"TokenExpirationDate": True}},
    "a key with a line break": {"fields": {"SecretAccessKey": "a\nb"}},
    "an empty session token": {"fields": {"SessionToken": ""}},
}
FAULTS = {
    **{name: (fault, Outcome.FAILED) for name, fault in NOT_USABLE.items()},
    "an internal error": ({"error": "InternalServerError"}, Outcome.FAILED),
    "throttling": ({"error": "ThrottlingException", "message": "Rate exceeded"}, Outcome.FAILED),
    "maintenance": ({"error": "ServiceUnavailable", "headers": {"Retry-After": "86400"}}, Outcome.FAILED),
    "an answer that is lost": ({"drop": True, "apply": True}, Outcome.FAILED),
    "an effect without an answer": ({"hang": True, "apply": True}, Outcome.FAILED),
    "no permission": ({"error": "AccessDeniedException"}, Outcome.REFUSED),
    "a code in the header alone": ({"error": "AccessDeniedException", "error_in_header": True}, Outcome.REFUSED),
    "a refused signature": ({"error": "InvalidSignatureException"}, Outcome.REFUSED),
    "a wrong time, and none told": ({"error": "RequestExpired", "headers": {"Date": None}}, Outcome.REFUSED),
    "another fingerprint": ({"error": "MachineFingerprintDoesNotMatch"}, Outcome.FINGERPRINT_REFUSED),
    "an unknown node": ({"error": "InvalidInstanceId"}, Outcome.NODE_UNKNOWN),
    "an answer that is late": ({"delay": timedelta(milliseconds=20)}, Outcome.ISSUED),
    "an answer out of a cache": ({"headers": {"Age": "300"}}, Outcome.ISSUED),
    "a Date of another day": ({"headers": {"Date": "Sun, 22 Nov 2026 10:00:00 GMT"}}, Outcome.ISSUED),
    "no word about the key": ({"remove": ("UpdateKeyPair",)}, Outcome.ISSUED),
}


def registered(machine: Machine) -> None:
    machine.register()
    machine.attempt()


def with_a_held_token(machine: Machine) -> None:
    registered(machine)
    contents, token = machine.vault(), machine.published()
    assert token is not None
    held = RoleToken(token.access_key_id, token.secret_access_key, token.session_token, token.expires_at)
    machine.save(replace(contents, held_token=HeldToken(held, contents.issues[NODE_ROLE])))
    machine.output().write_text(OTHERS)


def with_a_pending_key(machine: Machine) -> None:
    registered(machine)
    machine.save(replace(machine.vault(), pending_key=machine.keys.new_key(machine.clock.wall)))


def with_a_superseded_key(machine: Machine) -> None:
    """The node key was changed just now."""
    machine.register()
    machine.emulator.request_rotation(machine.node_id)
    machine.attempt()
    assert machine.vault().superseded_key is not None


def with_a_change_that_the_service_lost(machine: Machine) -> None:
    """It goes by the superseded key again."""
    with_a_superseded_key(machine)
    superseded = machine.vault().superseded_key
    assert superseded is not None
    node = machine.emulator.nodes[machine.node_id]
    machine.emulator.add_node(node.node_id, public_key(superseded), node.fingerprint)


def hibernating(machine: Machine) -> None:
    """On other hardware, whose trial fingerprint was refused."""
    registered(machine)
    machine.hardware.replace_parts(*HARDWARE)
    assert machine.attempt().outcome is Outcome.FINGERPRINT_REFUSED


def unregistered(machine: Machine) -> None:
    """With an activation in the configuration."""
    activation = machine.emulator.create_activation(limit=1000)
    machine.change(node=NodeSettings(machine.emulator.region, activation.activation_id, None))
    machine.code = activation.code


@dataclass(frozen=True)
class Found:
    """A state that an attempt finds; `asks` is false where it needs nothing of the service."""

    name: str
    prepare: Callable[[Machine], None]
    asks: bool = True
    asks_for: str = TOKEN
    reuse: bool = False
    refused: Outcome | None = None  # what comes of the service's own answer, where that is no token


STATES = (
    Found("registered", registered),
    Found("started again", registered, asks=False, reuse=True),
    Found("a held token", with_a_held_token, asks=False),
    Found("a pending key", with_a_pending_key),
    Found("a superseded key", with_a_superseded_key),
    Found("a superseded key that the service knows", with_a_change_that_the_service_lost),
    Found("a trial fingerprint", hibernating, refused=Outcome.FINGERPRINT_REFUSED),
    Found("unregistered", unregistered, asks_for=REGISTER),
)
# Options of faults that spoil a token, and leave a refusal as it is.
OWN_ANSWER = {"delay", "headers", "fields", "remove", "token_lifetime"}
# The Date in an answer to a request that is not signed, or is refused, goes for the time of the next signature.
TRUSTING = ("unregistered", "a superseded key that the service knows", "a trial fingerprint")
EXCEPTIONS = {("a Date of another day", name): Outcome.REFUSED for name in TRUSTING}


@dataclass(frozen=True)
class Prepared:
    """A machine, and what to restore before every fault."""

    found: Found
    machine: Machine
    contents: VaultContents
    published: bytes
    node: Node | None
    hardware: dict[str, str]

    def restored(self) -> Machine:
        if self.node is not None:
            self.machine.emulator.add_node(self.node.node_id, self.node.public_key, self.node.fingerprint)
        self.machine.save(self.contents)
        self.machine.output().write_bytes(self.published)
        self.machine.hardware.components = dict(self.hardware)
        return self.machine


@pytest.fixture(scope="module", params=STATES, ids=lambda found: found.name)
def prepared(request: pytest.FixtureRequest, keys_made: list[NodeKey]) -> Iterator[Prepared]:
    """A machine whose file holds another profile."""
    clock = MovingClock()
    with Emulator(clock=lambda: clock.wall) as emulator, TemporaryDirectory(dir=MEMORY) as made:
        directory = Path(made)
        settings = settings_in(directory, emulator.url)
        machine = Machine(emulator, directory, clock, settings, StockOfKeys(keys_made))
        machine.output().parent.mkdir(mode=0o700)
        machine.output().write_text(OTHERS)
        machine.output().chmod(0o600)
        request.param.prepare(machine)
        node = emulator.nodes.get(machine.node_id)
        hardware = machine.hardware.components
        yield Prepared(request.param, machine, machine.vault(), machine.output().read_bytes(), node, hardware)


def sample(found: Found) -> list[str]:
    """A share of the faults for each state, so that each fault meets some state that needs the service."""
    shares = [state for state in STATES if state.asks == found.asks]
    number = shares.index(found)
    return [fault for place, fault in enumerate(FAULTS) if place % len(shares) == number or WHOLE]


def test_a_fault_has_its_outcome_and_leaves_credentials_and_the_way_back(prepared: Prepared) -> None:
    for fault in sample(prepared.found):
        try_fault(prepared, fault)


def try_fault(prepared: Prepared, fault: str) -> None:
    machine, found, (options, expected) = prepared.restored(), prepared.found, FAULTS[fault]
    machine.emulator.fail(ANY, times=None, **options)
    machine.emulator.forget_requests()
    report = (impatient(machine) if options.get("hang") else machine).attempt(reuse=found.reuse)
    if found.asks:
        machine.emulator.wait_for(found.asks_for)  # a request that the client gave up may come to be seen later
    requests = len(machine.emulator.requests)
    machine.emulator.clear_faults()
    if found.asks:
        row = "that brings a token" if report.outcome is Outcome.ISSUED else "that brings no token"
        usual = found.refused if found.refused and options.keys() <= OWN_ANSWER else expected
        assert report.outcome is EXCEPTIONS.get((fault, found.name), usual), fault
        assert 0 < requests <= documented(row, 2)
    else:
        assert (report.outcome, requests) == (Outcome.ISSUED, 0)
    if report.outcome is not Outcome.ISSUED:
        assert machine.output().read_bytes() == prepared.published
    machine.hardware.components = dict(HARDWARE)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.output().read_text().startswith(OTHERS)
    assert machine.published() is not None
    assert machine.vault().held_token is None


def test_the_matrix_holds_every_kind_of_fault() -> None:
    used = {name for options, _ in FAULTS.values() for name in options}
    assert used == {field.name for field in fields(Fault)} - {"operation", "times"}
