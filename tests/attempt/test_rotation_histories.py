"""Any history of wishes, answers, crashes and a service that forgets: the vault holds a node key that is accepted.

The emulator, vault and files are the real ones. In the end, once the service is well, exactly one key is left, the
service knows it, and each attempt brings a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from shutil import rmtree
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.attempt.conftest import HARDWARE, TOKEN, UPDATE_KEY, Machine
from tests.attempt.mortal import Mortal, keys
from tests.attempt.test_rotation_crashes import ANSWERS, Answer, service_key, until_settled

from rolekeeper.adapters.nodekey import public_key

MONTH = timedelta(days=30)
TOKEN_ANSWERS: tuple[dict[str, Any], ...] = (
    {},
    {"fields": {"UpdateKeyPair": True}},
    {"remove": ("UpdateKeyPair",)},
    {"drop": True, "apply": True},
    {"error": "InternalServerError"},
    {"error": "AccessDeniedException"},
    {"error": "InvalidSignatureException"},
    {"error": "RequestExpired"},
    {"error": "MachineFingerprintDoesNotMatch"},
)


@dataclass(frozen=True)
class Attempt:
    """An attempt, the answers to its requests, and the step at which it dies, if it does."""

    tokens: list[dict[str, Any]]
    changes: list[Answer]
    dies_at: int | None

    def __call__(self, process: Mortal) -> None:
        machine = process.machine
        for options in self.tokens:
            machine.emulator.fail(TOKEN, **options)
        for answer in self.changes:
            machine.emulator.fail(UPDATE_KEY, apply=answer.taken, **answer.options)
        process.attempt(dies_at=self.dies_at)
        machine.emulator.clear_faults()


def service_wants_a_new_key(process: Mortal) -> None:
    process.machine.emulator.request_rotation(process.machine.node_id)


def month_passes(process: Mortal) -> None:
    process.machine.clock.move(MONTH)


def service_turns_to_the_other_key(process: Mortal) -> None:
    """It forgets the key that it took, or carries out late what it had not answered."""
    machine = process.machine
    others = [known for key in keys(machine.vault()) if (known := public_key(key)) != service_key(machine)]
    if others:
        node = machine.emulator.nodes[machine.node_id]
        machine.emulator.add_node(node.node_id, others[0], node.fingerprint, node.role)


def machine_id_changes_or_comes_back(process: Mortal) -> None:
    components = process.machine.hardware.components
    components["machine-id"] = "another\n" if components == HARDWARE else HARDWARE["machine-id"]


Event = Callable[[Mortal], None]
QUICK = [answer for answer in ANSWERS if answer.name != "hung"]  # to the client the same as one that was dropped
ATTEMPT: st.SearchStrategy[Event] = st.builds(
    Attempt,
    tokens=st.lists(st.sampled_from(TOKEN_ANSWERS), max_size=3),
    changes=st.lists(st.sampled_from(QUICK), max_size=1),
    dies_at=st.one_of(st.none(), st.integers(1, 14)),
)
EVENT = st.one_of(
    st.just(service_wants_a_new_key),
    ATTEMPT,
    ATTEMPT,
    st.sampled_from([month_passes, service_turns_to_the_other_key, machine_id_changes_or_comes_back]),
)


def begin_anew(machine: Machine) -> None:
    """A machine as it was first: newly registered, with the same keys to come."""
    rmtree(machine.directory / "vault", ignore_errors=True)
    if machine.node_id:
        machine.emulator.deregister(machine.node_id)
    machine.emulator.clear_faults()
    machine.hardware.components = dict(HARDWARE)
    machine.keys.taken = 0
    machine.register()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(EVENT, min_size=2, max_size=10))
def test_whatever_happens_the_vault_holds_a_key_that_the_service_accepts_and_in_the_end_only_that(
    unregistered: Machine, events: list[Event]
) -> None:
    begin_anew(unregistered)
    unregistered.change(rotate_key_after=MONTH)
    process = Mortal(unregistered)
    for event in events:
        event(process)
        held = [public_key(key) for key in keys(unregistered.vault())]
        assert service_key(unregistered) in held
        assert len(held) <= 2
    unregistered.hardware.components = dict(HARDWARE)
    until_settled(process)
