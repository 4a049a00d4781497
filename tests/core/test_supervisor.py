"""The whole table: every state with every event, every outcome from every history."""

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from tests.core.conftest import NODE, POLICY, TAKES, Loop

from rolekeeper.core.loop import delays, table
from rolekeeper.core.loop.states import (
    Configured,
    Elapsed,
    Event,
    Finished,
    IllegalTransition,
    RefreshWanted,
    ReloadWanted,
    StopWanted,
    VaultChanged,
)
from rolekeeper.model import AttemptReport, Outcome, Phase, RegistrationFound

HOUR = timedelta(hours=1)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

EVENTS: dict[str, type[Event]] = {
    "the configuration is read": Configured,
    "the registration is found": RegistrationFound,
    "the attempt ends": Finished,
    "the time has come": Elapsed,
    "a refresh is wanted": RefreshWanted,
    "a reload is wanted": ReloadWanted,
    "the vault changes": VaultChanged,
    "a stop is wanted": StopWanted,
}
ATTEMPTS = ("the time has come", "a refresh is wanted", "a reload is wanted", "the vault changes")
RESTING = ("unregistered", "waiting", "backing-off", "hibernating")
LEGAL = {
    ("attempting", "the configuration is read"): "attempting",
    ("attempting", "the registration is found"): "attempting",
    ("attempting", "the attempt ends"): "waiting",  # each outcome: below
    ("attempting", "a refresh is wanted"): "attempting",
    ("attempting", "a reload is wanted"): "attempting",
    ("attempting", "a stop is wanted"): "stopping",
    **{(state, event): "attempting" for state in RESTING for event in ATTEMPTS},
    **{(state, "a stop is wanted"): "stopping" for state in RESTING},
}
PAIRS = list(product([phase.value for phase in Phase], EVENTS))


@pytest.fixture
def states() -> dict[str, Callable[[], Any]]:
    """How each state is come to."""
    return {
        "unregistered": lambda: Loop().ends_with(Outcome.UNREGISTERED),
        "attempting": Loop,
        "waiting": lambda: Loop().ends_with(Outcome.ISSUED),
        "backing-off": lambda: Loop().ends_with(Outcome.FAILED),
        "hibernating": lambda: Loop().ends_with(Outcome.FINGERPRINT_REFUSED),
        "stopping": lambda: Loop().stop(),
    }


@pytest.fixture
def make_event() -> Callable[[str, Any], Event]:
    def make(name: str, loop: Any) -> Event:
        if EVENTS[name] is Configured:
            return Configured(POLICY)
        if EVENTS[name] is RegistrationFound:
            return RegistrationFound(loop.node_id, "us-east-1", ())
        if EVENTS[name] is Finished:
            outputs = tuple(Loop().issues().state.outputs.values())
            return Finished(AttemptReport(Outcome.ISSUED, node_id=loop.node_id, outputs=outputs))
        return EVENTS[name]()  # type: ignore[call-arg]

    return make


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in LEGAL])
def test_an_event_leads_where_the_table_says(states: Any, make_event: Any, state: str, event: str) -> None:
    loop = states[state]().passes(2 * SECOND)
    assert loop.phase == state
    loop.happens(make_event(event, loop))
    assert loop.phase == LEGAL[state, event]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in LEGAL])
def test_an_event_that_cannot_happen_is_refused(states: Any, make_event: Any, state: str, event: str) -> None:
    loop = states[state]().passes(2 * SECOND)
    with pytest.raises(IllegalTransition, match=f"{EVENTS[event].__name__} while {state}"):
        loop.happens(make_event(event, loop))


def test_the_table_holds_the_legal_pairs_and_no_other() -> None:
    assert {(phase.value, event) for phase, event in table.TABLE} == {(state, EVENTS[event]) for state, event in LEGAL}


def test_every_outcome_has_its_rule() -> None:
    assert set(table.transitions.OUTCOMES) == set(Outcome)


# What an outcome leads to, from several histories: the state, and how long after the attempt's beginning the next one
# is due: without jitter, or after a failure at the latest.
FIRST = {
    Outcome.ISSUED: ("waiting", 30 * MINUTE),
    Outcome.FAILED: ("backing-off", SECOND),
    Outcome.REFUSED: ("backing-off", 5 * MINUTE),
    Outcome.ROLE_REFUSED: ("backing-off", 5 * MINUTE),
    Outcome.FINGERPRINT_REFUSED: ("hibernating", 5 * MINUTE),
    Outcome.NODE_UNKNOWN: ("hibernating", 5 * MINUTE),
    Outcome.HARDWARE_UNREADABLE: ("backing-off", SECOND),
    Outcome.UNPUBLISHED: ("backing-off", SECOND),
    Outcome.VAULT_UNREADABLE: ("backing-off", SECOND),
    Outcome.UNREGISTERED: ("unregistered", None),
}
AS_FAILED = (Outcome.FAILED, Outcome.HARDWARE_UNREADABLE, Outcome.UNPUBLISHED, Outcome.VAULT_UNREADABLE)
AFTER_THREE_FAILURES = FIRST | dict.fromkeys(AS_FAILED, ("backing-off", 90 * SECOND))
AFTER_TWO_REFUSALS = FIRST | dict.fromkeys((Outcome.REFUSED, Outcome.ROLE_REFUSED), ("backing-off", 15 * MINUTE))
ASLEEP = (*AS_FAILED, Outcome.REFUSED, Outcome.ROLE_REFUSED, Outcome.FINGERPRINT_REFUSED, Outcome.NODE_UNKNOWN)
AT_THE_FIRST_PROBE = FIRST | dict.fromkeys(ASLEEP, ("hibernating", 10 * MINUTE))
HISTORIES = {
    "at the first attempt": ([], FIRST),
    "after three failures": ([Outcome.FAILED] * 3, AFTER_THREE_FAILURES),
    "after two refusals": ([Outcome.REFUSED] * 2, AFTER_TWO_REFUSALS),
    "after a failure and a success": ([Outcome.FAILED, Outcome.ISSUED], FIRST),
    "after two refusals and a success": ([Outcome.REFUSED, Outcome.REFUSED, Outcome.ISSUED], FIRST),
    "at the first probe of a hibernation": ([Outcome.FINGERPRINT_REFUSED], AT_THE_FIRST_PROBE),
    "after a hibernation": ([Outcome.NODE_UNKNOWN, Outcome.REFUSED, Outcome.ISSUED], FIRST),
}


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("history", HISTORIES)
def test_an_outcome_leads_where_its_history_says(history: str, outcome: Outcome) -> None:
    before, expected = HISTORIES[history]
    state, delay = expected[outcome]
    loop = Loop().goes_through(*before, outcome)
    assert loop.phase == state
    if delay is None:
        assert loop.state.due is None
        return
    # A token's life begins when it is received, everything else is counted from the attempt's beginning.
    elapsed = TAKES if outcome is Outcome.ISSUED else 0 * SECOND
    share = delays.jitter(NODE, loop.state.attempts)
    failed = state == "backing-off" and outcome not in (Outcome.REFUSED, Outcome.ROLE_REFUSED)
    exact = max(delay * (0.1 + 0.9 * share), SECOND) if failed else delays.around(delay, share)
    assert abs(loop.planned - elapsed - exact) <= timedelta(milliseconds=1)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("history", HISTORIES)
def test_after_a_reload_wish_every_outcome_is_followed_by_the_reload(history: str, outcome: Outcome) -> None:
    before, expected = HISTORIES[history]
    loop = Loop().goes_through(*before)
    if before:
        loop.comes_due()
    loop.reload()
    assert loop.phase == "attempting"
    begun = len(loop.began)
    loop.ends_with(outcome, takes=2 * SECOND)
    assert loop.phase == "attempting"
    assert len(loop.began) == begun + 1
    assert loop.asks[-1].reload
    assert loop.asks[-1].reuse == (expected[outcome][0] != "hibernating")
    assert loop.state.last.outcome is outcome  # what was found out is not forgotten


def test_a_reload_is_granted_once(loop: Any) -> None:
    loop.reload().reload().ends_with(Outcome.ISSUED, takes=2 * SECOND)
    loop.ends_with(Outcome.ISSUED)
    assert loop.phase == "waiting"
    assert [ask.reload for ask in loop.asks] == [True, True]  # the first attempt reads the configuration too


def test_a_refresh_during_an_attempt_is_joined_to_it(loop: Any) -> None:
    loop.refresh().refresh().ends_with(Outcome.ISSUED)
    assert loop.phase == "waiting"
    assert len(loop.began) == 1


def test_a_refresh_during_an_attempt_that_reuses_credentials_is_served_after_it(loop: Any) -> None:
    before = loop.refresh().state.last
    loop.passes(2 * SECOND).issues(age=MINUTE, reused=True)
    assert loop.phase == "attempting"
    assert (loop.asks[-1].reload, loop.asks[-1].reuse) == (False, False)
    assert loop.state.last == before  # what the spared one found out is no answer to the wish
    loop.ends_with(Outcome.ISSUED)
    assert (loop.phase, len(loop.began)) == ("waiting", 2)


def test_a_refresh_and_a_reload_during_an_attempt_that_reuses_credentials_are_served_together(loop: Any) -> None:
    loop.refresh().reload().passes(2 * SECOND).issues(age=MINUTE, reused=True)
    assert (loop.asks[-1].reload, loop.asks[-1].reuse) == (True, False)
    loop.ends_with(Outcome.ISSUED)
    assert (loop.phase, len(loop.began)) == ("waiting", 2)


def test_stopping_ends_the_attempt_that_runs_and_only_that() -> None:
    assert Loop().stop().ends == 1
    assert Loop().ends_with(Outcome.ISSUED).stop().ends == 0


def test_a_forgotten_registration_leaves_nothing_of_the_node_behind(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.FAILED, Outcome.REFUSED, Outcome.FINGERPRINT_REFUSED)
    loop.comes_due().ends_with(Outcome.UNREGISTERED)
    state = loop.state
    assert loop.phase == "unregistered"
    assert (state.node_id, state.region, state.fingerprint, state.due, state.refresh_at) == (None,) * 5
    assert loop.events()[-1] == "unregistered"
    loop.node_id = "mi-0fedcba9876543210"
    loop.passes(MINUTE).vault_changes().ends_with(Outcome.FAILED)
    assert loop.life is None  # the credentials in the file are those of another node
    assert loop.phase == "backing-off"  # and not in the hibernation of the old one, nor after its failures
    assert loop.planned <= 1.1 * SECOND


def test_being_unregistered_is_said_once(loop: Any) -> None:
    loop.ends_with(Outcome.UNREGISTERED)
    for _ in range(3):
        loop.passes(MINUTE).refresh().ends_with(Outcome.UNREGISTERED)
    assert loop.events() == ["unregistered"]


def test_being_unregistered_is_said_also_after_a_first_attempt_that_failed_otherwise(loop: Any) -> None:
    loop.ends_with(Outcome.FAILED).comes_due().ends_with(Outcome.UNREGISTERED)
    assert loop.events()[-1] == "unregistered"


def test_another_node_begins_without_the_hibernation_and_the_failures_of_the_old_one(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.FAILED, Outcome.REFUSED, Outcome.NODE_UNKNOWN)
    loop.node_id = "mi-0123456789abcdef1"
    loop.passes(MINUTE).refresh().ends_with(Outcome.FAILED)
    assert loop.phase == "backing-off"
    assert loop.planned <= 1.1 * SECOND
    assert (loop.life, loop.state.published_at) == (None, {})


WISHES = {
    # what was wished for within a second of the last attempt's beginning -> (reload, reuse) of the one that follows
    ("refresh",): (False, False),
    ("reload",): (True, True),
    ("vault_changes",): (False, True),
    ("refresh", "reload"): (True, False),
    ("reload", "refresh"): (True, False),
    ("refresh", "vault_changes"): (False, False),
    ("vault_changes", "refresh"): (False, False),
    ("vault_changes", "reload"): (True, True),
    ("reload", "vault_changes"): (True, True),
    ("refresh", "vault_changes", "reload"): (True, False),
}


@pytest.mark.parametrize("wishes", WISHES)
def test_wishes_within_a_second_of_an_attempt_are_delayed_and_none_is_dropped(wishes: tuple[str, ...]) -> None:
    loop = Loop().ends_with(Outcome.ISSUED)
    for wish in wishes:
        loop.passes(0.1 * SECOND)
        getattr(loop, wish)()
        assert loop.phase == "waiting"
    assert loop.planned == SECOND
    loop.comes_due()
    assert loop.began[-1] - loop.began[-2] == SECOND
    assert (loop.asks[-1].reload, loop.asks[-1].reuse) == WISHES[wishes]


def test_the_first_attempt_may_reuse_credentials_and_a_scheduled_one_may_not() -> None:
    loop = Loop().goes_through(Outcome.ISSUED, Outcome.FAILED, Outcome.ISSUED)
    assert [ask.reuse for ask in loop.asks] == [True, False, False]


def test_a_refused_role_is_retried_slowly_but_not_later_than_the_other_outputs_need_credentials() -> None:
    for life, retried in ((6 * MINUTE, 3 * MINUTE), (HOUR, 5 * MINUTE)):
        loop = Loop().issues(life).passes(2 * SECOND).refresh()
        current = tuple(loop.state.outputs.values())
        loop.ends_with(Outcome.ROLE_REFUSED, outputs=current, expires_at=current[0].life.expires_at)
        assert loop.phase == "backing-off"
        assert abs(loop.planned - retried) <= retried * 0.12


@pytest.mark.parametrize("outcome", [Outcome.ROLE_REFUSED, Outcome.FAILED, Outcome.UNPUBLISHED])
def test_a_token_ends_a_hibernation_even_if_an_output_lacks_its_credentials(outcome: Outcome) -> None:
    loop = Loop().goes_through(Outcome.FINGERPRINT_REFUSED).comes_due()
    loop.ends_with(outcome, expires_at=loop.now.wall + HOUR)
    assert (loop.phase, loop.events()[-2:]) == ("backing-off", ["hibernation_left", "backing_off"])


def test_a_report_that_no_attempt_can_make_is_refused_aloud(loop: Any) -> None:
    with pytest.raises(IllegalTransition, match="without a lifetime"):
        loop.happens(Finished(AttemptReport(Outcome.ISSUED)))
