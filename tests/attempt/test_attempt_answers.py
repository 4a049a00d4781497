"""Every answer of the service, through the whole attempt, has the outcome that docs/outcomes.md gives it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.attempt.conftest import TOKEN, Machine, MovingClock, StockOfKeys, impatient, settings_in
from tests.reports import current, life

from rolekeeper.emulator import Emulator
from rolekeeper.model import NodeKey, Outcome
from rolekeeper.values import replace

DOCUMENT = Path(__file__).parents[2] / "docs" / "outcomes.md"
ROW = re.compile(r"^\| `([A-Za-z]+)` \| ([a-z-]+) \|", re.MULTILINE)
CODES = ROW.findall(DOCUMENT.read_text(encoding="utf-8").partition("## Rolekeeper's own codes")[0])
TOKEN_FIELDS = ("AccessKeyId", "SecretAccessKey", "SessionToken", "TokenExpirationDate")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, keys_made: list[NodeKey]) -> Iterator[Machine]:
    clock = MovingClock()
    with (
        Emulator(clock=lambda: clock.wall) as emulator,
        TemporaryDirectory(dir=tmp_path_factory.mktemp("machine")) as directory,
    ):
        settings = settings_in(Path(directory), emulator.url)
        machine = Machine(emulator, Path(directory), clock, settings, StockOfKeys(keys_made))
        machine.register()
        yield machine


@pytest.fixture
def steady(shared: Machine) -> Iterator[Machine]:
    """A machine with credentials from just now; what follows must not touch them."""
    assert shared.attempt().outcome is Outcome.ISSUED
    shared.emulator.forget_requests()
    before = shared.published()
    yield shared
    shared.emulator.clear_faults()
    assert shared.published() == before


@pytest.mark.parametrize(("code", "documented"), CODES)
def test_each_code_has_its_documented_outcome(steady: Machine, code: str, documented: str) -> None:
    steady.emulator.fail(TOKEN, error=code, times=None)
    report = steady.attempt()
    assert report.outcome == documented
    assert report.message.startswith("Cannot request a role token")
    assert report.hint
    assert report.request_id == steady.requests()[-1].request_id
    assert current(report) == ()
    assert life(report) is not None
    assert len(steady.requests()) == 1


@pytest.mark.parametrize("code", ["MachineFingerprintDoesNotMatch", "InvalidInstanceId", "AccessDeniedException"])
@pytest.mark.parametrize("prefix", ["", "com.amazonaws.ssm#"])
def test_a_code_counts_with_its_prefix_and_in_the_header(steady: Machine, code: str, prefix: str) -> None:
    expected = dict(CODES)[code.removesuffix("Exception")]
    steady.emulator.fail(TOKEN, error=code, error_in_header=True)
    assert steady.attempt().outcome == expected
    body = f'{{"__type": "{prefix}{code}", "Message": "no"}}'
    steady.emulator.fail(TOKEN, body=body, status=400, content_type="application/x-amz-json-1.1")
    assert steady.attempt().outcome == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_status_that_tells_who_failed_is_enough(steady: Machine, status: int) -> None:
    steady.emulator.fail(TOKEN, body="", status=status)
    assert steady.attempt().outcome is Outcome.FAILED


JSON = "application/x-amz-json-1.1"
FOREIGN = {
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


@pytest.mark.parametrize("answer", FOREIGN, ids=str)
def test_what_is_no_usable_answer_is_a_failure_and_what_is_published_stays(steady: Machine, answer: str) -> None:
    steady.emulator.fail(TOKEN, **FOREIGN[answer])
    report = (impatient(steady) if FOREIGN[answer].get("hang") else steady).attempt()
    steady.emulator.wait_for(TOKEN)
    assert report.outcome is Outcome.FAILED
    assert report.message
    assert report.hint
    assert len(steady.requests()) == 1


@pytest.mark.parametrize("name", TOKEN_FIELDS)
def test_every_field_of_a_token_is_required(steady: Machine, name: str) -> None:
    steady.emulator.fail(TOKEN, remove=(name,))
    report = steady.attempt()
    assert report.outcome is Outcome.FAILED
    assert report.code in {"unusable-answer", "unusable-expiry"}


def test_an_unknown_code_is_a_refusal(steady: Machine) -> None:
    steady.emulator.fail(TOKEN, error="BrandNewException")
    assert steady.attempt().outcome is Outcome.REFUSED


def test_no_service_at_all_is_a_failure(steady: Machine) -> None:
    gone = replace(steady.settings.service, endpoint_url="http://127.0.0.1:1")
    report = replace(steady, settings=replace(steady.settings, service=gone)).attempt()
    assert (report.outcome, report.code) == (Outcome.FAILED, "unreachable")


def test_a_node_that_was_deregistered_is_unknown(machine: Machine) -> None:
    machine.emulator.deregister(machine.node_id)
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.NODE_UNKNOWN, "InvalidInstanceId")
    assert machine.vault().registration is not None
