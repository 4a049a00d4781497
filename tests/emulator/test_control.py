"""The control interface, as curl or a test in another language would use it."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.emulator.conftest import Answer, Machine, exchange, unsigned

from rolekeeper.emulator import Emulator
from rolekeeper.emulator.control import Control
from rolekeeper.emulator.messages import Request
from rolekeeper.emulator.service import Service

TOKEN = "RequestManagedInstanceRoleToken"


def control(emulator: Emulator, method: str, path: str, document: Any = None, **headers: str) -> Answer:
    body = b"" if document is None else json.dumps(document).encode()
    return exchange(emulator.url, headers, body, method, f"/_emulator{path}")


def test_the_overview_holds_what_a_client_needs(emulator: Emulator) -> None:
    overview = control(emulator, "GET", "").json
    assert overview["administrator"]["access_key_id"] == emulator.admin.access_key_id
    assert overview["administrator"]["secret_access_key"] == emulator.admin.secret_access_key
    assert (overview["region"], overview["account_id"]) == ("us-east-1", "123456789012")
    assert overview["settings"]["token_lifetime_seconds"] == 3600


def test_a_fault_is_posted_listed_and_deleted(emulator: Emulator, node: Machine) -> None:
    fault = {"operation": TOKEN, "error": "ThrottlingException", "times": 2}
    assert control(emulator, "POST", "/faults", fault).json == [{"left": 2, **fault}]
    assert node.request_token().code == "ThrottlingException"
    assert control(emulator, "GET", "/faults").json == [{"left": 1, **fault}]
    assert control(emulator, "DELETE", "/faults").json == []
    assert node.request_token().status == 200


def test_several_faults_are_posted_at_once_or_none(emulator: Emulator) -> None:
    good, bad = {"operation": TOKEN, "hang": True}, {"operation": "SendCommand"}
    assert control(emulator, "POST", "/faults", [good, bad]).status == 400
    assert control(emulator, "GET", "/faults").json == []
    assert len(control(emulator, "POST", "/faults", [good, good]).json) == 2


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (
            {"error": "AccessDeniedException", "message": "no"},
            400,
            b'{"__type":"AccessDeniedException","message":"no"}',
        ),
        ({"error": "X", "error_in_header": True, "message": "no"}, 400, b'{"message":"no"}'),
        ({"body": "<html>", "status": 200, "content_type": "text/html"}, 200, b"<html>"),
        ({"body_base64": "//4="}, 200, b"\xff\xfe"),
        ({"cut_body": 3}, 200, b'{"A'),
        ({"delay_seconds": 0.01, "body": "late", "headers": {"Age": "1", "Date": None}}, 200, b"late"),
    ],
)
def test_every_key_of_a_fault_has_its_effect(
    emulator: Emulator, node: Machine, fault: dict[str, Any], status: int, body: bytes
) -> None:
    assert control(emulator, "POST", "/faults", {"operation": "*", **fault}).status == 200
    answer = node.request_token()
    assert (answer.status, answer.body) == (status, body)


def test_a_fault_edits_the_token(emulator: Emulator, node: Machine) -> None:
    edit = {
        "fields": {"UpdateKeyPair": True},
        "remove": ["SessionToken"],
        "token_lifetime_seconds": -60,
        "apply": False,
    }
    control(emulator, "POST", "/faults", {"operation": TOKEN, "times": None, **edit})
    answer = node.request_token().json
    issued_at = emulator.requests[-1].received_at
    assert (answer["UpdateKeyPair"], "SessionToken" in answer) == (True, False)
    assert answer["TokenExpirationDate"] == pytest.approx((issued_at - timedelta(seconds=60)).timestamp(), abs=0.001)
    assert emulator.tokens == {}


@pytest.mark.parametrize(
    "fault",
    [
        None,
        [1],
        {},
        {"error": "X"},
        {"operation": TOKEN, "colour": "red"},
        {"operation": TOKEN, "times": "3"},
        {"operation": TOKEN, "times": True},
        {"operation": TOKEN, "hang": 1},
        {"operation": TOKEN, "remove": "AccessKeyId"},
        {"operation": TOKEN, "delay_seconds": "1s"},
        {"operation": TOKEN, "token_lifetime_seconds": 1e300},
        {"operation": TOKEN, "body_base64": "%"},
        {"operation": TOKEN, "headers": {"Content-Length": "1"}},
        {"operation": TOKEN, "headers": {"Age": 1}},
        {"operation": TOKEN, "body": "", "content_type": "text/html\r\nAge: 1"},
        {"operation": TOKEN, "error": "B\u00e4d", "error_in_header": True},
        {"operation": TOKEN, "error": "Bad "},
        {"operation": TOKEN, "body": "\ud800"},
        {"operation": "GetCallerIdentity", "error": "Bad", "message": "\ud800"},
        {"operation": "GetCallerIdentity", "fields": {"Arn": "\ud800"}},
    ],
)
def test_a_fault_that_it_does_not_understand_is_refused_with_a_hint(emulator: Emulator, fault: Any) -> None:
    answer = control(emulator, "POST", "/faults", [fault])
    assert answer.status == 400
    assert answer.json["hint"]
    assert control(emulator, "GET", "/faults").json == []


def test_waiting_faults_are_shown_in_json_whatever_they_hold(emulator: Emulator) -> None:
    emulator.fail(TOKEN, body=b"\xff", delay=timedelta(seconds=2), times=None)
    (shown,) = control(emulator, "GET", "/faults").json
    assert shown == {"left": None, "operation": TOKEN, "times": None, "body": "\ufffd", "delay": 2.0}


def test_requests_are_listed_and_forgotten(emulator: Emulator, node: Machine) -> None:
    node.request_token()
    registered, asked = control(emulator, "GET", "/requests").json
    assert (registered["operation"], asked["operation"]) == ("RegisterManagedInstance", TOKEN)
    assert (asked["node_id"], asked["status"], asked["code"]) == (node.node_id, 200, "")
    assert json.loads(asked["body"]) == {"Fingerprint": node.fingerprint}
    assert dict(map(tuple, asked["headers"]))["x-amz-target"] == f"AmazonSSM.{TOKEN}"
    assert datetime.fromisoformat(asked["received_at"]) == emulator.requests[1].received_at
    assert control(emulator, "DELETE", "/requests").json == []
    assert emulator.requests == ()


def test_control_requests_are_neither_recorded_nor_spoiled(emulator: Emulator) -> None:
    emulator.fail("*", drop=True)
    assert control(emulator, "GET", "/settings").status == 200
    assert emulator.requests == ()


def test_the_clock_and_the_lifetime_of_tokens_are_settings(emulator: Emulator, node: Machine) -> None:
    settings = control(emulator, "PUT", "/settings", {"offset_seconds": 120, "token_lifetime_seconds": 2.5}).json
    assert (settings["offset_seconds"], settings["token_lifetime_seconds"]) == (120.0, 2.5)
    assert (emulator.offset, emulator.token_lifetime) == (timedelta(minutes=2), timedelta(seconds=2.5))
    node.request_token()
    (token,) = emulator.tokens.values()
    assert token.expires_at - token.issued_at == timedelta(seconds=2.5)
    assert control(emulator, "GET", "/settings").json["offset_seconds"] == 120.0


@pytest.mark.parametrize(
    "settings",
    [None, [], {"colour": 1}, {"offset_seconds": "1h"}, {"offset_seconds": 1e11}, {"token_lifetime_seconds": True}],
)
def test_settings_that_it_does_not_understand_change_nothing(emulator: Emulator, settings: Any) -> None:
    answer = control(emulator, "PUT", "/settings", settings)
    assert answer.status == 400
    assert (emulator.offset, emulator.token_lifetime) == (timedelta(), timedelta(hours=1))


def test_a_node_is_shown_changed_and_deregistered(emulator: Emulator, node: Machine) -> None:
    (shown,) = control(emulator, "GET", "/nodes").json
    assert (shown["node_id"], shown["fingerprint"], shown["role"]) == (node.node_id, node.fingerprint, "Web")
    one = f"/nodes/{node.node_id}"
    assert control(emulator, "PATCH", one, {"rotation_wanted": True}).json["rotation_wanted"] is True
    assert node.request_token().json["UpdateKeyPair"] is True
    changed = control(emulator, "PATCH", one, {"fingerprint": None}).json["fingerprint"]
    assert str(uuid.UUID(changed)) == changed != node.fingerprint
    assert node.request_token().code == "MachineFingerprintDoesNotMatch"
    control(emulator, "PATCH", one, {"fingerprint": node.fingerprint, "rotation_wanted": False})
    assert node.request_token().json["UpdateKeyPair"] is False
    assert control(emulator, "GET", one).json["public_key"]
    assert control(emulator, "DELETE", one).json == []
    assert node.request_token().code == "InvalidInstanceId"
    assert control(emulator, "GET", one).status == 404
    assert control(emulator, "PATCH", one, {"fingerprint": None}).status == 404
    assert control(emulator, "DELETE", one).json["code"] == "InvalidInstanceId"


def test_a_change_of_a_node_that_it_does_not_understand_is_refused(emulator: Emulator, node: Machine) -> None:
    assert control(emulator, "PATCH", f"/nodes/{node.node_id}", {"colour": "red"}).status == 400


def test_a_role_is_created_listed_replaced_and_deleted(emulator: Emulator) -> None:
    role = {"name": "service-role/Report", "trusts": ["Web"], "external_id": "x1", "longest_session_seconds": 7200}
    assert control(emulator, "POST", "/roles", role).json == {
        "name": "service-role/Report",
        "trusts": ["Web"],
        "external_id": "x1",
        "longest_session": 7200.0,
    }
    control(emulator, "POST", "/roles", {"name": "Backup", "trusts": []})
    shown = {one["name"]: one["trusts"] for one in control(emulator, "GET", "/roles").json}
    assert shown == {"Backup": [], "Metrics": ["*"], "service-role/Report": ["Web"]}
    assert len(control(emulator, "DELETE", "/roles/service-role/Report").json) == 2
    assert control(emulator, "DELETE", "/roles/service-role/Report").status == 404


@pytest.mark.parametrize(
    "role",
    [
        None,
        {"colour": "red"},
        {"trusts": []},
        {"name": "a b"},
        {"name": "A", "trusts": "Web"},
        {"name": "A", "longest_session_seconds": 900},
        {"name": "A", "external_id": "a b"},
    ],
)
def test_a_role_that_it_does_not_understand_is_refused(emulator: Emulator, role: Any) -> None:
    assert control(emulator, "POST", "/roles", role).status == 400
    assert list(emulator.roles) == ["Backup", "Metrics"]


def test_an_activation_is_made_and_listed_and_tokens_are_listed(emulator: Emulator, machine: Machine) -> None:
    made = control(emulator, "POST", "/activations", {"IamRole": "Web"}).json
    (shown,) = control(emulator, "GET", "/activations").json
    assert (shown["activation_id"], shown["code"]) == (made["ActivationId"], made["ActivationCode"])
    machine.register(emulator.activations[made["ActivationId"]])
    issued = machine.request_token().json
    (token,) = control(emulator, "GET", "/tokens").json
    assert (token["access_key_id"], token["node_id"]) == (issued["AccessKeyId"], machine.node_id)


def test_an_activation_without_a_role_is_refused_as_by_the_service(emulator: Emulator) -> None:
    answer = control(emulator, "POST", "/activations")
    assert (answer.status, answer.json["code"]) == (400, "ValidationException")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/colours", 404), ("PUT", "/faults", 405), ("POST", "/nodes/x/y", 404), ("GET", "/nodes/x", 404)],
)
def test_what_is_not_there_is_not_found(emulator: Emulator, method: str, path: str, status: int) -> None:
    assert control(emulator, method, path).status == status


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 100_000, '{"operation": "*"}'.encode("utf-16"), b'{"times": NaN}']
)
def test_what_is_no_json_is_refused(emulator: Emulator, body: bytes) -> None:
    answer = exchange(emulator.url, {}, body, "POST", "/_emulator/faults")
    assert answer.status == 400
    assert "Cannot read the JSON" in answer.json["error"]


def test_a_path_that_only_begins_alike_is_the_services(emulator: Emulator) -> None:
    assert exchange(emulator.url, {}, b"", "POST", "/_emulators").code == "UnknownOperationException"


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.8.9.10:80", "[::1]:80"])
def test_it_answers_under_every_name_of_this_machine(emulator: Emulator, host: str) -> None:
    assert control(emulator, "GET", "", Host=host).status == 200


@pytest.mark.parametrize(
    "headers", [{"Host": host} for host in ("evil.example", "", "[", "[x]")] + [{"Origin": "http://127.0.0.1"}]
)
def test_a_web_page_cannot_reach_it(emulator: Emulator, headers: dict[str, str]) -> None:
    answer = control(emulator, "GET", "", **headers)
    assert answer.status == 403
    assert emulator.admin.secret_access_key.encode() not in answer.body


@pytest.mark.parametrize(
    ("bound_to", "peer", "host", "status"),
    [
        ("0.0.0.0", "127.0.0.1", "emulator.example", 200),  # noqa: S104 - the case at hand
        ("0.0.0.0", "192.0.2.7", "emulator.example", 403),  # noqa: S104 - the case at hand
        ("127.0.0.1", "127.0.0.1", "emulator.example", 403),
        ("emulator.example", "127.0.0.1", "emulator.example:80", 200),
        ("emulator.example", "127.0.0.1", "evil.example", 403),
        ("127.1", "127.0.0.1", "evil.example", 403),
    ],
)
def test_neither_another_machine_nor_a_web_page_reaches_it_wherever_the_service_listens(
    bound_to: str, peer: str, host: str, status: int
) -> None:
    request = Request("GET", "/_emulator", (("host", host),), b"", peer)
    reply = Control(Service(), bound_to).handle(request)
    assert reply.response is not None
    assert reply.response.status == status


def test_the_service_itself_answers_under_any_name(emulator: Emulator) -> None:
    document = {"ActivationId": "x"}
    assert unsigned(emulator, "RegisterManagedInstance", document).code == "ValidationException"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.RegisterManagedInstance"}
    host = {"Host": "ssm.us-east-1.amazonaws.com"}
    assert exchange(emulator.url, headers | host, b"{}").code == "ValidationException"
