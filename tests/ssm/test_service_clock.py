"""The clock difference: measured, used, and not used (docs/protocol.md, section 3)."""

from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.conftest import many
from tests.ssm.conftest import (
    NOON,
    Reply,
    RunningClock,
    ScriptedService,
    error_reply,
    service_headers,
    ssm_client,
    token_reply,
)

from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker
from rolekeeper.errors import RolekeeperError, ServiceError, ServiceRefusedError, SignatureRefusedError
from rolekeeper.model import Registration

HOUR = timedelta(hours=1)
TOLERANCE = timedelta(seconds=2)


def signed_at(request: Any) -> datetime:
    return datetime.strptime(request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")


def wrong_clock(behind: timedelta) -> Any:
    """A machine's clock that is `behind` the service's, which stands at noon."""
    return RunningClock(wall=NOON - behind)


@pytest.mark.parametrize("behind", [HOUR, -HOUR, timedelta(days=20_000), timedelta(minutes=4, seconds=30)])
@pytest.mark.parametrize(
    "code", ["InvalidSignatureException", "RequestExpired", "SignatureDoesNotMatch", "ExpiredTokenException"]
)
def test_a_refused_signature_is_made_anew_at_the_services_time(
    behind: timedelta, code: str, service: Any, node: Registration
) -> None:
    service.says(error_reply(code), token_reply())
    answer = ssm_client(service.url, wrong_clock(behind)).request_role_token(node, "f")
    first, second = service.requests
    assert abs(signed_at(first) - (NOON - behind)) < TOLERANCE
    assert abs(signed_at(second) - NOON) < TOLERANCE
    assert first.headers["authorization"] != second.headers["authorization"]
    assert abs(answer.received_at - NOON) < TOLERANCE
    assert abs(answer.clock_difference - behind) < TOLERANCE


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("code", "behind", "requests"),
    [
        pytest.param("AccessDeniedException", MINUTE, 1, id="a small difference, and no refused signature"),
        pytest.param("InvalidSignatureException", MINUTE, 2, id="a small difference, and a refused signature"),
        pytest.param("AccessDeniedException", HOUR, 2, id="a large difference, whatever was refused"),
    ],
)
def test_a_small_difference_is_used_only_after_a_refused_signature_and_a_large_one_after_any_refusal(
    code: str, behind: timedelta, requests: int, service: Any, node: Registration
) -> None:
    service.says(error_reply(code), token_reply())
    with nullcontext() if requests == 2 else pytest.raises(ServiceRefusedError):
        ssm_client(service.url, wrong_clock(behind)).request_role_token(node, "f")
    assert len(service.requests) == requests
    assert abs(signed_at(service.requests[-1]) - (NOON if requests == 2 else NOON - behind)) < TOLERANCE


def test_a_signature_that_stays_refused_is_sent_twice_at_most(service: Any, node: Registration) -> None:
    service.says(error_reply("InvalidSignatureException"))
    client = ssm_client(service.url, wrong_clock(HOUR))
    with pytest.raises(SignatureRefusedError):
        client.request_role_token(node, "f")
    assert len(service.requests) == 2
    with pytest.raises(SignatureRefusedError):
        client.request_role_token(node, "f")
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("reply", "behind", "error"),
    [
        pytest.param(error_reply("InvalidSignatureException"), timedelta(0), SignatureRefusedError, id="a right clock"),
        pytest.param(error_reply("InternalServerError", status=500), HOUR, ServiceError, id="a failure"),
    ],
)
def test_neither_a_failure_nor_a_refusal_with_a_right_clock_is_repeated(
    reply: Reply, behind: timedelta, error: type[RolekeeperError], service: Any, node: Registration
) -> None:
    service.says(reply)
    with pytest.raises(error):
        ssm_client(service.url, wrong_clock(behind)).request_role_token(node, "f")
    assert len(service.requests) == 1


def test_a_registration_is_never_repeated(service: Any, node: Registration) -> None:
    """It is unsigned; and a second one might use up the activation."""
    service.says(error_reply("InvalidSignatureException"))
    with pytest.raises(RolekeeperError):
        ssm_client(service.url, wrong_clock(HOUR)).register("us-east-1", "id", "code", "f", node.key)
    assert len(service.requests) == 1


def test_the_correction_serves_the_next_call_of_the_same_object_and_no_other(service: Any, node: Registration) -> None:
    service.says(error_reply("InvalidSignatureException"), token_reply(), Reply(200, b"{}", service_headers()))
    clock = wrong_clock(HOUR)
    client = ssm_client(service.url, clock)
    client.request_role_token(node, "f")
    client.update_public_key(node, RsaKeyMaker().new_key(NOON))
    ssm_client(service.url, clock).update_public_key(node, node.key)
    corrected, fresh = service.requests[2:]
    assert abs(signed_at(corrected) - NOON) < TOLERANCE
    assert abs(signed_at(fresh) - (NOON - HOUR)) < TOLERANCE


def test_a_large_difference_in_a_good_answer_serves_the_next_call(service: Any, node: Registration) -> None:
    service.says(token_reply())
    client = ssm_client(service.url, wrong_clock(HOUR))
    for _ in range(2):
        client.request_role_token(node, "f")
    assert abs(signed_at(service.requests[1]) - NOON) < TOLERANCE


@pytest.mark.parametrize(
    "changes",
    [
        {"Age": "7"},
        {"x-amzn-RequestId": None},
        {"Date": None},
        {"Date": "soon"},
        {"Date": ""},
        {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"Date": "Mon, 23 Nov 99999 12:00:00 GMT"},
    ],
    ids=str,
)
def test_a_date_that_is_not_the_services_own_is_not_used(
    changes: dict[str, str | None], service: Any, node: Registration
) -> None:
    told = {name: value for name, value in {**service_headers(), **changes}.items() if value is not None}
    service.says(Reply(400, error_reply("InvalidSignatureException").body, told))
    with pytest.raises(SignatureRefusedError):
        ssm_client(service.url, wrong_clock(HOUR)).request_role_token(node, "f")
    assert len(service.requests) == 1


def test_without_a_date_the_difference_is_unknown(service: Any, node: Registration) -> None:
    reply = token_reply()
    service.says(Reply(200, reply.body, {name: v for name, v in reply.headers.items() if name != "Date"}))
    answer = ssm_client(service.url).request_role_token(node, "f")
    assert answer.clock_difference is None
    assert abs(answer.received_at - NOON) < TOLERANCE


@many(60)
@example(behind=timedelta(seconds=30))  # too little to sign with, and yet told
@given(behind=st.timedeltas(timedelta(days=-2000), timedelta(days=20_000)))
def test_the_difference_is_right_to_a_second_and_a_second_is_none(behind: timedelta, node: Registration) -> None:
    service = ScriptedService()
    refused = [error_reply("InvalidSignatureException")] if abs(behind) > timedelta(minutes=5) else []
    service.says(*refused, token_reply())
    answer = ssm_client(service.url, wrong_clock(behind)).request_role_token(node, "f")
    service.stop()
    assert abs(answer.clock_difference - behind) <= timedelta(seconds=1.1)
    assert answer.clock_difference == timedelta(0) or abs(answer.clock_difference) > timedelta(seconds=1)
    assert abs(answer.received_at - NOON) <= timedelta(seconds=1.1)


def test_an_expiry_is_judged_on_the_services_clock(service: Any, node: Registration) -> None:
    service.says(token_reply())
    ahead = wrong_clock(-2 * HOUR)
    assert ssm_client(service.url, ahead).request_role_token(node, "f").token.expires_at == NOON + HOUR
