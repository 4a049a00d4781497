"""What keeps a node in hibernation, what leads out of it, and what is said meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from tests.core.conftest import POLICY, Loop

from rolekeeper.model import LogEntry, Outcome, Phase
from rolekeeper.values import replace

MINUTE = timedelta(minutes=1)
STAYS = [one for one in Outcome if one not in (Outcome.ISSUED, Outcome.UNREGISTERED)]


@pytest.fixture
def asleep(loop: Any) -> Any:
    """A node that was refused a minute ago."""
    return loop.ends_with(Outcome.FINGERPRINT_REFUSED).passes(MINUTE)


def probing(loop: Any) -> int:
    """The interval that the next probe waits for, without jitter, in minutes."""
    return min((5, 10, 20, 40, 60), key=lambda minutes: abs(loop.planned - minutes * MINUTE))


@pytest.mark.parametrize("outcome", STAYS)
def test_no_answer_but_an_accepted_request_leads_out(asleep: Any, outcome: Outcome) -> None:
    asleep.comes_due().ends_with(outcome)
    assert asleep.phase is Phase.HIBERNATING
    assert probing(asleep) == 10


def test_an_accepted_request_leads_out_and_is_said(asleep: Any) -> None:
    asleep.comes_due().ends_with(Outcome.ISSUED)
    assert asleep.phase is Phase.WAITING
    assert asleep.events() == ["hibernation_entered", "credentials_published", "hibernation_left"]


@pytest.mark.parametrize(("outcome", "after"), [(Outcome.ISSUED, []), (Outcome.FAILED, ["backing_off"])])
def test_another_registration_leads_out_and_is_said(asleep: Any, outcome: Outcome, after: list[str]) -> None:
    asleep.node_id = "mi-0fedcba9876543210"
    asleep.vault_changes().ends_with(outcome)
    said = [event for event in asleep.events() if event != "credentials_published"]
    assert said == ["hibernation_entered", "hibernation_left", *after]
    left = asleep.records[asleep.events().index("hibernation_left")]
    assert left.fields["node_id"] == asleep.node_id
    assert asleep.node_id in left.message


def test_a_token_that_cannot_be_published_leads_out_too(asleep: Any) -> None:
    asleep.comes_due().keeps_token()
    assert asleep.phase is Phase.BACKING_OFF
    assert asleep.events() == ["hibernation_entered", "hibernation_left", "backing_off"]
    asleep.comes_due().ends_with(Outcome.FAILED)
    assert asleep.phase is Phase.BACKING_OFF


def test_the_next_hibernation_begins_at_five_minutes_again(asleep: Any) -> None:
    asleep.goes_through(*[Outcome.NODE_UNKNOWN] * 8, Outcome.ISSUED, Outcome.NODE_UNKNOWN)
    assert asleep.phase is Phase.HIBERNATING
    assert probing(asleep) == 5


@pytest.mark.parametrize("wish", ["refresh", "reload", "vault_changes"])
def test_a_wish_probes_at_once_and_asks_the_service(asleep: Any, wish: str) -> None:
    getattr(asleep, wish)()
    assert asleep.phase is Phase.ATTEMPTING
    assert not asleep.asks[-1].reuse  # fresh credentials prove nothing about the fingerprint


@pytest.mark.parametrize("wish", ["refresh", "reload", "vault_changes"])
def test_probes_that_somebody_caused_do_not_advance_the_interval(asleep: Any, wish: str) -> None:
    for _ in range(7):
        getattr(asleep, wish)().ends_with(Outcome.FINGERPRINT_REFUSED).passes(MINUTE)
        assert probing(asleep) == 5
    asleep.comes_due().ends_with(Outcome.FINGERPRINT_REFUSED)
    assert probing(asleep) == 10


def test_there_is_one_record_an_interval_and_not_one_a_probe(asleep: Any) -> None:
    for _ in range(16):
        asleep.comes_due().ends_with(Outcome.FINGERPRINT_REFUSED)
    assert asleep.events() == ["hibernation_entered", *["hibernating"] * 4]
    assert [record.message.rpartition("every ")[2].split()[0] for record in asleep.records[1:]] == [
        "10min",
        "20min",
        "40min",
        "1h",
    ]


@pytest.mark.parametrize("outcome", [Outcome.FINGERPRINT_REFUSED, Outcome.FAILED, Outcome.UNPUBLISHED])
def test_what_every_attempt_finds_again_is_said_once_until_credentials_are_issued(loop: Any, outcome: Outcome) -> None:
    change, further = (LogEntry("hardware_changed", "warning", f"Hardware changed: {names}") for names in ("a", "a, b"))

    def finds(*entries: LogEntry) -> None:
        loop.ends_with(outcome, entries=entries).comes_due()

    for _ in range(8):
        finds(change)
    finds()  # it did not come as far as looking
    finds(change)
    for _ in range(8):
        finds(further)
    loop.refresh().ends_with(outcome, entries=(further,)).comes_due()
    assert [one.message for one in loop.records if one.event == "hardware_changed"] == [change.message, further.message]
    loop.ends_with(Outcome.ISSUED).comes_due()
    finds(further)
    assert loop.events().count("hardware_changed") == 3
    loop.ends_with(Outcome.ISSUED).comes_due().ends_with(Outcome.ISSUED)
    assert loop.events().count("credentials_published") == 3  # in the same words each time


def test_a_probe_that_somebody_caused_repeats_no_record(asleep: Any) -> None:
    for _ in range(12):
        asleep.comes_due().ends_with(Outcome.FINGERPRINT_REFUSED)
        for _ in range(3):
            asleep.passes(MINUTE).refresh().ends_with(Outcome.FINGERPRINT_REFUSED)
    assert asleep.events() == ["hibernation_entered", *["hibernating"] * 4]


def test_the_entry_is_told_in_the_words_that_operators_of_ssm_agent_know(loop: Any) -> None:
    loop.ends_with(
        Outcome.FINGERPRINT_REFUSED,
        code="MachineFingerprintDoesNotMatch",
        message="Cannot request a role token: MachineFingerprintDoesNotMatch: Fingerprint does not match 5f3f",
        request_id="5f3f-0c53",
    )
    (record,) = loop.records
    assert record.level == "warning"
    assert record.message.startswith(
        "Entering rolekeeper hibernate - error occurred in RequestManagedInstanceRoleToken: "
        "MachineFingerprintDoesNotMatch: Fingerprint does not match 5f3f; first probe at 2026-11-23T12:0"
    )
    assert record.fields == {
        "outcome": "fingerprint-refused",
        "attempt": "1",
        "code": "MachineFingerprintDoesNotMatch",
        "hint": "mend it",
        "request_id": "5f3f-0c53",
        "node_id": loop.node_id,
    }


def test_a_code_that_the_message_does_not_name_is_put_before_it(loop: Any) -> None:
    loop.ends_with(Outcome.NODE_UNKNOWN, code="InvalidInstanceId", message="no such node")
    assert "RequestManagedInstanceRoleToken: InvalidInstanceId: no such node;" in loop.records[0].message


def test_a_report_without_a_code_enters_hibernation_like_any_other(loop: Any) -> None:
    loop.ends_with(Outcome.NODE_UNKNOWN, code="", message="no such node")
    assert loop.phase is Phase.HIBERNATING


def test_other_intervals_can_be_configured() -> None:
    second = timedelta(seconds=1)
    loop = Loop(policy=replace(POLICY, first_probe=20 * second, longest_probe=50 * second))
    loop.goes_through(*[Outcome.NODE_UNKNOWN] * 9)
    nominal = [20, *[40] * 3, *[50] * 4]
    assert all(0.9 * n * second <= one <= 1.1 * n * second for one, n in zip(loop.intervals, nominal, strict=True))
