"""The CloudTrail queries, run on a few records of the shape that CloudTrail writes."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import PACKAGING, TOOLS
from tests.packages.conftest import left_out

QUERIES = PACKAGING / "aws" / "cloudtrail.sql"
SCRIPT = Path(__file__).parent / "cloudtrail_queries.py"
NODE, QUIET, STOLEN = "mi-0123456789abcdef0", "mi-0123456789abcdef1", "mi-0123456789abcdef2"
HOME, ELSEWHERE = "192.0.2.10", "203.0.113.9"
NOW = datetime.now(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FULL_HOUR = NOW.replace(minute=0, second=0, microsecond=0) - HOUR  # so that two minutes are in the same hour
DENIED = "User: ... is not authorized to perform: s3:PutObject with an explicit deny in an identity-based policy"
Records = list[dict[str, Any]]


def record(who: Mapping[str, Any], name: str, at: datetime, address: str = HOME, **more: Any) -> dict[str, Any]:
    service, _, action = name.partition(":")
    return {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": "123456789012", **who},
        "eventTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": action,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": address,
        "userAgent": "Boto3/1.40",
        **more,
    }


def session(name: str, role: str = "RackServer") -> dict[str, Any]:
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE:{name}",
        "arn": f"arn:aws:sts::123456789012:assumed-role/{role}/{name}",
    }


OPERATOR = {
    "type": "IAMUser",
    "principalId": "AIDAEXAMPLE",
    "arn": "arn:aws:iam::123456789012:user/operator",
    "userName": "operator",
}
SERVICE = {"type": "AWSService", "invokedBy": "ssm.amazonaws.com"}
PERSON = session("alice", "Admin")

RECORDS = [
    record(session(NODE), "sts:AssumeRole", FULL_HOUR, requestParameters={"roleSessionName": NODE}),
    record(session(NODE, "Backup"), "s3:PutObject", FULL_HOUR + timedelta(minutes=5)),
    record(session(NODE), "sts:AssumeRole", NOW - 2 * DAY),
    record(session(NODE), "sts:AssumeRole", NOW - HOUR * 1.5, "ssm.amazonaws.com"),  # on its behalf
    record(session(QUIET), "sts:AssumeRole", NOW - 9 * DAY),
    record(session(STOLEN), "s3:GetObject", FULL_HOUR + timedelta(minutes=1)),
    record(
        *(session(STOLEN), "s3:PutObject", FULL_HOUR + timedelta(minutes=2), ELSEWHERE),
        errorCode="AccessDenied",
        errorMessage=DENIED,
    ),
    record(session(STOLEN), "s3:ListBuckets", FULL_HOUR, errorCode="AccessDenied", errorMessage="no policy allows it"),
    record(PERSON, "s3:ListBuckets", NOW - HOUR, ELSEWHERE, errorCode="AccessDenied", errorMessage=DENIED),
    record(OPERATOR, "ssm:CreateActivation", NOW - 3 * DAY, requestParameters={"iamRole": "RackServer"}),
    record(SERVICE, "sts:AssumeRole", NOW - HOUR, "ssm.amazonaws.com"),
    record(OPERATOR, "ssm:DeregisterManagedInstance", NOW - HOUR, requestParameters={"instanceId": QUIET}),
]


@pytest.fixture(scope="module")
def rows() -> list[Records]:
    """The rows of each query."""
    if not (python := TOOLS / "python").exists():
        left_out("`make check` installs DuckDB")
    command = [python, SCRIPT, QUERIES]
    done = subprocess.run(command, input=json.dumps(RECORDS), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[Records] = json.loads(done.stdout)
    assert len(found) == 5
    return found


def test_every_call_of_one_node_in_the_last_day_is_found_under_each_of_its_roles(rows: list[Records]) -> None:
    arns = {one["arn"] for one in rows[0]}
    assert arns == {f"arn:aws:sts::123456789012:assumed-role/{role}/{NODE}" for role in ("RackServer", "Backup")}
    assert sorted(one["eventname"] for one in rows[0]) == ["AssumeRole", "AssumeRole", "PutObject"]


def test_nodes_are_listed_by_their_last_call_and_the_silent_are_marked(rows: list[Records]) -> None:
    assert rows[1][0]["node_id"] == QUIET
    assert {one["node_id"]: one["silent"] for one in rows[1]} == {QUIET: True, NODE: False, STOLEN: False}


def test_a_node_with_several_addresses_in_an_hour_is_found(rows: list[Records]) -> None:
    (only,) = rows[2]
    assert (only["node_id"], sorted(only["addresses"])) == (STOLEN, [HOME, ELSEWHERE])


def test_calls_that_the_deny_refused_are_found_and_no_other_refusal(rows: list[Records]) -> None:
    (only,) = rows[3]
    assert (only["node_id"], only["sourceipaddress"], only["eventname"]) == (STOLEN, ELSEWHERE, "PutObject")


def test_who_created_activations_and_deregistered_nodes_is_found(rows: list[Records]) -> None:
    names = [(one["eventname"], one["arn"]) for one in rows[4]]
    assert names == [(name, OPERATOR["arn"]) for name in ("DeregisterManagedInstance", "CreateActivation")]
    assert QUIET in rows[4][0]["requestparameters"]
