"""The two-phase change of the node key: whatever the service and crashes do, no key that it may know is dropped."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.core import keyrotation
from rolekeeper.model import AcceptedFingerprint, Node, NodeKey, Registration, VaultContents
from rolekeeper.values import replace

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW, OTHER = (NodeKey(name, NOON) for name in ("old", "new", "other"))
NODE = Registration("mi-0123456789abcdef0", "eu-central-1", OLD)
ACCEPTED = AcceptedFingerprint("b5d0b8a5-1c4b-4d55-9a65-0d7bd1dd31a5", {"machine-id": "x"})
REGISTERED = VaultContents(Node(NODE, ACCEPTED))


def keys(contents: VaultContents) -> list[NodeKey]:
    """Those that are tried, in their order."""
    assert contents.registration is not None
    return [one.key for one in keyrotation.candidates(contents, contents.registration)]


def signed_with(key: NodeKey) -> Registration:
    return replace(NODE, key=key)


def test_without_a_change_there_is_one_key_to_try() -> None:
    assert keys(REGISTERED) == [OLD]


def test_a_change_that_was_begun_leaves_the_old_key_in_use_and_the_new_one_to_try() -> None:
    assert keys(keyrotation.begun(REGISTERED, NEW)) == [OLD, NEW]


def test_a_change_that_the_service_took_keeps_the_old_key_until_the_new_one_was_accepted() -> None:
    promoted = keyrotation.promoted(keyrotation.begun(REGISTERED, NEW))
    assert keys(promoted) == [NEW, OLD]
    assert keys(keyrotation.accepted(promoted, signed_with(NEW))) == [NEW]


def test_a_key_that_the_service_declined_is_dropped_once_it_has_accepted_the_old_one_again() -> None:
    declined = keyrotation.declined(keyrotation.begun(REGISTERED, NEW))
    assert keys(declined) == [OLD, NEW]
    assert keyrotation.accepted(declined, signed_with(OLD)) == REGISTERED


def test_a_pending_key_that_the_service_accepts_becomes_the_current_one() -> None:
    after = keyrotation.accepted(keyrotation.begun(REGISTERED, NEW), signed_with(NEW))
    assert after == VaultContents(Node(signed_with(NEW), ACCEPTED))


def test_a_pending_key_stays_when_the_current_one_is_accepted_for_the_service_may_take_it_yet() -> None:
    after = keyrotation.accepted(keyrotation.begun(REGISTERED, NEW), NODE)
    assert keys(after) == [OLD, NEW]
    assert keyrotation.is_due(after, NOON, wanted=False, rotate_after=None)


def test_a_service_that_took_the_new_key_and_forgot_it_again_is_told_it_again() -> None:
    promoted = keyrotation.promoted(keyrotation.begun(REGISTERED, NEW))
    after = keyrotation.accepted(promoted, signed_with(OLD))
    assert (after.registration, after.pending_key, after.superseded_key) == (NODE, NEW, None)


def test_nothing_is_promoted_without_a_pending_key_or_a_registration() -> None:
    assert keyrotation.promoted(REGISTERED) == REGISTERED
    assert keyrotation.promoted(VaultContents(pending_key=NEW)) == VaultContents(pending_key=NEW)


def test_the_same_key_is_tried_once() -> None:
    assert keys(replace(REGISTERED, pending_key=OLD, superseded_key=OLD)) == [OLD]


@pytest.mark.parametrize(
    ("contents", "wanted", "rotate_after", "expected"),
    [
        (REGISTERED, False, None, False),
        (REGISTERED, True, None, True),
        (REGISTERED, False, 30 * DAY, True),
        (REGISTERED, False, 30 * DAY + timedelta(microseconds=1), False),
        (keyrotation.begun(REGISTERED, NEW), False, None, True),
        (VaultContents(), True, DAY, False),
        (VaultContents(pending_key=NEW), True, DAY, False),
    ],
    ids=["nothing", "the service wants it", "old enough", "too young", "begun", "unregistered", "unregistered, begun"],
)
def test_the_key_is_changed_when_the_service_wants_it_when_it_is_old_and_when_that_was_begun(
    contents: VaultContents, *, wanted: bool, rotate_after: timedelta | None, expected: bool
) -> None:
    assert keyrotation.is_due(contents, NOON + 30 * DAY, wanted=wanted, rotate_after=rotate_after) == expected


# What one attempt comes to, seen from the vault and from the service; the number names the key that is made.
Vault = VaultContents
Attempt = Callable[[Vault, NodeKey, NodeKey], tuple[Vault, NodeKey]]


def cut_off_before_the_service_heard(vault: Vault, known: NodeKey, made: NodeKey) -> tuple[Vault, NodeKey]:
    return keyrotation.begun(vault, vault.pending_key or made), known


def cut_off_before_we_heard(vault: Vault, _known: NodeKey, made: NodeKey) -> tuple[Vault, NodeKey]:
    vault = keyrotation.begun(vault, vault.pending_key or made)
    assert vault.pending_key is not None
    return vault, vault.pending_key


def taken(vault: Vault, known: NodeKey, made: NodeKey) -> tuple[Vault, NodeKey]:
    vault, known = cut_off_before_we_heard(vault, known, made)
    return keyrotation.promoted(vault), known


def taken_in_word_only(vault: Vault, known: NodeKey, made: NodeKey) -> tuple[Vault, NodeKey]:
    return taken(vault, known, made)[0], known


def declined(vault: Vault, known: NodeKey, made: NodeKey) -> tuple[Vault, NodeKey]:
    return keyrotation.declined(keyrotation.begun(vault, vault.pending_key or made)), known


def not_changed(vault: Vault, known: NodeKey, _made: NodeKey) -> tuple[Vault, NodeKey]:
    return vault, known


ATTEMPTS: list[Attempt] = [
    cut_off_before_the_service_heard,
    cut_off_before_we_heard,
    taken,
    taken_in_word_only,
    declined,
    not_changed,
]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(ATTEMPTS)), max_size=30))
def test_whatever_is_cut_off_and_declined_the_service_knows_one_of_two_keys_at_most(
    attempts: list[tuple[bool, Attempt]],
) -> None:
    vault, known = REGISTERED, OLD
    for number, (learns, attempt) in enumerate(attempts):
        assert known in keys(vault)
        assert len(keys(vault)) <= 2  # docs/request-bound.md rests on this
        if not learns:  # no answer to the token request: nothing is changed
            continue
        vault = keyrotation.accepted(vault, signed_with(known))
        vault, known = attempt(vault, known, NodeKey(f"key {number}", NOON))
    assert known in keys(vault)
