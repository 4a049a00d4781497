"""AssumeRole, mostly as boto3's own client calls it; what that client would not send is signed by hand."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from tests.emulator.conftest import Answer, Machine, exchange

from rolekeeper.emulator import Emulator

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [ALLOW]})
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


@pytest.fixture
def sts(emulator: Emulator, node: Machine, client: Callable[..., Any]) -> Any:
    """boto3's client with the node's role token."""
    return client("sts", emulator, node.request_token().json)


def assume(sts: Any, role_arn: str, **options: Any) -> Any:
    return sts.assume_role(RoleArn=role_arn, **{"RoleSessionName": "backup-1", **options})


def refusal(act: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        act()
    response = caught.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def sent_by_hand(node: Machine, fields: dict[str, str] | bytes) -> Answer:
    """The answer to a form that is signed with the node's role token."""
    token = node.request_token().json
    role = Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
    plain = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": node.emulator.role_arn("Backup")}
    body = (
        fields if isinstance(fields, bytes) else urlencode({**plain, "RoleSessionName": "backup-1", **fields}).encode()
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", f"{node.emulator.url}/", headers, body)
    SigV4Auth(role, "sts", node.emulator.region).add_auth(request)
    return exchange(node.emulator.url, dict(request.headers), body)


def error_in(answer: Answer) -> tuple[str | None, str | None]:
    document = ET.fromstring(answer.body)  # noqa: S314 - our own service's answer
    return document.findtext(f".//{NAMESPACE}Code"), document.findtext(f".//{NAMESPACE}Message")


def test_a_node_gets_credentials_of_another_role_that_say_so(
    emulator: Emulator, node: Machine, sts: Any, client: Callable[..., Any]
) -> None:
    answer = assume(sts, emulator.role_arn("Backup"))
    arn = "arn:aws:sts::123456789012:assumed-role/Backup/backup-1"
    assert answer["AssumedRoleUser"]["Arn"] == arn
    assert "PackedPolicySize" not in answer
    identity = client("sts", emulator, answer["Credentials"]).get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (arn, answer["AssumedRoleUser"]["AssumedRoleId"])
    token = emulator.tokens[answer["Credentials"]["AccessKeyId"]]
    assert (token.role, token.session_name, token.node_id, token.assumed) == ("Backup", "backup-1", node.node_id, True)
    assert answer["Credentials"]["Expiration"] == token.expires_at.replace(microsecond=0)
    assert token.expires_at - token.issued_at == timedelta(hours=1)
    (request,) = emulator.wait_for("AssumeRole")
    assert (request.node_id, request.code, request.applied) == (node.node_id, "", True)


def test_a_role_with_a_path_has_it_in_its_own_arn_but_not_in_that_of_its_sessions(emulator: Emulator, sts: Any) -> None:
    emulator.create_role("service-role/Report")
    answer = assume(sts, "arn:aws:iam::123456789012:role/service-role/Report")
    assert answer["AssumedRoleUser"]["Arn"].endswith("assumed-role/Report/backup-1")


@pytest.mark.parametrize(
    ("role", "sent", "accepted"),
    [
        ({}, {}, True),
        ({"trusts": ("Web",)}, {}, True),
        ({"trusts": ("Database", "administrator")}, {}, False),
        ({"trusts": ()}, {}, False),
        ({"external_id": "customer:7"}, {"ExternalId": "customer:7"}, True),
        ({"external_id": "customer:7"}, {"ExternalId": "customer:8"}, False),
        ({"external_id": "customer:7"}, {}, False),
        ({}, {"ExternalId": "nobody-asked"}, True),
    ],
)
def test_a_role_decides_whom_it_trusts(
    emulator: Emulator, node: Machine, sts: Any, role: Any, sent: Any, *, accepted: bool
) -> None:
    emulator.create_role("Backup", **role)
    if accepted:
        assert assume(sts, emulator.role_arn("Backup"), **sent)["Credentials"]
        return
    status, code, message = refusal(lambda: assume(sts, emulator.role_arn("Backup"), **sent))
    assert (status, code) == (403, "AccessDenied")
    assert message == (
        f"User: arn:aws:sts::123456789012:assumed-role/Web/{node.node_id} is not authorized to perform: sts:AssumeRole "
        "on resource: arn:aws:iam::123456789012:role/Backup"
    )
    assert emulator.requests[-1].code == "AccessDenied"


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/Typo",
        "arn:aws:iam::210987654321:role/Backup",
        "arn:aws-cn:iam::123456789012:role/Backup",
        "arn:aws:iam::123456789012:role/path/Backup",
    ],
)
def test_a_role_that_does_not_exist_is_refused_like_one_that_does_not_trust(sts: Any, arn: str) -> None:
    assert refusal(lambda: assume(sts, arn))[:2] == (403, "AccessDenied")


def test_a_deleted_role_is_gone_and_its_sessions_stay(emulator: Emulator, sts: Any, client: Callable[..., Any]) -> None:
    session = assume(sts, emulator.role_arn("Backup"))["Credentials"]
    emulator.delete_role("Backup")
    assert refusal(lambda: assume(sts, emulator.role_arn("Backup")))[1] == "AccessDenied"
    assert client("sts", emulator, session).get_caller_identity()["Account"]


def test_what_is_no_arn_of_a_role_is_invalid(sts: Any) -> None:
    for arn in ("arn:aws:iam::123456789012:user/Backup", "Backup-of-everything-here"):
        assert refusal(lambda arn=arn: assume(sts, arn)) == (400, "ValidationError", f"{arn} is invalid")  # type: ignore[misc]


@pytest.mark.parametrize("seconds", [900, 3600])
def test_a_session_lives_as_long_as_is_requested(emulator: Emulator, sts: Any, seconds: int) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    answer = assume(sts, emulator.role_arn("Backup"), DurationSeconds=seconds)
    lifetime = answer["Credentials"]["Expiration"] - before
    assert timedelta(seconds=seconds) <= lifetime < timedelta(seconds=seconds + 60)


def test_role_chaining_is_limited_to_an_hour_whatever_the_role_allows(
    emulator: Emulator, sts: Any, client: Callable[..., Any]
) -> None:
    emulator.create_role("Backup", longest_session=timedelta(hours=12))
    arn = emulator.role_arn("Backup")
    limit = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
    session = client("sts", emulator, assume(sts, arn, DurationSeconds=3600)["Credentials"])
    for caller in (sts, session):
        assert refusal(lambda caller=caller: assume(caller, arn, DurationSeconds=3601)) == (  # type: ignore[misc]
            400,
            "ValidationError",
            limit,
        )
    administrator = client("sts", emulator)
    assert assume(administrator, arn, DurationSeconds=43200)["Credentials"]
    status, code, message = refusal(lambda: assume(administrator, emulator.role_arn("Metrics"), DurationSeconds=3601))
    assert (status, code) == (400, "ValidationError")
    assert "exceeds the MaxSessionDuration set for this role" in message


def tags(count: int, key: str = "k{}", value: str = "v") -> dict[str, str]:
    found = {f"Tags.member.{number}.Key": key.format(number) for number in range(1, count + 1)}
    return found | {f"Tags.member.{number}.Value": value for number in range(1, count + 1)}


def arns(count: int) -> dict[str, str]:
    return {f"PolicyArns.member.{number}.arn": f"arn:aws:iam::aws:policy/P{number}" for number in range(1, count + 1)}


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"RoleArn": ""}, "Value null at 'roleArn' failed to satisfy constraint: Member must not be null"),
        (
            {"RoleArn": "arn:x"},
            "'roleArn' failed to satisfy constraint: Member must have length greater than",
        ),
        ({"RoleSessionName": "a"}, "'roleSessionName' failed to satisfy constraint: Member must have length greater"),
        ({"RoleSessionName": "a" * 65}, "Member must have length less than or equal to 64"),
        ({"RoleSessionName": "a b"}, r"Member must satisfy regular expression pattern: ^[\w+=,.@-]*$"),
        ({"RoleSessionName": "jürgen"}, "Member must satisfy regular expression pattern"),
        ({"RoleSessionName": "line\n"}, "Member must satisfy regular expression pattern"),
        (
            {"DurationSeconds": "899"},
            "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must",
        ),
        ({"DurationSeconds": "43201"}, "Member must have value less than or equal to 43200"),
        ({"DurationSeconds": "-1"}, "Member must have value greater than or equal to 900"),
        ({"ExternalId": "x"}, "'externalId' failed to satisfy constraint: Member must have length greater"),
        ({"ExternalId": "x y"}, "Member must satisfy regular expression pattern"),
        ({"Policy": POLICY + " " * 2048}, "Member must have length less than or equal to 2048"),
        (
            {"Policy": POLICY.replace("s3", "図書")},
            "'policy' failed to satisfy constraint: Member must satisfy regular",
        ),
        (arns(11), "'policyArns' failed to satisfy constraint: Member must have length less than or equal to 10"),
        ({"PolicyArns.member.1.arn": "x"}, "'policyArns.1.member.arn' failed to satisfy constraint"),
        (tags(51), "'tags' failed to satisfy constraint: Member must have length less than or equal to 50"),
        (tags(1, "k" * 129), "'tags.1.member.key' failed to satisfy constraint: Member must have length less"),
        (tags(1, "a;b"), "'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression"),
        (tags(1, value="v" * 257), "'tags.1.member.value' failed to satisfy constraint: Member must have length less"),
        ({"Tags.member.1.Key": "k"}, "Value null at 'tags.1.member.value'"),
        ({"Policy": POLICY + " " * (2000 - len(POLICY)), **arns(2)}, "exceeds 2048 characters"),
    ],
)
def test_a_constraint_that_is_not_met_is_named(node: Machine, fields: dict[str, str], constraint: str) -> None:
    answer = sent_by_hand(node, fields)
    code, message = error_in(answer)
    assert (answer.status, code) == (400, "ValidationError")
    assert constraint in str(message)
    assert len(node.emulator.tokens) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"DurationSeconds": "an hour"},
        {"DurationSeconds": "9" * 5000},
        {"DurationSeconds.member.1": "900"},
        {"Tags": "x"},
        {"Tags.member.x.Key": "k"},
        {"Tags.member.1": "x"},
        {".".join("a" * 10): "x"},
        b"Action=AssumeRole&Version=2011-06-15&Policy=%ff",
        b"Action=AssumeRole&Version=2011-06-15&Policy=a&Policy=b",
        b"Action=AssumeRole&Version=2011-06-15&Policy=a&Policy.member.1=b",
        b"Action=AssumeRole&Version=2011-06-15&Policy=\xff",
    ],
)
def test_a_form_that_cannot_be_understood_is_malformed(node: Machine, fields: dict[str, str] | bytes) -> None:
    answer = sent_by_hand(node, fields)
    assert answer.status == 400
    assert error_in(answer)[0] in {"MalformedInput", "InvalidAction"}


def test_what_xml_cannot_carry_is_replaced_in_the_answer(node: Machine) -> None:
    assert "a\ufffdb<&>" in str(error_in(sent_by_hand(node, {"RoleSessionName": "a\x01b<&>"}))[1])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "This policy contains invalid Json"),
        ("[" * 2000, "This policy contains invalid Json"),
        ("[]", "Syntax errors in policy."),
        ('{"Version": "2012-10-17"}', "Syntax errors in policy."),
        ('{"Statement": []}', "Syntax errors in policy."),
        ('{"Statement": ["Allow"]}', "Syntax errors in policy."),
        *(
            (
                json.dumps({"Statement": {name: value for name, value in ALLOW.items() if name != left_out}}),
                "Syntax errors",
            )
            for left_out in ALLOW
        ),
        (json.dumps({"Statement": {**ALLOW, "Effect": "Perhaps"}}), "Syntax errors in policy."),
    ],
)
def test_a_session_policy_that_is_no_policy_is_malformed(
    emulator: Emulator, sts: Any, policy: str, message: str
) -> None:
    with pytest.raises(sts.exceptions.MalformedPolicyDocumentException, match=message):
        assume(sts, emulator.role_arn("Backup"), Policy=policy)


def test_session_policies_and_tags_are_accepted_and_their_packed_size_is_reported(emulator: Emulator, sts: Any) -> None:
    full = POLICY + " " * (2048 - len(POLICY))
    for options in (
        {"Policy": full},
        {"Policy": json.dumps({"Statement": ALLOW}), "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]},
        {"Tags": [{"Key": f"key {number}", "Value": ""} for number in range(50)], "TransitiveTagKeys": ["key 1"]},
    ):
        assert 0 < assume(sts, emulator.role_arn("Backup"), **options)["PackedPolicySize"] <= 100
    assert assume(sts, emulator.role_arn("Backup"), Tags=[], PolicyArns=[])["Credentials"]


def test_what_does_not_pack_well_is_too_large_although_its_plain_text_is_not(emulator: Emulator, sts: Any) -> None:
    scattered = [{**ALLOW, "Resource": f"arn:aws:s3:::{number * 7919**9 % 10**16:x}"} for number in range(18)]
    policy = json.dumps({"Statement": scattered}, separators=(",", ":"))
    labels = [{"Key": f"{number**9:x}" * 4, "Value": f"{number**17:x}" * 4} for number in range(900, 950)]
    for options in ({"Policy": policy, "Tags": labels[:20]}, {"Tags": labels}):
        with pytest.raises(sts.exceptions.PackedPolicyTooLargeException, match="of the limit"):
            assume(sts, emulator.role_arn("Backup"), **options)
    assert len(policy) <= 2048


def test_tags_whose_keys_differ_in_case_only_are_duplicates(emulator: Emulator, sts: Any) -> None:
    twice = [{"Key": "Team", "Value": "a"}, {"Key": "team", "Value": "b"}]
    status, code, _ = refusal(lambda: assume(sts, emulator.role_arn("Backup"), Tags=twice))
    assert (status, code) == (400, "InvalidParameterValue")


def test_sessions_are_short_where_tokens_are_shorter_than_aws_allows(
    emulator: Emulator, sts: Any, client: Callable[..., Any]
) -> None:
    emulator.token_lifetime = timedelta(seconds=24)
    assume(sts, emulator.role_arn("Backup"))
    emulator.fail("AssumeRole", token_lifetime=timedelta(seconds=-1))
    expired = assume(sts, emulator.role_arn("Backup"))["Credentials"]
    emulator.token_lifetime = timedelta(minutes=20)
    assume(sts, emulator.role_arn("Backup"))
    sessions = [token for token in emulator.tokens.values() if token.assumed]
    lifetimes = [(token.expires_at - token.issued_at).total_seconds() for token in sessions]
    assert lifetimes == [24, -1, 3600]
    assert refusal(client("sts", emulator, expired).get_caller_identity)[:2] == (403, "ExpiredToken")


def test_an_expired_token_assumes_nothing(emulator: Emulator, node: Machine, client: Callable[..., Any]) -> None:
    emulator.token_lifetime = timedelta(minutes=3)
    sts = client("sts", emulator, node.request_token().json)
    emulator.offset = timedelta(minutes=3)
    assert refusal(lambda: assume(sts, emulator.role_arn("Backup")))[:2] == (403, "ExpiredToken")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("AccessDenied", 403, "AccessDenied"),
        ("AccessDeniedException", 403, "AccessDenied"),
        ("ExpiredToken", 403, "ExpiredToken"),
        ("MalformedPolicyDocument", 400, "MalformedPolicyDocument"),
        ("PackedPolicyTooLarge", 400, "PackedPolicyTooLarge"),
        ("RegionDisabledException", 403, "RegionDisabledException"),
        ("ThrottlingException", 400, "Throttling"),
        ("InternalFailure", 500, "InternalFailure"),
        ("ServiceUnavailable", 503, "ServiceUnavailable"),
    ],
)
def test_sts_answers_with_every_error_on_demand(
    emulator: Emulator, sts: Any, error: str, status: int, code: str
) -> None:
    emulator.fail("AssumeRole", error=error, message="No.")
    assert refusal(lambda: assume(sts, emulator.role_arn("Backup"))) == (status, code, "No.")
    assert (emulator.requests[-1].code, emulator.requests[-1].verdict) == (code, "")
    assert len(emulator.tokens) == 1
    assert assume(sts, emulator.role_arn("Backup"))["Credentials"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"drop": True}, ConnectionClosedError),
        ({"body": "<html>Sign in"}, ResponseParserError),
        ({"cut_body": 300}, ResponseParserError),
        ({"cut_connection": 300}, Exception),
        ({"fields": {"Credentials.Expiration": "soon"}}, ValueError),
        ({"status": 418, "body": "<teapot/>"}, ClientError),
    ],
)
def test_every_other_fault_reaches_sts_too(emulator: Emulator, sts: Any, fault: Any, error: type[Exception]) -> None:
    emulator.fail("AssumeRole", **fault)
    with pytest.raises(error):
        assume(sts, emulator.role_arn("Backup"))
    assert assume(sts, emulator.role_arn("Backup"))["Credentials"]


def test_a_hang_lasts_until_the_client_gives_up(emulator: Emulator, node: Machine, client: Callable[..., Any]) -> None:
    sts = client("sts", emulator, node.request_token().json, read_timeout=0.2)
    emulator.fail("AssumeRole", hang=True)
    with pytest.raises(ReadTimeoutError):
        assume(sts, emulator.role_arn("Backup"))


def test_a_member_of_a_member_can_be_changed_or_left_out(emulator: Emulator, sts: Any) -> None:
    emulator.fail(
        "AssumeRole", fields={"Credentials.AccessKeyId": "x", "A.b": 1}, remove=("Credentials.SessionToken", "B")
    )
    answer = assume(sts, emulator.role_arn("Backup"))
    assert set(answer["Credentials"]) == {"AccessKeyId", "SecretAccessKey", "Expiration"}
    assert (answer["Credentials"]["AccessKeyId"], "AssumedRoleUser" in answer) == ("x", True)
