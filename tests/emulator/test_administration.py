"""Activations and managed nodes as an administrator sees them through boto3."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.emulator.conftest import VECTORS, Answer, Machine, unsigned

from rolekeeper.emulator import Emulator
from rolekeeper.emulator.account import Node, new_account
from rolekeeper.emulator.administration import describe_nodes
from rolekeeper.emulator.calls import Call, Caller

UNKNOWN_NODE = "mi-0123456789abcdef0"
UNKNOWN_ACTIVATION = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def ssm(emulator: Emulator, client: Callable[..., Any]) -> Any:
    return client("ssm", emulator)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        act()
    return str(caught.value.response["Error"]["Code"])


def auth_of(machine: Machine, token: Any = None) -> SigV4Auth:
    """botocore's ordinary signer: with a token, or with the administrator's key."""
    admin = machine.emulator.admin
    keys = (
        Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
        if token
        else Credentials(admin.access_key_id, admin.secret_access_key)
    )
    return SigV4Auth(keys, "ssm", machine.emulator.region)


def report(machine: Machine, auth: SigV4Auth | None = None, **changes: str | None) -> Answer:
    """Send the shortest report of SSM Agent with some of it changed or (None) left out; boto3 knows no such call."""
    facts = {"AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "PlatformType": "Linux"}
    document = {"InstanceId": machine.node_id, **facts, **changes}
    sent = {name: value for name, value in document.items() if value is not None}
    auth = auth or auth_of(machine, machine.request_token().json)
    return machine.call("UpdateInstanceInformation", sent, auth)


def administer(machine: Machine, operation: str, document: dict[str, Any]) -> Answer:
    """What boto3 would not send, signed with the administrator's key."""
    return machine.call(operation, document, auth_of(machine))


def listed(ssm: Any, **options: Any) -> list[str]:
    return [node["InstanceId"] for node in ssm.describe_instance_information(**options)["InstanceInformationList"]]


def test_an_activation_needs_a_role_and_nothing_else(emulator: Emulator, ssm: Any) -> None:
    made = ssm.create_activation(IamRole="service-role/Web")
    (listed,) = ssm.describe_activations()["ActivationList"]
    assert len(made["ActivationCode"]) == 20
    assert listed["ActivationId"] == made["ActivationId"]
    assert (listed["IamRole"], listed["RegistrationLimit"], listed["RegistrationsCount"]) == ("service-role/Web", 1, 0)
    assert listed["ExpirationDate"] - listed["CreatedDate"] == timedelta(hours=24)
    assert listed["Expired"] is False
    assert "ActivationCode" not in listed
    assert emulator.activations[made["ActivationId"]].code == made["ActivationCode"]


def test_everything_that_an_activation_was_given_is_listed(ssm: Any) -> None:
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=29)
    tags = [{"Key": "team", "Value": "web"}]
    given = {"DefaultInstanceName": "web", "Description": "Web servers", "RegistrationLimit": 1000, "Tags": tags}
    ssm.create_activation(IamRole="Web", ExpirationDate=expires_at, **given)
    (listed,) = ssm.describe_activations()["ActivationList"]
    assert {name: listed[name] for name in given} == given
    assert listed["ExpirationDate"] == expires_at


def test_an_activation_counts_its_nodes_and_expires(emulator: Emulator, ssm: Any, machine: Machine) -> None:
    machine.register(emulator.create_activation(lifetime=timedelta(minutes=4)))
    emulator.offset = timedelta(minutes=4, seconds=1)
    (listed,) = ssm.describe_activations()["ActivationList"]
    assert (listed["RegistrationsCount"], listed["Expired"]) == (1, True)


@pytest.mark.parametrize("ahead", [timedelta(days=31), timedelta(seconds=-5)])
def test_an_activation_expires_within_thirty_days(ssm: Any, ahead: timedelta) -> None:
    assert code_of(lambda: ssm.create_activation(IamRole="Web", ExpirationDate=datetime.now(UTC) + ahead)) == (
        "InvalidParameters"
    )


@pytest.mark.parametrize(
    ("document", "constraint"),
    [
        ({}, "Value null at 'iamRole'"),
        ({"IamRole": "x" * 65}, "Member must have length less than or equal to 64"),
        ({"IamRole": "arn:aws:iam::123456789012:role/Web"}, "Member must satisfy regular expression pattern"),
        ({"IamRole": "Web\n"}, "Member must satisfy regular expression pattern"),
        ({"IamRole": "Web", "RegistrationLimit": 0}, "Member must have value greater than or equal to 1"),
        ({"IamRole": "Web", "RegistrationLimit": 1001}, "Member must have value less than or equal to 1000"),
        ({"IamRole": "Web", "Tags": [{"Key": "", "Value": "x"}]}, "Value '' at 'tags.1.member.key'"),
        ({"IamRole": "Web", "Tags": [{"Key": "x"}]}, "Value null at 'tags.1.member.value'"),
        ({"IamRole": "Web", "Tags": [{"Key": "a", "Value": "b"}] * 1001}, "length less than or equal to 1000"),
        ({"IamRole": "Web", "Description": "x" * 257}, "length less than or equal to 256"),
        ({"IamRole": "Web", "DefaultInstanceName": "a;b"}, r"pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"),
    ],
)
def test_a_constraint_that_is_not_met_is_named(machine: Machine, document: dict[str, Any], constraint: str) -> None:
    answer = administer(machine, "CreateActivation", document)
    assert (answer.status, answer.code) == (400, "ValidationException")
    assert constraint in answer.message


def test_all_constraints_that_are_not_met_are_named_at_once(machine: Machine) -> None:
    answer = administer(machine, "CreateActivation", {"IamRole": "", "RegistrationLimit": 0})
    assert answer.message.startswith("3 validation errors detected: Value '' at 'iamRole'")


@pytest.mark.parametrize("value", ["tomorrow", True, 1e300, float("nan"), [1]])
def test_an_expiration_that_is_no_time_is_a_serialization_error(machine: Machine, value: object) -> None:
    answer = administer(machine, "CreateActivation", {"IamRole": "Web", "ExpirationDate": value})
    assert answer.code == "SerializationException"


def test_members_that_it_does_not_know_are_let_through(machine: Machine) -> None:
    document = {"IamRole": "Web", "RegistrationMetadata": [{"Key": "a", "Value": "b"}]}
    assert administer(machine, "CreateActivation", document).status == 200


def test_letters_of_any_language_are_letters(ssm: Any) -> None:
    ssm.create_activation(IamRole="Web", DefaultInstanceName="Bücherei 図書館")
    assert ssm.describe_activations()["ActivationList"][0]["DefaultInstanceName"] == "Bücherei 図書館"


def test_a_deleted_activation_registers_no_node_and_its_nodes_stay(
    emulator: Emulator, ssm: Any, machine: Machine
) -> None:
    activation = emulator.create_activation(limit=2)
    machine.register(activation)
    ssm.delete_activation(ActivationId=activation.activation_id)
    answer = unsigned(emulator, "RegisterManagedInstance", machine.registration(activation))
    assert answer.code == "InvalidActivation"
    assert machine.request_token().status == 200
    assert ssm.describe_activations()["ActivationList"] == []


def test_an_activation_that_does_not_exist_cannot_be_deleted(ssm: Any) -> None:
    assert code_of(lambda: ssm.delete_activation(ActivationId=UNKNOWN_ACTIVATION)) == "InvalidActivationId"


def test_a_node_that_never_reported_has_lost_its_connection(ssm: Any, node: Machine) -> None:
    (facts,) = ssm.describe_instance_information()["InstanceInformationList"]
    assert (facts["InstanceId"], facts["PingStatus"]) == (node.node_id, "ConnectionLost")
    assert (facts["IamRole"], facts["ResourceType"]) == ("Web", "ManagedInstance")
    assert facts["ActivationId"] == node.emulator.nodes[node.node_id].activation_id
    assert "LastPingDateTime" not in facts


def test_both_reports_of_ssm_agent_make_a_node_online_and_the_short_one_keeps_what_the_long_one_said(
    ssm: Any, node: Machine
) -> None:
    auth = auth_of(node, node.request_token().json)
    recorded = json.loads((VECTORS / "update-instance-information-requests.json").read_text())
    short, long = (json.loads(vector["body"]) | {"InstanceId": node.node_id} for vector in recorded[:2])
    assert (len(short), len(long)) == (4, 12)
    for document in (short, long, short):
        answer = node.call("UpdateInstanceInformation", document, auth)
        assert (answer.status, answer.json) == (200, {})
    (facts,) = ssm.describe_instance_information()["InstanceInformationList"]
    assert facts["PingStatus"] == "Online"
    shown = ("AgentVersion", "ComputerName", "IPAddress", "PlatformName", "PlatformType", "PlatformVersion")
    assert {name: facts[name] for name in shown} == {name: long[name] for name in shown}
    assert facts["LastPingDateTime"] >= facts["RegistrationDate"]


def test_a_report_needs_nothing_but_the_instance_id(emulator: Emulator, node: Machine) -> None:
    answer = report(node, AgentName=None, AgentVersion=None, PlatformType=None)
    assert answer.status == 200
    assert emulator.nodes[node.node_id].last_seen_at is not None


@pytest.mark.parametrize(
    ("silence", "status"),
    [(timedelta(minutes=9), "Online"), (timedelta(minutes=10), "ConnectionLost"), (None, "ConnectionLost")],
)
def test_a_node_is_online_for_ten_minutes_after_a_report(silence: timedelta | None, status: str) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    node = Node(UNKNOWN_NODE, UNKNOWN_ACTIVATION, "Web", "", "", now, last_seen_at=silence and now - silence)
    account = new_account("123456789012", "us-east-1").with_node(node)
    (facts,) = describe_nodes(account, Call({}, Caller("AKIA"), now, timedelta(hours=1)))[1]["InstanceInformationList"]
    assert facts["PingStatus"] == status


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("InstanceIds", None),
        ("IamRole", ["Web"]),
        ("PlatformTypes", ["Linux", "Windows"]),
        ("PingStatus", ["Online"]),
    ],
)
def test_nodes_are_filtered(
    emulator: Emulator,
    ssm: Any,
    machine: Machine,
    keys: tuple[RSAPrivateKey, ...],
    key: str,
    values: list[str] | None,
) -> None:
    machine.register()
    assert report(machine).status == 200
    Machine(emulator, keys[1]).register(emulator.create_activation(role="Other"))
    assert listed(ssm, Filters=[{"Key": key, "Values": values or [machine.node_id]}]) == [machine.node_id]


def test_a_filter_key_that_it_does_not_know_is_refused(ssm: Any, node: Machine) -> None:
    assert code_of(lambda: listed(ssm, Filters=[{"Key": "Colour", "Values": [node.node_id]}])) == "InvalidFilterKey"


def test_a_filter_without_values_is_refused(machine: Machine) -> None:
    answer = administer(machine, "DescribeInstanceInformation", {"Filters": [{"Key": "IamRole", "Values": []}]})
    assert "'filters.1.member.values' failed to satisfy constraint: Member must have length greater" in answer.message


def test_a_deregistered_node_is_gone_but_its_token_works_until_it_expires(
    emulator: Emulator, ssm: Any, node: Machine, client: Callable[..., Any]
) -> None:
    token = node.request_token().json
    ssm.deregister_managed_instance(InstanceId=node.node_id)
    assert listed(ssm) == []
    assert node.request_token().code == "InvalidInstanceId"
    assert node.node_id in client("sts", emulator, token).get_caller_identity()["Arn"]


@pytest.mark.parametrize("operation", ["UpdateInstanceInformation", "DeregisterManagedInstance"])
def test_a_node_reports_and_deregisters_itself_only(
    emulator: Emulator, node: Machine, keys: tuple[RSAPrivateKey, ...], operation: str
) -> None:
    other = Machine(emulator, keys[1]).register()
    auth = auth_of(node, node.request_token().json)
    answer = node.call(operation, {"InstanceId": other.node_id}, auth)
    assert (answer.status, answer.code) == (400, "AccessDeniedException")
    assert f"ssm:{operation} on resource: arn:aws:ssm:us-east-1:123456789012:managed-instance/" in answer.message
    assert node.call(operation, {"InstanceId": node.node_id}, auth).status == 200
    assert other.node_id in emulator.nodes


def test_a_session_of_another_role_does_not_act_for_the_node_whose_name_it_bears(
    emulator: Emulator, node: Machine, client: Callable[..., Any]
) -> None:
    sts = client("sts", emulator, node.request_token().json)
    session = sts.assume_role(RoleArn=emulator.role_arn("Backup"), RoleSessionName=node.node_id)["Credentials"]
    ssm = client("ssm", emulator, session)
    assert code_of(lambda: ssm.deregister_managed_instance(InstanceId=node.node_id)) == "AccessDeniedException"
    assert report(node, auth_of(node, session)).code == "AccessDeniedException"


def test_a_node_that_does_not_exist_cannot_be_deregistered(ssm: Any) -> None:
    with pytest.raises(ClientError, match=f"InvalidInstanceId.*Not existing InstanceId {UNKNOWN_NODE}"):
        ssm.deregister_managed_instance(InstanceId=UNKNOWN_NODE)


def test_lists_that_it_cannot_filter_are_refused_rather_than_wrong(ssm: Any) -> None:
    one, other = [{"FilterKey": "IamRole", "FilterValues": ["x"]}], [{"key": "IamRole", "valueSet": ["x"]}]
    assert code_of(lambda: ssm.describe_activations(Filters=one)) == "ValidationException"
    assert code_of(lambda: listed(ssm, InstanceInformationFilterList=other)) == "ValidationException"


@pytest.mark.parametrize(
    ("member", "value", "constraint"),
    [
        ("InstanceId", None, "must not be null"),
        ("AgentName", "", "have length greater than or equal to 1"),
        ("AgentStatus", "1" * 256, "have length less than or equal to 255"),
        ("AgentVersion", "abc", "satisfy regular expression pattern"),
        ("AgentVersion", "3.3", "satisfy regular expression pattern"),
        ("ComputerName", "", "have length greater than or equal to 1"),
        ("IPAddress", "", "have length greater than or equal to 1"),
        ("IPAddress", "1" * 47, "have length less than or equal to 46"),
        ("PlatformType", "BeOS", "satisfy enum value set: [Windows, Linux, MacOS]"),
        ("PlatformVersion", "1" * 256, "have length less than or equal to 255"),
    ],
)
def test_a_report_that_ssm_agent_would_not_send_is_refused(
    emulator: Emulator, node: Machine, member: str, value: str | None, constraint: str
) -> None:
    answer = report(node, **{member: value})
    assert (answer.status, answer.code) == (400, "ValidationException")
    assert answer.message.startswith("1 validation error detected: Value ")
    assert f"at '{member[0].lower()}{member[1:]}' failed" in answer.message
    assert constraint in answer.message
    assert emulator.nodes[node.node_id].last_seen_at is None
