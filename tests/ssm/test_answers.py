"""Every answer has a defined outcome (docs/protocol.md, section 2)."""

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import many
from tests.ssm.conftest import (
    NOON,
    Reply,
    ScriptedService,
    error_reply,
    service_headers,
    ssm_client,
    token_fields,
    token_reply,
)

from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key
from rolekeeper.errors import (
    FingerprintRefusedError,
    NodeUnknownError,
    RolekeeperError,
    ServiceError,
    ServiceRefusedError,
    SignatureRefusedError,
)
from rolekeeper.model import Registration, TokenAnswer

FINGERPRINT = "45b3eee3-0e73-4a83-9e10-d1a6ffe55249"
CODE = "SECRETCODE1234567890"
ID = "12345678-1234-1234-1234-123456789012"
HTML = b"<html><body>Please log in to the guest network</body></html>"


def ask(service: Any, node: Registration, **changes: Any) -> TokenAnswer:
    answer: TokenAnswer = ssm_client(service.url, **changes).request_role_token(node, FINGERPRINT)
    return answer


def refusal(service: Any, node: Registration, reply: Any) -> Any:
    service.says(reply)
    with pytest.raises(RolekeeperError) as caught:
        ask(service, node)
    return caught.value


def test_a_good_answer_becomes_a_token(service: Any, node: Registration) -> None:
    service.says(token_reply())
    answer = ask(service, node)
    fields = token_fields()
    assert answer.token.access_key_id == fields["AccessKeyId"]
    assert answer.token.secret_access_key == fields["SecretAccessKey"]
    assert answer.token.session_token == fields["SessionToken"]
    assert answer.token.expires_at == NOON + timedelta(hours=1)
    assert answer.token.expires_at.utcoffset() == timedelta(0)
    assert answer.request_id == "5f3f0c53-5a7f-4c0c-9d21-3b8f0e6e2f10"


@pytest.mark.parametrize(
    ("told", "asks"),
    [(True, True), (False, False), (..., False), (None, False), ("true", False), (1, False), ([], False)],
)
def test_only_a_true_update_key_pair_asks_for_a_new_key(
    told: Any, asks: object, service: Any, node: Registration
) -> None:
    service.says(token_reply(UpdateKeyPair=told))
    assert ask(service, node).token.update_key_pair is asks


@pytest.mark.parametrize("field", ["AccessKeyId", "SecretAccessKey", "SessionToken"])
@pytest.mark.parametrize(
    "value", [..., None, "", 7, True, [], {}, "has blank", "new\nline", "umläut", "nul\0", "x" * 20_000]
)
def test_a_missing_or_malformed_field_is_no_usable_answer(
    field: str, value: Any, service: Any, node: Registration
) -> None:
    error = refusal(service, node, token_reply(**{field: value}))
    assert isinstance(error, ServiceError)
    assert error.code == "unusable-answer"
    assert field in error.message


@pytest.mark.parametrize("value", ["ASIA", "ASIA3D3ZFM53CNDSWS5-", "ASIA3D3ZFM53CNDSWS5E!", "A" * 129])
def test_an_access_key_id_has_its_form(value: str, service: Any, node: Registration) -> None:
    assert refusal(service, node, token_reply(AccessKeyId=value)).code == "unusable-answer"


@pytest.mark.parametrize(
    "seconds_ahead",
    [-3600, -1, 0, 0.9, 36 * 3600 + 1, 10**11, 10**400, -(10**400), math.nan, math.inf, -math.inf],
    ids=range(11),
)
def test_an_expiry_that_is_past_or_absurd_is_unusable(seconds_ahead: float, service: Any, node: Registration) -> None:
    if isinstance(seconds_ahead, int) and abs(seconds_ahead) > 10**12:
        expiry: float = seconds_ahead
    else:
        expiry = NOON.timestamp() + seconds_ahead
    error = refusal(service, node, token_reply(TokenExpirationDate=expiry))
    assert isinstance(error, ServiceError)
    assert error.code == "unusable-expiry"


@pytest.mark.parametrize("value", [..., None, True, False, "1795435200", "2026-11-23T13:00:00Z", [1795435200], {}])
def test_an_expiry_that_is_no_number_is_unusable(value: Any, service: Any, node: Registration) -> None:
    assert refusal(service, node, token_reply(TokenExpirationDate=value)).code == "unusable-expiry"


@pytest.mark.parametrize("seconds_ahead", [2, 3600, 3600.5, 36 * 3600 - 1])
def test_tokens_of_two_seconds_and_of_a_day_and_a_half_are_taken(
    seconds_ahead: float, service: Any, node: Registration
) -> None:
    service.says(token_reply(TokenExpirationDate=NOON.timestamp() + seconds_ahead))
    assert ask(service, node).token.expires_at == NOON + timedelta(seconds=seconds_ahead)


BODIES = [
    HTML,
    b"",
    b"[]",
    b'"x"',
    b"null",
    b"7",
    b"\xff\xfe",
    b'{"AccessKeyId": "ASIA',
    b"[" * 100_000,
    b"{}{}",
    b"{" + b" " * (1024 * 1024) + b"}",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("status", [200, 201, 302, 400, 403, 404])
def test_what_is_no_json_object_is_unusable_whatever_the_status(
    body: bytes, status: int, service: Any, node: Registration
) -> None:
    error = refusal(service, node, Reply(status, body, {"Content-Type": "text/html"}))
    assert isinstance(error, ServiceError)
    assert error.code == "unusable-answer"
    assert error.hint


@pytest.mark.parametrize(("status", "code"), [(429, "throttled"), (500, "service-failed"), (502, "service-failed")])
def test_whatever_comes_with_a_telling_status_has_failed(
    status: int, code: str, service: Any, node: Registration
) -> None:
    for body in (HTML, b"[" * 100_000, b""):
        error = refusal(service, node, Reply(status, body, {"Content-Type": "text/html"}))
        assert isinstance(error, ServiceError)
        assert error.code == code
        assert f"HTTP {status}" in error.message


@many(150)
@given(
    body=st.binary(max_size=64)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["__type", "message", "Message", "AccessKeyId", "TokenExpirationDate", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    status=st.sampled_from([200, 204, 301, 400, 403, 404, 429, 500, 503]),
)
def test_no_answer_gets_out_as_anything_but_an_error_of_ours(body: bytes, status: int, node: Registration) -> None:
    service = ScriptedService()
    service.says(Reply(status, body, service_headers()))
    with pytest.raises((ServiceError, ServiceRefusedError)) as caught:
        ask(service, node)
    service.stop()
    assert caught.value.message.startswith(f"Cannot request a role token for {node.node_id} in us-east-1: ")
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    "value", [..., None, 7, "", "i-0123456789abcdef0", "mi-0123456789ABCDEF0", "mi-0123", "mi-0123456789abcdef0\n"]
)
def test_a_registration_without_a_proper_node_id_is_unusable(value: Any, service: Any, node: Registration) -> None:
    body = json.dumps({} if value is ... else {"InstanceId": value}).encode()
    service.says(Reply(200, body, service_headers()))
    with pytest.raises(ServiceError) as caught:
        ssm_client(service.url).register("us-east-1", ID, CODE, FINGERPRINT, node.key)
    assert caught.value.code == "unusable-answer"


def test_a_new_key_counts_as_taken_only_with_the_services_own_answer(service: Any, node: Registration) -> None:
    new_key = RsaKeyMaker().new_key(NOON)
    for reply in (
        Reply(200, HTML, {"Content-Type": "text/html"}),
        Reply(200, b""),
        Reply(200, b"{}", service_headers(), short=1),
        Reply(200, b'{"__type": "InternalServerError"}', service_headers()),
    ):
        service.says(reply)
        with pytest.raises(ServiceError):
            ssm_client(service.url).update_public_key(node, new_key)
    for reply in (Reply(200, b"{}"), Reply(200, b"", service_headers())):
        service.says(reply)
        ssm_client(service.url).update_public_key(node, new_key)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("MachineFingerprintDoesNotMatch", FingerprintRefusedError),
        ("InvalidInstanceId", NodeUnknownError),
        ("InvalidSignatureException", SignatureRefusedError),
        ("UnrecognizedClientException", SignatureRefusedError),
        ("AccessDeniedException", ServiceRefusedError),
        ("com.amazon.coral.service#AccessDeniedException", ServiceRefusedError),
        ("NeverHeardOfException", ServiceRefusedError),
    ],
)
def test_a_refusal_keeps_the_services_own_code(code: str, kind: type, service: Any, node: Registration) -> None:
    error = refusal(service, node, error_reply(code, "because"))
    assert type(error) is kind
    assert error.code == code.rpartition("#")[2]
    assert error.message.endswith(f"{error.code}: because")
    assert error.request_id == "5f3f0c53-5a7f-4c0c-9d21-3b8f0e6e2f10"
    assert error.hint


@pytest.mark.parametrize("code", ["InternalServerError", "ThrottlingException", "ServiceUnavailable", "TooManyUpdates"])
@pytest.mark.parametrize("status", [400, 500])
def test_the_services_own_failures_are_failures_with_any_status(
    code: str, status: int, service: Any, node: Registration
) -> None:
    error = refusal(service, node, error_reply(code, status=status))
    assert isinstance(error, ServiceError)
    assert code in error.message


@pytest.mark.parametrize(("status", "kind"), [(400, ServiceRefusedError), (429, ServiceError), (500, ServiceError)])
def test_an_unknown_code_is_judged_by_its_status(status: int, kind: type, service: Any, node: Registration) -> None:
    assert type(refusal(service, node, error_reply("NeverHeardOf", status=status))) is kind


@pytest.mark.parametrize("header", ["InvalidInstanceId", "InvalidInstanceId:http://internal.example/"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"message": "no such node"}', HTML])
def test_the_code_may_be_in_the_header_alone(header: str, body: bytes, service: Any, node: Registration) -> None:
    error = refusal(service, node, Reply(400, body, service_headers(x_amzn_ErrorType=header)))
    assert isinstance(error, NodeUnknownError)
    assert error.code == "InvalidInstanceId"


@pytest.mark.parametrize("code", [7, None, [], "", "<script>", "two words", "x" * 101])
def test_what_is_no_code_is_none(code: Any, service: Any, node: Registration) -> None:
    assert refusal(service, node, error_reply(code)).code == "unusable-answer"


def test_no_error_text_tells_the_activation_code_or_a_key(service: Any, node: Registration) -> None:
    echo = f"code {CODE}, key {public_key(node.key)}, private {node.key.private_key}"
    service.says(error_reply("InvalidActivation", echo))
    with pytest.raises(ServiceRefusedError) as caught:
        ssm_client(service.url).register("us-east-1", ID, CODE, FINGERPRINT, node.key)
    assert caught.value.message.endswith("InvalidActivation: code ***, key ***, private ***")


def test_no_error_text_tells_a_token_or_a_signature(service: Any, node: Registration) -> None:
    fields = token_fields()
    echo = " ".join(str(fields[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    signature = "f7S8euQi2L6OKJQxRWd/" * 17
    body = {"__type": "AccessDeniedException", "message": f"{echo} {signature}", **fields}
    error = refusal(service, node, Reply(400, json.dumps(body).encode(), service_headers()))
    assert error.message.endswith("AccessDeniedException: *** *** *** ***")


def test_a_long_and_ugly_message_becomes_one_bounded_line(service: Any, node: Registration) -> None:
    error = refusal(service, node, error_reply("AccessDeniedException", "a\n\tb\x1b[31m \u202e" + "word " * 999))
    assert error.message.isprintable()
    assert "a b [31m word" in error.message
    assert error.message.endswith("...")
    assert len(error.message) < 500


def test_an_answer_longer_than_a_mebibyte_is_not_read_to_its_end(service: Any, node: Registration) -> None:
    error = refusal(service, node, Reply(200, b" " * 9_000_000, service_headers()))
    assert error.code == "unusable-answer"
    assert "longer than" in error.message
