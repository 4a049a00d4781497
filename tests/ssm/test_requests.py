"""What goes out: where to, how often, signed or not, and with which headers."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from tests.ssm.conftest import NOON, Reply, ScriptedService, error_reply, service_headers, ssm_client, token_reply

from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key
from rolekeeper.errors import ServiceError, ServiceRefusedError
from rolekeeper.model import Registration

CODE = "AAAAAAAAAABBBBBBBBBB"
ACTIVATION = "12345678-1234-1234-1234-123456789012"
FINGERPRINT = "9241fa42-e110-472a-b0ec-39d185eb63cf"


def test_registration_is_unsigned_and_tells_the_public_key(service: Any, node: Registration) -> None:
    service.says(Reply(200, b'{"InstanceId": "mi-0123456789abcdef0"}', service_headers()))
    assert (
        ssm_client(service.url).register("eu-central-1", ACTIVATION, CODE, FINGERPRINT, node.key)
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


def test_a_token_request_is_signed_by_the_node_and_has_no_header_too_many(service: Any, node: Registration) -> None:
    service.says(token_reply())
    ssm_client(service.url).request_role_token(node, FINGERPRINT)
    (request,) = service.requests
    assert request.target == "/"
    assert request.headers["x-amz-target"] == "AmazonSSM.RequestManagedInstanceRoleToken"
    assert request.parameters == {"Fingerprint": FINGERPRINT}
    assert set(request.headers) == {
        *("host", "content-type", "x-amz-target", "x-amz-date", "authorization"),
        *("content-length", "accept-encoding", "user-agent", "connection"),
    }
    assert request.headers["user-agent"] == "rolekeeper/1.2.3"
    assert f"Credential={node.node_id}/20261123/us-east-1/ssm/aws4_request, " in request.headers["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-target, " in request.headers["authorization"]
    assert len(base64.b64decode(request.headers["authorization"].partition("Signature=")[2], validate=True)) == 256


def test_a_new_public_key_is_signed_with_the_current_key(service: Any, node: Registration) -> None:
    new_key = RsaKeyMaker().new_key(NOON)
    service.says(Reply(200, b"{}", service_headers()))
    ssm_client(service.url).update_public_key(node, new_key)
    (request,) = service.requests
    assert request.headers["x-amz-target"] == "AmazonSSM.UpdateManagedInstancePublicKey"
    assert request.parameters == {"NewPublicKey": public_key(new_key), "NewPublicKeyType": "Rsa"}


@pytest.mark.parametrize(
    "trouble",
    [*({"status": status} for status in (302, 429, 500, 503)), {"drop": True}, {"hang": True}, {"body": b"<html>"}],
)
def test_whatever_goes_wrong_one_call_is_one_request(trouble: dict[str, Any], service: Any, node: Registration) -> None:
    service.says(Reply(**trouble))
    with pytest.raises(ServiceError):
        ssm_client(service.url, read_timeout=timedelta(seconds=0.2)).request_role_token(node, FINGERPRINT)
    assert len(service.requests) == 1


def test_a_redirect_is_not_followed(service: Any, node: Registration) -> None:
    elsewhere = ScriptedService()
    service.says(Reply(307, b"", {"Location": f"{elsewhere.url}/"}))
    with pytest.raises(ServiceError) as caught:
        ssm_client(service.url).request_role_token(node, FINGERPRINT)
    elsewhere.stop()
    assert caught.value.code == "unusable-answer"
    assert elsewhere.requests == []


def test_two_calls_sign_twice(service: Any, node: Registration) -> None:
    service.says(token_reply())
    client = ssm_client(service.url)
    for _ in range(2):
        client.request_role_token(node, FINGERPRINT)
    first, second = (request.headers["authorization"] for request in service.requests)
    assert first != second


def test_a_path_in_the_endpoint_url_is_kept_and_signed(service: Any, node: Registration) -> None:
    service.says(token_reply())
    for path in ("", "/", "/behind/a/proxy"):
        ssm_client(f"{service.url}{path}").request_role_token(node, FINGERPRINT)
    assert [request.target for request in service.requests] == ["/", "/", "/behind/a/proxy"]


def test_a_node_of_another_region_than_the_services_is_not_said_to_have_another_key(
    service: Any, node: Registration
) -> None:
    """AWS's words, with and without the service's region, and a signer's of S3's kind."""
    for words, named in (
        ("Credential should be scoped to a valid region, not 'us-east-1'. ", "of another region"),
        ("Credential should be scoped to a valid region. ", "of another region"),
        ("Credential should be scoped to correct region: eu-west-1. ", "of eu-west-1"),
        (
            "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
            "of eu-west-1",
        ),
    ):
        service.says(error_reply("InvalidSignatureException", words))
        with pytest.raises(ServiceRefusedError) as caught:
            ssm_client(service.url).request_role_token(node, FINGERPRINT)
        assert caught.value.code == "region-mismatch"
        assert type(caught.value) is ServiceRefusedError  # so no other key is tried
        assert f"the node's region is us-east-1, and the endpoint is {named}" in caught.value.message
        assert caught.value.request_id


def test_a_defect_of_our_own_comes_out_as_it_is(
    service: Any, node: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a defect raises, planted where the answer is taken apart, is no failure of the network and no bad answer."""
    service.says(token_reply())
    for defect in (AttributeError, KeyError, TypeError, ValueError, RuntimeError):

        def broken(*_: Any, defect: type[Exception] = defect, **__: Any) -> None:
            raise defect("a defect")

        monkeypatch.setattr("rolekeeper.adapters.ssm.http.Answer", broken)
        with pytest.raises(defect, match="a defect"):
            ssm_client(service.url).request_role_token(node, FINGERPRINT)
