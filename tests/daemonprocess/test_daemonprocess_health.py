"""Health reports of a running daemon, as an administrator sees them, and that they are in nobody's way."""

import signal
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import Start, processes, until

from rolekeeper import __version__

REPORT = "UpdateInstanceInformation"
EVERY_FIVE_MINUTES = '[health]\nreport_every = "5min"\n'


@pytest.fixture
def reporting(node: Server) -> Server:
    node.configure(EVERY_FIVE_MINUTES)
    return node


def described(node: Server) -> dict[str, Any]:
    """The node as DescribeInstanceInformation shows it."""
    admin = node.emulator.admin
    client = boto3.client(
        "ssm",
        region_name=node.emulator.region,
        endpoint_url=node.emulator.url,
        aws_access_key_id=admin.access_key_id,
        aws_secret_access_key=admin.secret_access_key,
    )
    filters = [{"Key": "InstanceIds", "Values": [node.node_id]}]
    (found,) = client.describe_instance_information(Filters=filters)["InstanceInformationList"]
    return dict(found)


def reports(node: Server) -> list[Any]:
    return [one for one in node.emulator.requests if one.operation == REPORT]


def test_the_console_shows_the_node_online_with_what_it_is_at_the_cost_of_no_token(
    reporting: Server, start: Start
) -> None:
    assert described(reporting)["PingStatus"] == "ConnectionLost"
    daemon = start(reporting)
    (entry,) = daemon.until_logged("health_reported")
    assert entry["message"] == f"Systems Manager shows {reporting.node_id} as online"
    found = described(reporting)
    assert found["PingStatus"] == "Online"
    assert (found["AgentVersion"], found["PlatformType"]) == (__version__, "Linux")
    assert found["ComputerName"]
    assert (len(reporting.tokens()), len(reports(reporting))) == (1, 1)
    assert daemon.stop() == 0


def test_without_the_setting_nothing_is_reported_and_the_vault_keeps_no_token(node: Server, start: Start) -> None:
    daemon = start(node)
    daemon.until_state("waiting")
    daemon.send(signal.SIGUSR1)
    until(lambda: daemon.status()["attempts"] == 2, "another attempt")
    daemon.until_state("waiting")
    assert reports(node) == []
    assert node.vault().held_token is None


def test_a_missing_permission_is_named_once_and_costs_nothing_else(reporting: Server, start: Start) -> None:
    reporting.emulator.fail(REPORT, error="AccessDeniedException", times=None)
    daemon = start(reporting)
    (entry,) = daemon.until_logged("health_unreported")
    assert entry["level"] == "warning"
    assert entry["message"].startswith(f"Cannot report {reporting.node_id} in us-east-1 as online: AccessDenied")
    assert "the permission ssm:UpdateInstanceInformation" in entry["hint"]
    assert reporting.run("refresh").code == 0
    assert reporting.run("status").code == 0
    assert not any(secret in daemon.log_file.read_text() for secret in reporting.secrets())


TROUBLE: dict[str, Callable[[Server], None]] = {
    "a service that hangs": lambda node: node.emulator.fail(REPORT, hang=True, times=None),
    "a service that fails": lambda node: node.emulator.fail(REPORT, error="InternalServerError", status=500),
    "a connection that breaks": lambda node: node.emulator.fail(REPORT, drop=True),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_report_is_never_in_the_way_of_a_refresh_or_of_the_end(reporting: Server, start: Start, trouble: str) -> None:
    TROUBLE[trouble](reporting)
    daemon = start(reporting)
    daemon.until_state("waiting")
    until(lambda: reports(reporting) or "--report-health" in str(processes(reporting)), "a report")
    assert reporting.run("refresh").code == 0
    assert len(reporting.tokens()) == 2
    assert daemon.stop() == 0
    daemon.until_nothing_is_left()


def test_a_reload_begins_and_ends_the_reports(node: Server, start: Start) -> None:
    daemon = start(node)
    daemon.until_state("waiting")
    node.configure(EVERY_FIVE_MINUTES)
    daemon.send(signal.SIGHUP)
    daemon.until_logged("reloaded")
    assert node.run("refresh").code == 0  # which brings a token that is kept
    assert node.vault().held_token is not None
    node.configure()
    daemon.send(signal.SIGHUP)
    daemon.until_logged("reloaded", 2)
    daemon.until_state("waiting")
    assert node.run("refresh").code == 0
    assert node.vault().held_token is None
