"""A health report uses the token that the vault keeps; it waits for nothing and changes nothing."""

from datetime import timedelta

import pytest
from tests.attempt.conftest import NO_WAIT, Machine

from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.attempt.health import report
from rolekeeper.model import HealthFacts, HealthReported, Outcome, VaultContents

REPORT = "UpdateInstanceInformation"
FACTS = HealthFacts("1.2.3", "vm", "192.0.2.2", "Debian GNU/Linux", "12")
NOTHING = HealthReported(is_due=False)


@pytest.fixture
def reporting(machine: Machine) -> Machine:
    """A machine that reports its health, with credentials for an hour."""
    machine.change(report_health_every=timedelta(minutes=5))
    assert machine.attempt().outcome is Outcome.ISSUED
    return machine


def reported(machine: Machine) -> HealthReported:
    service = SsmService(machine.settings.service, machine.clock, "1.2.3")
    return report(machine.world().vault, machine.clock, service, FACTS)


def test_it_says_what_ssm_agent_says_and_nothing_changes(reporting: Machine) -> None:
    before = reporting.vault()
    assert reported(reporting) == HealthReported(reporting.node_id)
    assert dict(reporting.emulator.nodes[reporting.node_id].report) == {
        "AgentName": "amazon-ssm-agent",
        "AgentStatus": "Active",
        "AgentVersion": "1.2.3",
        "ComputerName": "vm",
        "IPAddress": "192.0.2.2",
        "PlatformName": "Debian GNU/Linux",
        "PlatformType": "Linux",
        "PlatformVersion": "12",
    }
    assert reporting.vault() == before
    assert len(reporting.requests()) == 1


def test_it_waits_for_no_lock(reporting: Machine) -> None:
    with reporting.world().vault.lock(NO_WAIT):
        assert reported(reporting) == HealthReported(reporting.node_id)


def test_with_an_expired_token_nothing_is_reported(reporting: Machine) -> None:
    reporting.clock.move(timedelta(minutes=61))
    assert reported(reporting) == NOTHING
    assert reporting.requests(REPORT) == ()


def test_after_a_reboot_the_token_is_used_while_it_is_good(reporting: Machine) -> None:
    reporting.clock.move(timedelta(minutes=1))
    reporting.clock.reboot()
    assert reported(reporting) == HealthReported(reporting.node_id)
    reporting.clock.wall += timedelta(minutes=61)
    assert reported(reporting) == NOTHING


def test_without_a_registration_nothing_is_reported(reporting: Machine) -> None:
    reporting.save(VaultContents())
    assert reported(reporting) == NOTHING


def test_a_clock_that_is_wrong_costs_a_second_request_and_no_report(reporting: Machine) -> None:
    reporting.emulator.offset = timedelta(hours=-2)
    assert reported(reporting) == HealthReported(reporting.node_id)
    assert len(reporting.requests(REPORT)) == 2


def test_a_kept_token_spares_no_refresh_its_request(reporting: Machine) -> None:
    assert reporting.attempt().outcome is Outcome.ISSUED
    assert len(reporting.requests()) == 2
    held, published = reporting.vault().held_token, reporting.published()
    assert held is not None
    assert published is not None
    assert held.issue.access_key_id == published.access_key_id
