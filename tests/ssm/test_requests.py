"""What goes out: where to, how often, signed or not, and with which headers."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.httpsession import URLLib3Session

from rolekeeper.adapters.ssm.client import ModelLoader, NodeCredentials, new_client
from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key
from rolekeeper.errors import RolekeeperError, ServiceError, ServiceRefusedError
from rolekeeper.model import Registration

CODE = "AAAAAAAAAABBBBBBBBBB"
ACTIVATION = "12345678-1234-1234-1234-123456789012"
FINGERPRINT = "9241fa42-e110-472a-b0ec-39d185eb63cf"

# Partition by partition: plain, FIPS, dual stack; None where the region has no such endpoint.
ENDPOINTS = {
    "us-east-1": ("ssm.us-east-1.amazonaws.com", "ssm-fips.us-east-1.amazonaws.com", "ssm.us-east-1.api.aws"),
    "cn-north-1": (
        "ssm.cn-north-1.amazonaws.com.cn",
        "ssm-fips.cn-north-1.amazonaws.com.cn",
        "ssm.cn-north-1.api.amazonwebservices.com.cn",
    ),
    "us-gov-west-1": (
        "ssm.us-gov-west-1.amazonaws.com",
        "ssm.us-gov-west-1.amazonaws.com",
        "ssm.us-gov-west-1.api.aws",
    ),
    "us-iso-east-1": (
        "ssm.us-iso-east-1.c2s.ic.gov",
        "ssm-fips.us-iso-east-1.c2s.ic.gov",
        "ssm.us-iso-east-1.api.aws.ic.gov",
    ),
    "us-isob-east-1": (
        "ssm.us-isob-east-1.sc2s.sgov.gov",
        "ssm-fips.us-isob-east-1.sc2s.sgov.gov",
        "ssm.us-isob-east-1.api.aws.scloud",
    ),
    "us-isof-south-1": ("ssm.us-isof-south-1.csp.hci.ic.gov", "ssm-fips.us-isof-south-1.csp.hci.ic.gov", None),
    "eu-isoe-west-1": ("ssm.eu-isoe-west-1.cloud.adc-e.uk", "ssm-fips.eu-isoe-west-1.cloud.adc-e.uk", None),
    "eusc-de-east-1": (
        "ssm.eusc-de-east-1.amazonaws.eu",
        "ssm-fips.eusc-de-east-1.amazonaws.eu",
        "ssm.eusc-de-east-1.api.amazonwebservices.eu",
    ),
    "mars-north-7": (
        "ssm.mars-north-7.amazonaws.com",
        "ssm-fips.mars-north-7.amazonaws.com",
        "ssm.mars-north-7.api.aws",
    ),
}
CASES = [
    (region, variant, host)
    for region, hosts in ENDPOINTS.items()
    for variant, host in zip(({}, {"fips": True}, {"dual_stack": True}), hosts, strict=True)
]


class Stop(Exception):  # noqa: N818 - it is no error
    """The request got as far as it should."""


def resolved(kit: Any, region: str, node: Registration, **variant: bool) -> AWSPreparedRequest:
    """The request that a client would send, caught before it leaves."""
    caught: list[AWSPreparedRequest] = []

    def send(request: AWSPreparedRequest, **_: Any) -> None:
        caught.append(request)
        raise Stop

    credentials = NodeCredentials(node.node_id, node.key, lambda: kit.noon)
    client = new_client(ModelLoader(), region, kit.settings(None, **variant), "1.2.3", credentials, send)
    with pytest.raises(Stop):
        client.request_managed_instance_role_token(Fingerprint=FINGERPRINT)
    return caught[0]


@pytest.mark.parametrize(("region", "variant", "host"), [case for case in CASES if case[2]])
def test_every_partition_has_the_endpoint_that_botocore_knows(
    region: str, variant: dict[str, bool], host: str, kit: Any, node: Registration
) -> None:
    request = resolved(kit, region, node, **variant)
    assert request.url == f"https://{host}/"
    assert f"/20261123/{region}/ssm/aws4_request, " in request.headers["Authorization"].decode()


@pytest.mark.parametrize(("region", "variant"), [case[:2] for case in CASES if not case[2]])
def test_an_endpoint_that_a_partition_lacks_is_refused_with_the_key_to_change(
    region: str, variant: dict[str, bool], kit: Any, node: Registration
) -> None:
    elsewhere = Registration(node.node_id, region, node.key)
    with pytest.raises(ServiceRefusedError) as caught:
        kit.client(None, **variant).request_role_token(elsewhere, FINGERPRINT)
    assert caught.value.code == "endpoint-not-available"
    assert "service.dual_stack" in caught.value.hint


@pytest.mark.parametrize(
    "region",
    [
        "",
        "us east 1",
        "us-east",
        "US-EAST-1",
        "us-east-1/",
        "evil.example",
        "us-east-1\n",
        "fips-us-east-1",
        "aws-global",
    ],
)
def test_what_is_no_region_is_refused_before_anything_is_sent(region: str, service: Any, kit: Any) -> None:
    key = RsaKeyMaker().new_key(kit.noon)
    with pytest.raises(ServiceRefusedError) as caught:
        kit.client(service.url).register(region, ACTIVATION, CODE, FINGERPRINT, key)
    assert caught.value.code == "region-unknown"
    assert service.requests == []


@pytest.mark.parametrize("url", ["nonsense", "http://", "https://a b/", ""])
def test_an_endpoint_that_is_no_url_is_named_by_its_key(url: str, kit: Any, node: Registration) -> None:
    with pytest.raises(RolekeeperError, match=r"service\.endpoint_url") as caught:
        kit.client(url).request_role_token(node, FINGERPRINT)
    assert caught.value.code == "endpoint-not-available"


def test_registration_is_unsigned_and_tells_the_public_key(service: Any, kit: Any, node: Registration) -> None:
    service.says(kit.reply(200, b'{"InstanceId": "mi-0123456789abcdef0"}', kit.headers()))
    assert (
        kit.client(service.url).register("eu-central-1", ACTIVATION, CODE, FINGERPRINT, node.key)
        == "mi-0123456789abcdef0"
    )
    (request,) = service.requests
    assert request.headers["x-amz-target"] == "AmazonSSM.RegisterManagedInstance"
    assert request.headers["content-type"] == "application/x-amz-json-1.1"
    assert not {"authorization", "x-amz-date", "x-amz-security-token"} & request.headers.keys()
    assert request.parameters == {
        "ActivationCode": CODE,
        "ActivationId": ACTIVATION,
        "Fingerprint": FINGERPRINT,
        "PublicKey": public_key(node.key),
        "PublicKeyType": "Rsa",
    }


def test_a_token_request_is_signed_by_the_node(service: Any, kit: Any, node: Registration) -> None:
    service.says(kit.token_reply())
    kit.client(service.url).request_role_token(node, FINGERPRINT)
    (request,) = service.requests
    assert request.target == "/"
    assert request.headers["x-amz-target"] == "AmazonSSM.RequestManagedInstanceRoleToken"
    assert request.parameters == {"Fingerprint": FINGERPRINT}
    assert f"Credential={node.node_id}/20261123/us-east-1/ssm/aws4_request, " in request.headers["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-target, " in request.headers["authorization"]
    assert len(base64.b64decode(request.headers["authorization"].partition("Signature=")[2], validate=True)) == 256


def test_a_new_public_key_is_signed_with_the_current_key(service: Any, kit: Any, node: Registration) -> None:
    new_key = RsaKeyMaker().new_key(kit.noon)
    service.says(kit.reply(200, b"{}", kit.headers()))
    kit.client(service.url).update_public_key(node, new_key)
    (request,) = service.requests
    assert request.headers["x-amz-target"] == "AmazonSSM.UpdateManagedInstancePublicKey"
    assert request.parameters == {"NewPublicKey": public_key(new_key), "NewPublicKeyType": "Rsa"}


def test_the_user_agent_is_rolekeeper_and_its_version_and_nothing_else(
    service: Any, kit: Any, node: Registration
) -> None:
    service.says(kit.token_reply())
    kit.client(service.url).request_role_token(node, FINGERPRINT)
    assert service.requests[0].headers["user-agent"] == "rolekeeper/1.2.3"


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429},
        {"drop": True},
        {"hang": True},
        {"body": b"<html>"},
        {"status": 302},
    ],
)
def test_whatever_goes_wrong_one_call_is_one_request(
    trouble: dict[str, Any], service: Any, kit: Any, node: Registration
) -> None:
    service.says(kit.reply(**trouble))
    with pytest.raises(ServiceError):
        kit.client(service.url, read_timeout=timedelta(seconds=0.2)).request_role_token(node, FINGERPRINT)
    assert len(service.requests) == 1


def test_a_redirect_is_not_followed(service: Any, kit: Any, node: Registration) -> None:
    elsewhere = kit.service()
    service.says(kit.reply(307, b"", {"Location": f"{elsewhere.url}/"}))
    with pytest.raises(ServiceError) as caught:
        kit.client(service.url).request_role_token(node, FINGERPRINT)
    elsewhere.stop()
    assert caught.value.code == "unusable-answer"
    assert elsewhere.requests == []


def test_two_calls_sign_twice(service: Any, kit: Any, node: Registration) -> None:
    service.says(kit.token_reply())
    client = kit.client(service.url)
    for _ in range(2):
        client.request_role_token(node, FINGERPRINT)
    first, second = (request.headers["authorization"] for request in service.requests)
    assert first != second


def test_nothing_of_the_adapter_is_patched_into_botocore() -> None:
    """The transport is a handler of an event, not a change of the library."""
    assert URLLib3Session.send.__module__ == "botocore.httpsession"
