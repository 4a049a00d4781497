"""From the vault to the credentials file, and when the request is spared."""

import stat
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from botocore.configloader import raw_config_parse
from tests.attempt.conftest import TOKEN, Machine
from tests.reports import current, events, life, written

from rolekeeper.attempt.run import run
from rolekeeper.core.lifetime import freshness
from rolekeeper.errors import VaultError
from rolekeeper.model import AttemptReport, Freshness, Outcome

HOUR = timedelta(hours=1)


def test_a_registered_machine_gets_a_token_and_publishes_it(machine: Machine) -> None:
    report = machine.attempt()
    token = machine.published()
    assert token is not None
    assert report.outcome is Outcome.ISSUED
    assert (report.code, report.message, report.hint) == ("", "", "")
    assert (report.node_id, report.region) == (machine.node_id, "us-east-1")
    assert current(report) == machine.named(0)
    assert report.expires_at == token.expires_at == machine.clock.wall + HOUR
    assert report.request_id == machine.requests()[0].request_id
    assert events(report) == ["token_issued", "credentials_published"]


def test_what_is_published_is_the_emulators_token_as_botocore_reads_it(machine: Machine) -> None:
    machine.attempt()
    token = machine.published()
    assert token is not None
    profile = raw_config_parse(str(machine.output()))["default"]
    assert profile["aws_secret_access_key"] == token.secret_access_key
    assert datetime.fromisoformat(profile["x_security_token_expires"]) == token.expires_at
    assert stat.S_IMODE(machine.output().stat().st_mode) == 0o600


def test_the_report_says_how_the_hardware_compared(machine: Machine) -> None:
    machine.hardware.replace_parts("disk-info", "hostname-info")
    summary = machine.attempt().fingerprint
    assert summary is not None
    assert (summary.verdict, summary.matched, summary.compared, summary.threshold) == ("similar", 7, 9, 40)


def test_a_vault_that_cannot_be_read_stays_as_it_is_and_nothing_is_asked_for(machine: Machine) -> None:
    file = machine.directory / "vault" / "vault.json"
    file.write_bytes(b"")
    report = machine.attempt()
    assert report.outcome is Outcome.VAULT_UNREADABLE
    assert str(file) in report.message
    assert file.read_bytes() == b""
    assert machine.requests() == ()


def test_a_vault_that_another_process_holds_is_waited_for_and_then_told(machine: Machine) -> None:
    with machine.world().vault.lock(timedelta(0)):
        report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.VAULT_UNREADABLE, "vault-locked")
    assert sum(machine.clock.slept, timedelta()) >= timedelta(seconds=29)


def test_credentials_that_are_fresh_and_published_spare_the_request(machine: Machine) -> None:
    first = machine.attempt()
    machine.clock.move(HOUR / 2)
    again = machine.attempt(reuse=True)
    assert again.outcome is Outcome.ISSUED
    assert [(one.name, one.is_current) for one in again.outputs] == [(name, True) for name in current(first)]
    assert life(again) == life(first) is not None
    assert (first.is_reused, again.is_reused, written(again)) == (False, True, ())
    assert events(again) == ["credentials_fresh"]
    assert len(machine.requests()) == 1


def other_key(machine: Machine) -> None:
    path = machine.output()
    path.write_text(path.read_text().replace("ASIA", "ASIB"))


def other_expiry(machine: Machine) -> None:
    lines = machine.output().read_text().splitlines(keepends=True)
    kept = [line if "expires" not in line else "x_security_token_expires = 2030-01-01T00:00:00Z\n" for line in lines]
    machine.output().write_text("".join(kept))


def no_session_token(machine: Machine) -> None:
    lines = machine.output().read_text().splitlines(keepends=True)
    machine.output().write_text("".join(line for line in lines if "session_token" not in line))


@pytest.mark.parametrize("change", [other_key, other_expiry, no_session_token])
def test_a_file_that_does_not_hold_what_was_issued_costs_a_request(
    machine: Machine, change: Callable[[Machine], None]
) -> None:
    machine.attempt()
    change(machine)
    machine.emulator.forget_requests()
    report = machine.attempt(reuse=True)
    assert report.outcome is Outcome.ISSUED
    assert machine.requests()
    token = machine.published()
    assert token is not None
    assert token.issued_at == machine.requests()[-1].received_at


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_wrong_clock_does_not_keep_fresh_credentials_from_being_reused(machine: Machine, ahead: timedelta) -> None:
    machine.emulator.offset = ahead
    machine.attempt()
    machine.emulator.forget_requests()
    assert machine.attempt(reuse=True).outcome is Outcome.ISSUED
    assert machine.requests() == ()


def test_a_wall_clock_that_steps_while_credentials_live_changes_nothing(machine: Machine) -> None:
    machine.attempt()
    machine.clock.wall += timedelta(days=400)
    assert freshness(life(machine.attempt(reuse=True)), machine.clock.now()) is Freshness.FRESH
    assert len(machine.requests(TOKEN)) == 1


def test_after_a_reboot_what_the_outputs_still_hold_is_called_stale_at_best(machine: Machine) -> None:
    first = machine.attempt()
    machine.clock.move(HOUR / 2)
    machine.clock.reboot()
    machine.emulator.fail(TOKEN, error="InternalServerError")
    report = machine.attempt(reuse=True)
    assert report.outcome is Outcome.FAILED
    assert life(report) is not None
    assert life(first) is not None
    assert life(report).expires_at == life(first).expires_at
    assert freshness(life(report), machine.clock.now()) is Freshness.STALE
    machine.clock.move(HOUR / 2)
    assert freshness(life(report), machine.clock.now()) is Freshness.EXPIRED


def test_after_a_boot_with_a_clock_in_the_past_nothing_is_said_of_the_age_of_what_is_published(
    machine: Machine,
) -> None:
    machine.attempt()
    machine.clock.reboot()
    machine.clock.wall -= 2 * HOUR  # the age of what was issued would come out negative, so fresh for ever
    machine.emulator.fail(TOKEN, error="InternalServerError")
    report = machine.attempt()
    assert report.outcome is Outcome.FAILED
    assert life(report) is None


def test_the_report_is_delivered_before_another_command_can_change_the_vault(machine: Machine) -> None:
    world = machine.world()
    told: list[AttemptReport] = []

    def deliver(report: AttemptReport) -> None:
        told.append(report)
        with pytest.raises(VaultError), machine.world().vault.lock(timedelta(0)):
            raise AssertionError("the vault was not locked")

    assert run(world, machine.settings, reuse=False, deliver=deliver) is told[0]
    with machine.world().vault.lock(timedelta(0)):
        run(world, machine.settings, reuse=False, deliver=told.append)
    assert told[1].outcome is Outcome.VAULT_UNREADABLE


def test_an_ordinary_attempt_opens_the_credentials_file_four_times_at_most_and_the_vault_once(machine: Machine) -> None:
    machine.attempt()
    machine.clock.move(HOUR / 2)
    opened: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching:
            opened.append(str(arguments[0]).rpartition("/")[2])

    watching = [True]
    sys.addaudithook(watch)
    assert machine.attempt().outcome is Outcome.ISSUED
    watching.clear()
    assert 0 < opened.count("credentials") <= 4
    assert opened.count("vault.json") == 1
