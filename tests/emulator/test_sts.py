from collections.abc import Callable
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError
from tests.emulator.conftest import Answer, Machine, exchange

from rolekeeper.emulator import Emulator

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
QUERY = b"Action=GetCallerIdentity&Version=2011-06-15"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        act()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def code_in(answer: Answer) -> str | None:
    return ET.fromstring(answer.body).findtext(f".//{NAMESPACE}Code")  # noqa: S314 - our own service's answer


def test_a_token_shows_the_role_and_the_node_that_it_was_issued_to(
    emulator: Emulator, machine: Machine, client: Callable[..., Any]
) -> None:
    machine.register(emulator.create_activation(role="service-role/Web"))
    identity = client("sts", emulator, machine.request_token().json).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::123456789012:assumed-role/Web/{machine.node_id}"
    assert identity["Account"] == "123456789012"
    assert identity["UserId"].startswith("AROA")
    assert identity["UserId"].endswith(f":{machine.node_id}")


def test_the_administrator_is_a_user(emulator: Emulator, client: Callable[..., Any]) -> None:
    identity = client("sts", emulator).get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::123456789012:user/administrator"
    assert identity["UserId"].startswith("AIDA")


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")]
)
def test_account_and_partition_are_those_that_were_chosen(
    client: Callable[..., Any], region: str, partition: str
) -> None:
    with Emulator(region=region, account_id="999999999999") as emulator:
        identity = client("sts", emulator).get_caller_identity()
    assert identity["Arn"] == f"arn:{partition}:iam::999999999999:user/administrator"


def test_sts_may_be_signed_for_the_global_region_too(client: Callable[..., Any]) -> None:
    with Emulator(region="eu-central-1") as emulator:
        assert client("sts", emulator, region_name="us-east-1").get_caller_identity()["Account"]
        wrong = client("sts", emulator, region_name="eu-west-1")
        assert refusal(wrong.get_caller_identity) == (403, "SignatureDoesNotMatch")


def test_an_expired_token_is_refused(emulator: Emulator, node: Machine, client: Callable[..., Any]) -> None:
    emulator.token_lifetime = timedelta(minutes=3)
    sts = client("sts", emulator, node.request_token().json)
    assert sts.get_caller_identity()["Account"]
    emulator.offset = timedelta(minutes=3)
    assert refusal(sts.get_caller_identity) == (403, "ExpiredToken")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AccessKeyId": "ASIAAAAAAAAAAAAAAAAA"}, "InvalidClientTokenId"),
        ({"SessionToken": "x"}, "InvalidClientTokenId"),
        ({"SecretAccessKey": "x"}, "SignatureDoesNotMatch"),
    ],
)
def test_credentials_that_are_not_the_issued_ones_are_refused(
    emulator: Emulator, node: Machine, client: Callable[..., Any], change: dict[str, str], code: str
) -> None:
    token = {**node.request_token().json, **change}
    assert refusal(client("sts", emulator, token).get_caller_identity) == (403, code)


def test_an_unsigned_question_is_refused(emulator: Emulator) -> None:
    answer = exchange(emulator.url, FORM, QUERY)
    assert (answer.status, code_in(answer)) == (403, "MissingAuthenticationToken")
    assert answer.headers["content-type"] == "text/xml"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", b"Action=GetSessionToken&Version=2011-06-15"),
        ("/foo", QUERY),
        ("/", b"Action=GetCallerIdentity"),
        ("/", b"Action=GetCallerIdentity&Version=2010-01-01"),
    ],
)
def test_another_action_version_or_path_is_refused(emulator: Emulator, path: str, query: bytes) -> None:
    answer = exchange(emulator.url, FORM, query, path=path)
    assert (answer.status, code_in(answer)) == (400, "InvalidAction")


def test_the_request_id_is_in_the_xml_too(emulator: Emulator) -> None:
    answer = exchange(emulator.url, FORM, QUERY)
    assert answer.headers["x-amzn-requestid"].encode() in answer.body


def test_sts_questions_are_recorded_with_the_node_that_they_concern(
    emulator: Emulator, node: Machine, client: Callable[..., Any]
) -> None:
    client("sts", emulator, node.request_token().json).get_caller_identity()
    (record,) = emulator.wait_for("GetCallerIdentity")
    assert (record.node_id, record.status) == (node.node_id, 200)
