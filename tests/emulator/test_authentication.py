"""Every way in which a signature can be wrong, with AWS's code for each."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.emulator.conftest import Answer, Machine, NodeKeyAuth, exchange, unsigned

from rolekeeper.emulator import Emulator

TOKEN = "RequestManagedInstanceRoleToken"


def spoiled(node: Machine, change: Callable[[dict[str, str]], None]) -> Answer:
    """The answer to a well-signed request of which a header was changed afterwards."""
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    change(headers)
    return exchange(node.emulator.url, headers, body)


# A right document, but for its encoding, or for a constant that only JavaScript has.
NOT_JSON = [
    *('{"Fingerprint": "x"}'.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")),
    *(b'{"Fingerprint": "x", "Other": %s}' % constant for constant in (b"NaN", b"Infinity", b"-Infinity")),
]


def edit(pattern: str, replacement: str) -> Callable[[dict[str, str]], None]:
    def change(headers: dict[str, str]) -> None:
        edited = re.sub(pattern, replacement, headers["Authorization"])
        assert edited != headers["Authorization"]
        headers["Authorization"] = edited

    return change


def test_a_request_without_a_signature_is_refused(emulator: Emulator, machine: Machine) -> None:
    answer = unsigned(emulator, TOKEN, {"Fingerprint": machine.fingerprint})
    assert (answer.status, answer.code) == (400, "MissingAuthenticationTokenException")


def test_another_kind_of_authorization_counts_as_none(node: Machine) -> None:
    answer = spoiled(node, lambda headers: headers.update(Authorization="Basic cm9sZTprZWVwZXI="))
    assert answer.code == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("parameter", ["Credential", "SignedHeaders", "Signature"])
def test_a_missing_part_of_the_header_is_named(node: Machine, parameter: str) -> None:
    answer = spoiled(node, edit(rf"{parameter}=[^,]+,?", ""))
    assert (answer.status, answer.code) == (400, "IncompleteSignatureException")
    assert f"Authorization header requires '{parameter}' parameter. " in answer.message


def test_a_missing_date_is_named(node: Machine) -> None:
    answer = spoiled(node, lambda headers: headers.__delitem__("X-Amz-Date"))
    assert answer.code == "IncompleteSignatureException"
    assert "'X-Amz-Date'" in answer.message


@pytest.mark.parametrize(
    "change",
    [lambda _: "2026-11-23T16:16:16Z", str.lower, lambda date: date[:-2] + "Z", lambda date: date[:4] + date[5:]],
    ids=["extended format", "lower case", "a digit of the second missing", "a digit of the month missing"],
)
def test_a_date_in_another_format_is_refused(node: Machine, change: Callable[[str], str]) -> None:
    answer = dated(node, change)
    assert (answer.status, answer.code) == (400, "IncompleteSignatureException")
    assert "Date must be in ISO-8601 'basic format'. Got '" in answer.message


class Redated(NodeKeyAuth):
    """Signs with a date that is written in another way."""

    def __init__(self, node: Machine, change: Callable[[str], str]) -> None:
        super().__init__(node.key, node.node_id, node.emulator.region)
        self._change = change

    def canonical_request(self, request: AWSRequest) -> str:
        date = self._change(request.context["timestamp"])
        request.context["timestamp"] = date
        request.headers.replace_header("X-Amz-Date", date)
        return str(super().canonical_request(request))


def dated(node: Machine, change: Callable[[str], str]) -> Answer:
    """The answer to a request whose date was changed before it was signed: everything else about it is right."""
    return node.request_token(Redated(node, change))


@pytest.mark.parametrize("parameter", ["Credential", "SignedHeaders", "Signature"])
def test_a_part_of_the_header_that_occurs_twice_is_refused(node: Machine, parameter: str) -> None:
    for edited in (edit(rf"({parameter}=[^,]+)", r"\1, \1"), edit(f"{parameter}=", f"{parameter}=x, {parameter}=")):
        answer = spoiled(node, edited)
        assert (answer.status, answer.code) == (400, "IncompleteSignatureException")
        assert f"more than one '{parameter}' parameter" in answer.message


def test_a_part_of_the_header_without_an_equal_sign_is_refused(node: Machine) -> None:
    answer = spoiled(node, edit("Signature=", "nonsense, Signature="))
    assert answer.code == "IncompleteSignatureException"
    assert "'nonsense' not a valid key=value pair (missing equal-sign) in Authorization header" in answer.message


def test_another_algorithm_is_refused(node: Machine) -> None:
    answer = spoiled(node, edit("AWS4-HMAC-SHA256", "AWS4-RSA-SHA256"))
    assert answer.code == "IncompleteSignatureException"
    assert "Unsupported AWS 'algorithm': 'AWS4-RSA-SHA256'" in answer.message


def test_a_credential_of_four_parts_is_refused(node: Machine) -> None:
    answer = spoiled(node, edit("/aws4_request", ""))
    assert answer.code == "IncompleteSignatureException"
    assert "Credential must have exactly 5 slash-delimited elements" in answer.message


@pytest.mark.parametrize(
    ("header", "spelling"), [("host", "'Host'"), ("x-amz-date", "'X-Amz-Date'"), ("x-amz-target", "'X-Amz-Target'")]
)
def test_host_date_and_target_must_be_signed(node: Machine, header: str, spelling: str) -> None:
    answer = spoiled(node, edit(f"([=;]){header}(;?)", r"\1"))
    assert answer.code == "InvalidSignatureException"
    assert spelling in answer.message
    assert "must be a 'SignedHeader'" in answer.message


class Forgetful(NodeKeyAuth):
    """Signs properly all but one header, which is sent unsigned."""

    def __init__(self, node: Machine, forgotten: str) -> None:
        super().__init__(node.key, node.node_id, node.emulator.region)
        self._forgotten = forgotten

    def headers_to_sign(self, request: AWSRequest) -> Any:
        headers = super().headers_to_sign(request)
        del headers[self._forgotten]
        return headers


def test_the_media_type_need_not_be_signed(node: Machine) -> None:
    """The SDK for JavaScript, version 2, leaves it unsigned."""
    assert node.request_token(Forgetful(node, "content-type")).status == 200


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("us-east-1", "eu-west-1", "Credential should be scoped to a valid region, not 'eu-west-1'. "),
        ("/ssm/", "/ec2/", "Credential should be scoped to correct service: 'ssm'. "),
        ("aws4_request", "aws5_request", "with a valid terminator: 'aws4_request', not 'aws5_request'. "),
        (r"/20\d{6}/", "/20200101/", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version"),
    ],
)
def test_every_part_of_the_scope_counts(node: Machine, pattern: str, replacement: str, message: str) -> None:
    answer = spoiled(node, edit(pattern, replacement))
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")
    assert message in answer.message


def test_every_mismatch_of_the_scope_is_named_at_once(node: Machine) -> None:
    answer = spoiled(node, edit("us-east-1/ssm/aws4_request", "a/b/c"))
    assert all(word in answer.message for word in ("not 'a'", "service: 'ssm'", "not 'c'"))


def test_a_changed_header_breaks_the_signature_and_the_answer_shows_what_was_expected(node: Machine) -> None:
    changed = "application/x-amz-json-1.1; charset=utf-8"
    answer = spoiled(node, lambda headers: headers.update({"Content-Type": changed}))
    assert answer.code == "InvalidSignatureException"
    assert answer.message.startswith("The request signature we calculated does not match the signature you provided.")
    canonical = f"The Canonical String for this request should have been\n'POST\n/\n\ncontent-type:{changed}\n"
    assert canonical in answer.message
    assert "The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n" in answer.message


def test_a_changed_body_breaks_the_signature(node: Machine) -> None:
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    assert exchange(node.emulator.url, headers, body + b" ").code == "InvalidSignatureException"


def test_a_changed_query_breaks_the_signature(node: Machine) -> None:
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    assert exchange(node.emulator.url, headers, body, path="/?x").code == "InvalidSignatureException"


def test_an_unsigned_hash_of_another_body_is_refused(node: Machine) -> None:
    answer = spoiled(node, lambda headers: headers.update({"X-Amz-Content-Sha256": "0" * 64}))
    assert answer.code == "InvalidSignatureException"


def test_spaces_in_signed_headers_are_trimmed_and_collapsed(node: Machine) -> None:
    document = {"Fingerprint": node.fingerprint}
    headers, body = node.signed(TOKEN, document, **{"X-Amz-Note": "one two"})
    headers["X-Amz-Note"] = "  one \t  two "
    assert exchange(node.emulator.url, headers, body).status == 200


class Inventive(NodeKeyAuth):
    """Signs an empty header that it does not send; everything else about it is right."""

    def __init__(self, node: Machine, invented: str) -> None:
        super().__init__(node.key, node.node_id, node.emulator.region)
        self._invented = invented

    def headers_to_sign(self, request: AWSRequest) -> Any:
        headers = super().headers_to_sign(request)
        headers[self._invented] = ""
        return headers


@pytest.mark.parametrize("invented", ["accept", "x-amz-security-token"])
def test_a_header_that_is_signed_but_not_sent_is_refused(node: Machine, invented: str) -> None:
    answer = node.request_token(Inventive(node, invented))
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")
    assert f"'{invented}' is a 'SignedHeader'" in answer.message


def test_a_header_that_is_signed_twice_is_refused(node: Machine) -> None:
    answer = spoiled(node, edit("SignedHeaders=", "SignedHeaders=host;"))
    assert "'host' is a 'SignedHeader' in the AWS Authorization, but not one header" in answer.message


def test_a_request_that_is_signed_for_another_region_is_refused_for_every_signer(
    emulator: Emulator, node: Machine
) -> None:
    token = node.request_token().json
    role = Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
    admin = Credentials(emulator.admin.access_key_id, emulator.admin.secret_access_key)
    signers = [
        NodeKeyAuth(node.key, node.node_id, "eu-west-1"),
        *(SigV4Auth(one, "ssm", "eu-west-1") for one in (role, admin)),
    ]
    for operation, auth in zip((TOKEN, "UpdateInstanceInformation", "DescribeActivations"), signers, strict=True):
        answer = node.call(operation, {}, auth)
        assert (answer.status, answer.code) == (400, "InvalidSignatureException")
        assert answer.message == "Credential should be scoped to a valid region, not 'eu-west-1'. "


@pytest.mark.parametrize("padding", ["", "=", "\t==", "AAAA=="])
def test_a_signature_in_another_spelling_of_base64_is_refused(node: Machine, padding: str) -> None:
    answer = spoiled(node, edit("==$", padding))
    assert answer.code in {"InvalidSignatureException", "IncompleteSignatureException"}


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_more_than_five_minutes_off_is_refused(emulator: Emulator, node: Machine, minutes: int) -> None:
    emulator.offset = timedelta(minutes=minutes)
    answer = node.request_token()
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")
    shape = (
        r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 5 min\.\)"
        if minutes > 0
        else r"Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)"
    )
    assert re.fullmatch(shape, answer.message)


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_less_than_five_minutes_off_is_accepted(emulator: Emulator, node: Machine, minutes: int) -> None:
    emulator.offset = timedelta(minutes=minutes)
    assert node.request_token().status == 200


def test_an_unknown_access_key_is_refused(node: Machine) -> None:
    auth = SigV4Auth(Credentials("AKIAAAAAAAAAAAAAAAAA", "x"), "ssm", "us-east-1")
    answer = node.call("DescribeActivations", {}, auth)
    assert (answer.status, answer.code) == (400, "UnrecognizedClientException")
    assert answer.message == "The security token included in the request is invalid."


def test_credentials_that_it_knows_may_not_do_what_takes_a_node_key(emulator: Emulator, node: Machine) -> None:
    token = node.request_token().json
    role = Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
    for credentials in (role, Credentials(emulator.admin.access_key_id, emulator.admin.secret_access_key)):
        answer = node.request_token(SigV4Auth(credentials, "ssm", "us-east-1"))
        assert (answer.status, answer.code) == (400, "AccessDeniedException")
        assert "is not authorized to perform: ssm:RequestManagedInstanceRoleToken on resource: arn:" in answer.message
    for credentials in (Credentials(token["AccessKeyId"], "x", token["SessionToken"]), Credentials("ASIAX", "x")):
        answer = node.request_token(SigV4Auth(credentials, "ssm", "us-east-1"))
        assert answer.code in {"InvalidSignatureException", "UnrecognizedClientException"}


def test_a_node_key_does_not_speak_for_the_administrator(node: Machine) -> None:
    assert node.call("DescribeActivations", {}).code == "UnrecognizedClientException"


def test_a_node_key_cannot_sign_for_another_service(node: Machine) -> None:
    auth = NodeKeyAuth(node.key, node.node_id, "us-east-1", service="sts")
    assert "Credential should be scoped to correct service: 'ssm'" in node.request_token(auth).message


def test_a_wrong_secret_is_refused(emulator: Emulator, node: Machine) -> None:
    auth = SigV4Auth(Credentials(emulator.admin.access_key_id, "wrong"), "ssm", "us-east-1")
    assert node.call("DescribeActivations", {}, auth).code == "InvalidSignatureException"


def test_a_session_token_must_belong_to_its_access_key(node: Machine) -> None:
    one, other = node.request_token().json, node.request_token().json
    for session in (other["SessionToken"], None, "x"):
        credentials = Credentials(one["AccessKeyId"], one["SecretAccessKey"], session)
        auth = SigV4Auth(credentials, "ssm", "us-east-1")
        answer = node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}, auth)
        assert answer.code == "UnrecognizedClientException"


def test_the_administrators_key_has_no_session_token(emulator: Emulator, node: Machine) -> None:
    credentials = Credentials(emulator.admin.access_key_id, emulator.admin.secret_access_key, "x")
    auth = SigV4Auth(credentials, "ssm", "us-east-1")
    assert node.call("DescribeActivations", {}, auth).code == "UnrecognizedClientException"


def test_an_expired_token_is_refused_as_expired(emulator: Emulator, node: Machine, client: Callable[..., Any]) -> None:
    ssm = client("ssm", emulator, node.request_token().json)
    emulator.token_lifetime = timedelta(seconds=-1)
    with pytest.raises(ssm.exceptions.ClientError, match="ExpiredTokenException"):
        client("ssm", emulator, node.request_token().json).describe_activations()


def test_a_role_may_not_do_what_only_the_administrator_may(
    emulator: Emulator, node: Machine, client: Callable[..., Any]
) -> None:
    ssm = client("ssm", emulator, node.request_token().json)
    arn = f"arn:aws:sts::123456789012:assumed-role/Web/{node.node_id}"
    with pytest.raises(ssm.exceptions.ClientError, match=f"AccessDeniedException.*User: {arn} is not authorized"):
        ssm.create_activation(IamRole="Web")
    assert len(emulator.activations) == 1


@pytest.mark.parametrize("target", ["AmazonSSM.SendCommand", "AmazonSSM.", "AWSLogs.PutLogEvents", ""])
def test_an_operation_that_it_does_not_know_is_refused(node: Machine, target: str) -> None:
    answer = spoiled(node, lambda headers: headers.update({"X-Amz-Target": target}))
    assert (answer.status, answer.code) == (400, "UnknownOperationException")


def with_head(machine: Machine, method: str, path: str, media_type: str) -> Answer:
    """A registration, so that no signature can be wrong, but only the head."""
    document = machine.registration(machine.emulator.create_activation())
    headers = {"Content-Type": media_type, "X-Amz-Target": "AmazonSSM.RegisterManagedInstance"}
    return exchange(machine.emulator.url, headers, json.dumps(document).encode(), method, path)


@pytest.mark.parametrize(
    ("method", "path", "media_type"),
    [
        ("PUT", "/", "application/x-amz-json-1.1"),
        ("POST", "/foo", "application/x-amz-json-1.1"),
        ("POST", "/foo/..", "application/x-amz-json-1.1"),
        ("POST", "/", "text/plain"),
        ("POST", "/", "application/json"),
        ("POST", "/", "application/x-amz-json-1.0"),
        ("POST", "/", "application/x-www-form-urlencoded"),
        ("POST", "/", ""),
    ],
)
def test_what_is_no_post_to_the_root_with_the_right_media_type_is_no_operation(
    machine: Machine, method: str, path: str, media_type: str
) -> None:
    answer = with_head(machine, method, path, media_type)
    assert (answer.status, answer.code) == (404, "UnknownOperationException")
    assert machine.emulator.nodes == {}


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "application/x-amz-json-1.1"),
        ("//", "application/x-amz-json-1.1"),
        ("/?a=b", "application/x-amz-json-1.1"),
        ("/", "application/x-amz-json-1.1; charset=utf-8"),
        ("/", "Application/X-Amz-JSON-1.1"),
    ],
)
def test_the_root_and_the_media_type_may_be_spelled_in_other_ways(machine: Machine, path: str, media_type: str) -> None:
    assert with_head(machine, "POST", path, media_type).status == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, *NOT_JSON])
def test_a_body_that_is_no_json_object_is_refused_before_anything_else(emulator: Emulator, body: bytes) -> None:
    answer = unsigned(emulator, TOKEN, body)
    assert (answer.status, answer.code) == (400, "SerializationException")


def test_a_value_of_the_wrong_type_is_a_serialization_error(node: Machine) -> None:
    for value in (1, True, [], {}):
        assert node.call(TOKEN, {"Fingerprint": value}).code == "SerializationException"


def test_every_answer_names_its_request_and_the_services_time(emulator: Emulator, node: Machine) -> None:
    emulator.offset = timedelta(days=400)
    answer = node.request_token()
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["x-amzn-requestid"])
    assert answer.headers["x-amzn-requestid"] == emulator.requests[-1].request_id
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["date"] == emulator.requests[-1].received_at.strftime("%a, %d %b %Y %H:%M:%S GMT")


def test_a_surrogate_in_a_value_is_answered_like_any_other_bad_value(emulator: Emulator, machine: Machine) -> None:
    document = machine.registration(emulator.create_activation(), ActivationCode="\ud800" * 20)
    answer = unsigned(emulator, "RegisterManagedInstance", json.dumps(document).encode())
    assert answer.code == "InvalidActivation"
