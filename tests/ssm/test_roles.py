"""AssumeRole: the request, its signature, every answer, and what does not reach it."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.ssm.conftest import NOON, Reply, RunningClock, service_headers, service_settings
from tests.ssm.test_outcomes_table import DOCUMENT, ROW

from rolekeeper.adapters.sts import ROLE_MEANINGS, StsRoles
from rolekeeper.errors import RolekeeperError, RoleRefusedError, ServiceError
from rolekeeper.model import Registration, RoleToken, TokenAnswer
from rolekeeper.settings import Role

PROGRAM = Path(__file__).with_name("assume_once.py")
ROLE = Role("app", "arn:aws:iam::123456789012:role/app")
XMLNS = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'


def answer(expiry: str = "2026-11-23T13:00:00Z", **changes: str) -> Any:
    fields = {"AccessKeyId": "ASIAROLEROLEROLEROLE", "SecretAccessKey": "role+/secret", "SessionToken": "role-token=="}
    texts = {**fields, "Expiration": expiry, **changes}
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in texts.items())
    body = f"<AssumeRoleResponse {XMLNS}><AssumeRoleResult><AssumedRoleUser><Arn>a</Arn></AssumedRoleUser><Credentials>"
    body += f"{inner}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    return Reply(200, body.encode(), service_headers(Content_Type="text/xml"))


def refusal(code: str, message: str = "no", status: int = 400, difference: timedelta = timedelta(0)) -> Any:
    body = f"<ErrorResponse {XMLNS}><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, f"{body}</ErrorResponse>".encode(), service_headers(difference, Content_Type="text/xml"))


def assume(url: str, node: Registration, role: Role = ROLE, clock: Any = None, **changes: Any) -> TokenAnswer:
    settings = service_settings(None, sts_endpoint_url=url, **changes)
    token = RoleToken("ASIANODENODENODENODE", "node-secret", "node-session-token", NOON)
    return StsRoles(settings, clock or RunningClock(), "1.2.3", {}).assume(role, node, token)


def fault(service: Any, node: Registration, reply: Any, role: Role = ROLE) -> Any:
    service.says(reply)
    with pytest.raises(RolekeeperError) as caught:
        assume(service.url, node, role)
    assert caught.value.message.startswith("Cannot assume the role app: ")
    return caught.value


def verified(request: Any, secret: str, region: str) -> dict[str, str]:
    """The parameters of a request, once its signature is that of `secret`."""
    algorithm, _, rest = request.headers["authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    day = request.headers["x-amz-date"][:8]
    scope = f"{day}/{region}/sts/aws4_request"
    assert parts["Credential"] == f"ASIANODENODENODENODE/{scope}"
    lines = [f"{name}:{request.headers[name]}" for name in parts["SignedHeaders"].split(";")]
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join(["POST", "/", "", *lines, "", parts["SignedHeaders"], digest])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), "\n".join([algorithm, request.headers["x-amz-date"], scope, hashed])):
        key = hmac.digest(key, part.encode(), "sha256")
    assert parts["Signature"] == key.hex()
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(parts["SignedHeaders"].split(";"))
    return dict(parse_qsl(request.body.decode()))


def test_a_role_is_assumed_with_the_nodes_token(service: Any, node: Registration) -> None:
    service.says(answer())
    found = assume(service.url, node)
    assert found.token.access_key_id == "ASIAROLEROLEROLEROLE"
    assert (found.token.secret_access_key, found.token.session_token) == ("role+/secret", "role-token==")
    assert found.token.expires_at == NOON + timedelta(hours=1)
    assert found.request_id == service_id()
    (request,) = service.requests
    assert request.headers["x-amz-security-token"] == "node-session-token"
    assert verified(request, "node-secret", "us-east-1") == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE.arn,
        "RoleSessionName": node.node_id,
        "DurationSeconds": "3600",
    }


def service_id() -> str:
    found: str = service_headers()["x-amzn-RequestId"]
    return found


def test_everything_that_a_role_can_name_is_sent(service: Any, node: Registration, tmp_path: Path) -> None:
    """The policy is read at each call, and goes without its blanks."""
    policy = tmp_path / "policy.json"
    role = Role(
        "app", ROLE.arn, "web", "ext", timedelta(minutes=15), str(policy), ("arn:p", "arn:q"), {"team": "x & y"}
    )
    service.says(answer())
    for version in ("a", "b"):
        policy.write_text(json.dumps({"Version": version, "Statement": []}, indent=4))
        assume(service.url, node, role)
    sent = [verified(request, "node-secret", "us-east-1") for request in service.requests]
    assert [one["Policy"] for one in sent] == ['{"Version":"a","Statement":[]}', '{"Version":"b","Statement":[]}']
    assert {name: value for name, value in sent[0].items() if name != "Policy"} == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE.arn,
        "RoleSessionName": "web",
        "ExternalId": "ext",
        "DurationSeconds": "900",
        "PolicyArns.member.1.arn": "arn:p",
        "PolicyArns.member.2.arn": "arn:q",
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "x & y",
    }


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"[" * 50_000])
def test_a_policy_file_that_cannot_be_read_is_named(
    content: bytes | None, service: Any, node: Registration, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.json"
    if content is not None:
        policy.write_bytes(content)
    error = fault(service, node, answer(), Role("app", "arn", policy_file=str(policy)))
    assert type(error) is RoleRefusedError
    assert error.code == "role-policy-unreadable"
    assert str(policy) in error.message
    assert service.requests == []


ROLE_ROWS = ROW.findall(DOCUMENT.split("## Codes of a role")[1].split("\n## ")[0])
OURS = {
    "AccessDenied": "role-refused",
    "MalformedPolicyDocument": "role-policy-refused",
    "PackedPolicyTooLarge": "role-policy-too-large",
    "RegionDisabled": "region-disabled",
    "ExpiredToken": "role-token-expired",
}


def test_every_code_of_a_role_is_documented_and_no_other() -> None:
    assert [row[0] for row in ROLE_ROWS] == list(ROLE_MEANINGS)
    assert all(f"`{code}`" in DOCUMENT for code in [*OURS.values(), "role-policy-unreadable"])


@pytest.mark.parametrize(("code", "outcome"), [row[:2] for row in ROLE_ROWS])
@pytest.mark.parametrize("suffix", ["", "Exception"])
def test_each_code_leads_to_the_documented_outcome(
    code: str, outcome: str, suffix: str, service: Any, node: Registration
) -> None:
    error = fault(service, node, refusal(code + suffix, status=403))
    assert type(error) is {"refused": RoleRefusedError, "failed": ServiceError}[outcome]
    assert error.code == OURS.get(code, code + suffix)
    assert error.message.endswith(f"{code}{suffix}: no")
    assert error.hint
    assert len(service.requests) == 1


def test_a_refused_role_names_trust_policy_and_permission(service: Any, node: Registration) -> None:
    hint = fault(service, node, refusal("AccessDenied", status=403)).hint
    assert "trust policy" in hint
    assert "sts:AssumeRole" in hint


@pytest.mark.parametrize(
    ("reply", "code", "kind"),
    [
        (("Throttling", "slow", 400), "throttled", ServiceError),
        (("ServiceUnavailable", "", 503), "service-failed", ServiceError),
        (("NeverHeardOf", "", 500), "service-failed", ServiceError),
        (("NeverHeardOf", "", 400), "NeverHeardOf", RoleRefusedError),
        (
            ("SignatureDoesNotMatch", "Credential should be scoped to a valid region. ", 403),
            "region-mismatch",
            RoleRefusedError,
        ),
    ],
)
def test_what_sts_says_besides(
    reply: tuple[str, str, int], code: str, kind: type, service: Any, node: Registration
) -> None:
    error = fault(service, node, refusal(*reply))
    assert (type(error), error.code) == (kind, code)


BAD = {
    "HTML": b"<html><body>Please log in</body></html>",
    "nothing": b"",
    "JSON": b"{}",
    "cut": b"<AssumeRoleResponse><AssumeRoleResult>",
    "no result": b"<AssumeRoleResponse/>",
    "an error without a code": b"<ErrorResponse><Error/></ErrorResponse>",
    "an unknown encoding": b"<?xml version='1.0' encoding='x-none'?><AssumeRoleResponse/>",
    "too long": b" " * 1_100_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_is_no_answer_of_sts_is_unusable(body: bytes, service: Any, node: Registration) -> None:
    for status in (200, 302, 403):
        assert fault(service, node, Reply(status, body, service_headers())).code == "unusable-answer"


@pytest.mark.parametrize("field", ["AccessKeyId", "SecretAccessKey", "SessionToken"])
def test_a_malformed_field_is_no_usable_answer(field: str, service: Any, node: Registration) -> None:
    assert field in fault(service, node, answer(**{field: "two words"})).message


@pytest.mark.parametrize("expiry", ["", "soon", "2026-11-23T13:00:00", "2026-11-23T11:00:00Z", "2026-11-30T13:00:00Z"])
def test_an_expiry_that_is_none_past_or_absurd_is_unusable(expiry: str, service: Any, node: Registration) -> None:
    assert fault(service, node, answer(expiry)).code == "unusable-expiry"


def test_no_error_tells_a_secret(service: Any, node: Registration) -> None:
    echo = "ASIANODENODENODENODE node-secret node-session-token"
    assert fault(service, node, refusal("AccessDenied", echo)).message.endswith("AccessDenied: *** *** ***")


def test_a_wrong_clock_is_corrected_once_through_the_date(service: Any, node: Registration) -> None:
    hour = timedelta(hours=1)
    service.says(refusal("SignatureDoesNotMatch", status=403), answer())
    found = assume(service.url, node, clock=RunningClock(wall=NOON - hour))
    first, second = service.requests
    assert (first.headers["x-amz-date"][:11], second.headers["x-amz-date"][:11]) == ("20261123T11", "20261123T12")
    assert abs(found.received_at - NOON) < timedelta(seconds=2)
    service.says(refusal("RequestExpired"))
    with pytest.raises(RoleRefusedError):
        assume(service.url, node, clock=RunningClock(wall=NOON - hour))
    assert len(service.requests) == 4


def run(environment: dict[str, str], **ask: Any) -> tuple[Any, str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps(ask),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_hostile_home_and_environment_change_nothing(hostile: dict[str, str], service: Any) -> None:
    hostile["AWS_ENDPOINT_URL_STS"] = hostile["AWS_ENDPOINT_URL"]
    hostile["AWS_BEARER_TOKEN_STS"] = "evil"
    for models in (Path(hostile["HOME"], ".aws", "models"), Path(hostile["AWS_DATA_PATH"])):
        for kind in ("service-2", "endpoint-rule-set-1"):
            (models / "sts" / "2011-06-15").mkdir(parents=True, exist_ok=True)
            (models / "sts" / "2011-06-15" / f"{kind}.json").write_text("{")
    service.says(refusal("InternalFailure", status=500))
    seen = [run(environment, url=service.url) for environment in ({"PATH": os.environ["PATH"]}, hostile)]
    for printed, logged in seen:
        assert (printed["code"], printed["loaded_before"], logged) == ("service-failed", [], "")
    plain, attacked = service.requests
    for request in (plain, attacked):
        verified(request, "node-secret", "eu-central-1")
    changing = ("x-amz-date", "authorization", "amz-sdk-invocation-id")
    assert {k: v for k, v in attacked.headers.items() if k not in changing} == {
        k: v for k, v in plain.headers.items() if k not in changing
    }
    assert attacked.body == plain.body


def test_the_endpoint_is_the_regions_own_whatever_the_environment_says(hostile: dict[str, str], service: Any) -> None:
    service.says(Reply(403, b""))
    hostile["AWS_STS_REGIONAL_ENDPOINTS"] = "legacy"
    assert run(hostile, proxy_url=service.url)[0]["code"] == "proxy-failed"
    assert [request.target for request in service.requests] == ["sts.eu-central-1.amazonaws.com:443"]


def test_a_deadline_stays_one_within_boto3(service: Any) -> None:
    service.says(Reply(hang=True))
    printed, _ = run({"PATH": os.environ["PATH"]}, url=service.url, give_up=2)
    assert printed["code"] == "deadline"
    assert "attempt_timeout" in printed["hint"]
