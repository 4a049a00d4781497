import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from http.client import IncompleteRead, RemoteDisconnected
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.emulator.conftest import Machine, unsigned

from rolekeeper.emulator import Emulator
from rolekeeper.errors import UsageError

TOKEN = "RequestManagedInstanceRoleToken"


def test_an_error_is_answered_as_often_as_requested(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="InternalServerError", times=2)
    answers = [node.request_token() for _ in range(3)]
    assert [answer.status for answer in answers] == [500, 500, 200]
    assert answers[0].json == {"__type": "InternalServerError", "message": "The emulator answers this on request."}
    assert "x-amzn-requestid" in answers[0].headers


def test_a_fault_without_a_number_lasts_until_it_is_cleared(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="ThrottlingException", times=None)
    assert {node.request_token().code for _ in range(5)} == {"ThrottlingException"}
    emulator.clear_faults()
    assert node.request_token().status == 200


def test_faults_are_used_in_the_order_in_which_they_were_added(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="One")
    emulator.fail("RegisterManagedInstance", error="Other")
    emulator.fail(TOKEN, error="Two", times=2)
    assert [node.request_token().code for _ in range(4)] == ["One", "Two", "Two", ""]


def test_a_star_is_any_operation(emulator: Emulator, machine: Machine) -> None:
    emulator.fail("*", error="ServiceUnavailable")
    answer = unsigned(emulator, "RegisterManagedInstance", {})
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    machine.register()


def test_status_and_message_of_an_error_can_be_chosen(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="TooManyUpdates", message="Slower, please.", status=429)
    answer = node.request_token()
    assert (answer.status, answer.code, answer.message) == (429, "TooManyUpdates", "Slower, please.")


def test_a_fingerprint_refusal_names_the_fingerprint_that_was_sent(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="MachineFingerprintDoesNotMatch")
    answer = node.request_token()
    assert (answer.status, answer.message) == (400, f"Fingerprint does not match {node.fingerprint}")


def test_the_code_may_be_in_the_header_only(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="MachineFingerprintDoesNotMatch", error_in_header=True)
    answer = node.request_token()
    assert answer.headers["x-amzn-errortype"] == "MachineFingerprintDoesNotMatch"
    assert answer.json == {"message": f"Fingerprint does not match {node.fingerprint}"}


def test_sts_fails_in_its_own_dialect(emulator: Emulator, client: Callable[..., Any]) -> None:
    emulator.fail("GetCallerIdentity", error="ExpiredTokenException", message="<too late>")
    with pytest.raises(ClientError) as caught:
        client("sts", emulator).get_caller_identity()
    assert caught.value.response["Error"] == {"Type": "Sender", "Code": "ExpiredToken", "Message": "<too late>"}
    emulator.fail("GetCallerIdentity", error="InternalFailure")
    with pytest.raises(ClientError) as caught:
        client("sts", emulator).get_caller_identity()
    assert caught.value.response["Error"]["Type"] == "Receiver"


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"null", b"\xff\xfe", b""])
def test_a_foreign_body_is_sent_byte_for_byte(emulator: Emulator, node: Machine, body: bytes) -> None:
    emulator.fail(TOKEN, body=body)
    answer = node.request_token()
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, "text/html")
    assert emulator.tokens == {}


def test_status_and_type_of_a_foreign_body_can_be_chosen(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, body="teapot", status=418, content_type="text/plain")
    answer = node.request_token()
    assert (answer.status, answer.body, answer.headers["content-type"]) == (418, b"teapot", "text/plain")


@pytest.mark.parametrize("status", [204, 304, 299, 999])
def test_any_status_can_be_answered(emulator: Emulator, node: Machine, status: int) -> None:
    emulator.fail(TOKEN, body="x", status=status)
    assert node.request_token().status == status
    assert node.request_token().status == 200


@pytest.mark.parametrize("value", [0, -1, 253402300799, 1e300, "soon", None, True, [], 1795454176])
def test_the_expiry_can_be_anything(emulator: Emulator, node: Machine, value: object) -> None:
    emulator.fail(TOKEN, fields={"TokenExpirationDate": value})
    assert node.request_token().json["TokenExpirationDate"] == value


@pytest.mark.parametrize("field", ["AccessKeyId", "SessionToken", "TokenExpirationDate", "UpdateKeyPair"])
def test_any_field_can_be_missing(emulator: Emulator, node: Machine, field: str) -> None:
    emulator.fail(TOKEN, remove=(field,))
    token = node.request_token().json
    assert field not in token
    assert len(token) == 4


def test_a_single_answer_can_request_a_new_key(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, fields={"UpdateKeyPair": True})
    assert [node.request_token().json["UpdateKeyPair"] for _ in range(2)] == [True, False]


@pytest.mark.parametrize("lifetime", [timedelta(hours=-1), timedelta(seconds=2), timedelta(days=365_000)])
def test_a_token_can_have_a_lifetime_of_its_own(emulator: Emulator, node: Machine, lifetime: timedelta) -> None:
    emulator.fail(TOKEN, token_lifetime=lifetime)
    answer = node.request_token().json
    (token,) = emulator.tokens.values()
    assert token.expires_at - token.issued_at == lifetime
    assert answer["TokenExpirationDate"] == round(token.expires_at.timestamp(), 3)


def test_a_lifetime_beyond_the_calendar_ends_in_the_year_9999(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, token_lifetime=timedelta.max)
    assert node.request_token().json["TokenExpirationDate"] == 253402300799


def test_an_error_is_not_applied_unless_requested(
    emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...]
) -> None:
    emulator.fail("UpdateManagedInstancePublicKey", error="InternalServerError")
    node.change_key(keys[1])
    assert node.request_token().status == 200
    emulator.fail("UpdateManagedInstancePublicKey", error="InternalServerError", apply=True)
    node.change_key(keys[1])
    assert node.request_token().code == "InvalidSignatureException"


def test_a_good_answer_can_be_a_lie(emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...]) -> None:
    emulator.fail("UpdateManagedInstancePublicKey", apply=False)
    assert node.change_key(keys[1]).status == 200
    assert node.request_token().status == 200


@pytest.mark.parametrize("apply", [False, True])
def test_a_connection_can_be_dropped_before_or_after_the_request_is_applied(
    emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...], *, apply: bool
) -> None:
    emulator.fail("UpdateManagedInstancePublicKey", drop=True, apply=apply)
    with pytest.raises(RemoteDisconnected):
        node.change_key(keys[1])
    assert node.request_token().code == ("InvalidSignatureException" if apply else "")
    record = emulator.wait_for("UpdateManagedInstancePublicKey")[0]
    assert (record.status, record.code, record.verdict, record.applied) == (None, "", "", apply)


def test_a_hang_lasts_until_the_client_gives_up(
    emulator: Emulator, node: Machine, raw_connection: Callable[..., Any]
) -> None:
    emulator.fail(TOKEN, hang=True)
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    connection = raw_connection(emulator)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    where = f"Host: 127.0.0.1:{emulator.port}\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"POST / HTTP/1.1\r\n{where}{head}\r\n".encode() + body)
    (record,) = emulator.wait_for(TOKEN)
    assert (record.status, record.applied) == (None, False)
    connection.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    assert node.request_token().status == 200


def test_an_answer_can_be_late_and_carries_the_time_at_which_it_was_sent(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, delay=timedelta(seconds=1.1))
    answer = node.request_token()
    received_at = emulator.requests[-1].received_at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert answer.headers["date"] != received_at


def test_the_date_can_be_wrong_or_missing_and_an_age_can_be_added(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "Age": "7200"})
    emulator.fail(TOKEN, headers={"date": None, "x-amzn-RequestId": None, "Content-Type": "text/plain"})
    first, second = node.request_token(), node.request_token()
    assert (first.headers["date"], first.headers["age"]) == ("Thu, 01 Jan 1970 00:00:00 GMT", "7200")
    assert "date" not in second.headers
    assert "x-amzn-requestid" not in second.headers
    assert second.headers["content-type"] == "text/plain"


def test_a_connection_can_break_in_the_middle_of_the_body(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, cut_connection=20)
    with pytest.raises(IncompleteRead) as caught:
        node.request_token()
    assert len(caught.value.partial) == 20
    assert caught.value.expected
    assert len(emulator.tokens) == 1


def test_the_json_can_be_cut_with_an_honest_length(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, cut_body=20)
    answer = node.request_token()
    assert (answer.status, len(answer.body)) == (200, 20)
    with pytest.raises(json.JSONDecodeError):
        assert answer.json


def test_one_fault_may_be_several_things_at_once(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="InternalServerError", headers={"Date": None}, cut_body=5, status=502)
    answer = node.request_token()
    assert (answer.status, answer.body, "date" in answer.headers) == (502, b'{"__t', False)


def test_a_fault_does_not_keep_the_request_from_being_verified(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, error="InternalServerError", times=2)
    node.request_token()
    node.fingerprint = str(uuid.uuid4())
    node.request_token()
    good, bad = emulator.wait_for(TOKEN, 2)
    assert (good.code, good.verdict) == ("InternalServerError", "")
    assert (bad.code, bad.verdict) == ("InternalServerError", "MachineFingerprintDoesNotMatch")


def test_a_refused_request_is_refused_under_a_fault_that_changes_no_answer(emulator: Emulator, node: Machine) -> None:
    emulator.fail(TOKEN, fields={"UpdateKeyPair": True}, delay=timedelta(milliseconds=1))
    node.fingerprint = str(uuid.uuid4())
    assert node.request_token().code == "MachineFingerprintDoesNotMatch"


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("SendCommand", {}),
        (TOKEN, {"times": 0}),
        (TOKEN, {"status": 100}),
        (TOKEN, {"status": 1000}),
        (TOKEN, {"delay": timedelta(days=2)}),
        (TOKEN, {"delay": timedelta(seconds=-1)}),
        (TOKEN, {"headers": {"Content-Length": "1"}}),
        (TOKEN, {"headers": {"bad name": "1"}}),
        (TOKEN, {"headers": {"Age": "1\r\nX: 2"}}),
        (TOKEN, {"content_type": "text/html\r\nAge: 1"}),
        (TOKEN, {"error": "B\u00e4d"}),
        (TOKEN, {"body": "\ud800"}),
        (TOKEN, {"fields": {"TokenExpirationDate": timedelta()}}),
    ],
)
def test_a_fault_that_cannot_be_is_refused_at_once(emulator: Emulator, operation: str, options: Any) -> None:
    with pytest.raises(UsageError):
        emulator.fail(operation, **options)
