"""What SSM Agent requests besides the hybrid operations, and what a role without the permissions gets."""

import json

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.emulator.conftest import Answer, Machine, exchange

from rolekeeper.emulator import Emulator

JSON = "application/x-amz-json-1.1"
# The operation as recorded, the service that the request is signed for, its path and its X-Amz-Target.
REQUESTS = [
    ("ListAssociations", "ssm", "/", "AmazonSSM.ListAssociations"),
    ("ListInstanceAssociations", "ssm", "/", "AmazonSSM.ListInstanceAssociations"),
    ("GetMessages", "ec2messages", "/", "EC2WindowsMessageDeliveryService.GetMessages"),
    ("SendReply", "ec2messages", "/", "EC2WindowsMessageDeliveryService.SendReply"),
    ("CreateControlChannel", "ssmmessages", "/v1/control-channel/mi-0123456789abcdef0", None),
    ("CreateDataChannel", "ssmmessages", "/v1/data-channel/session-1", None),
]


@pytest.fixture
def role(node: Machine) -> Credentials:
    token = node.request_token().json
    return Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])


def send(emulator: Emulator, auth: SigV4Auth | None, path: str, target: str | None, method: str = "POST") -> Answer:
    headers = {"Content-Type": JSON} | ({"X-Amz-Target": target} if target else {})
    request = AWSRequest(method, f"{emulator.url}{path}", headers, json.dumps({"RequestId": "x"}).encode())
    if auth:
        auth.add_auth(request)
    return exchange(emulator.url, dict(request.headers), request.data, method, path)


@pytest.mark.parametrize(("operation", "service", "path", "target"), REQUESTS)
def test_a_role_is_denied_in_the_services_own_form_and_the_request_is_recorded_by_name(
    emulator: Emulator, node: Machine, role: Credentials, operation: str, service: str, path: str, target: str | None
) -> None:
    answer = send(emulator, SigV4Auth(role, service, "us-east-1"), path, target)
    text = (
        f"User: arn:aws:sts::123456789012:assumed-role/Web/{node.node_id} is not authorized to perform: "
        f"{service}:{operation} on resource: arn:aws:{service}:us-east-1:123456789012:* "
        f"because no identity-based policy allows the {service}:{operation} action"
    )
    if target:
        assert (answer.code, answer.message) == ("AccessDeniedException", text)
    else:
        assert (
            answer.body.decode() == f"<AccessDeniedException>\n  <Message>{text}</Message>\n</AccessDeniedException>\n"
        )
        assert answer.headers["content-type"] == "text/xml"
    (request,) = emulator.wait_for(operation)
    assert (request.node_id, request.code, request.status) == (node.node_id, "AccessDeniedException", 400)


@pytest.mark.parametrize(("operation", "service", "path", "target"), REQUESTS)
def test_a_wrong_signature_is_refused_before_the_permission_is_looked_at(
    emulator: Emulator, role: Credentials, operation: str, service: str, path: str, target: str | None
) -> None:
    wrong: list[SigV4Auth | None] = [SigV4Auth(role, "s3", "us-east-1"), SigV4Auth(role, service, "eu-west-1"), None]
    for auth in wrong:
        send(emulator, auth, path, target)
    codes = [request.code for request in emulator.wait_for(operation, 3)]
    assert codes == [*["InvalidSignatureException"] * 2, "MissingAuthenticationTokenException"]


def test_it_can_fail_in_other_ways_on_demand(emulator: Emulator, role: Credentials) -> None:
    emulator.fail("CreateControlChannel", error="InternalServerError", message="<later>")
    answer = send(emulator, SigV4Auth(role, "ssmmessages", "us-east-1"), "/v1/control-channel/x", None)
    assert answer.status == 500
    assert b"<InternalServerError>\n  <Message>&lt;later&gt;</Message>" in answer.body
    emulator.fail("GetMessages", error="ThrottlingException")
    assert (
        send(emulator, SigV4Auth(role, "ec2messages", "us-east-1"), "/", REQUESTS[2][3]).code == "ThrottlingException"
    )


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/control-channel/x"), ("POST", "/v1/control-channel/"), ("POST", "/v2/x")]
)
def test_another_method_or_path_is_no_operation(emulator: Emulator, role: Credentials, method: str, path: str) -> None:
    assert send(emulator, SigV4Auth(role, "ssmmessages", "us-east-1"), path, None, method).status == 404
