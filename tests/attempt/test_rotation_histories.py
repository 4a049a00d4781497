"""Any history of wishes, answers, crashes and a service that forgets: the vault holds a node key that is accepted.

The emulator, vault and files are the real ones. In the end, once the service is well, exactly one key is left, the
service knows it, and each attempt brings a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from shutil import rmtree
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.attempt.conftest import HARDWARE, TOKEN, UPDATE_KEY, Machine
from tests.attempt.mortal import Mortal, keys
from tests.attempt.test_rotation_crashes import ANSWERS, Answer
from tests.conftest import many

from rolekeeper.adapters.ssm.nodekey import public_key

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

    wanted: bool
    tokens: list[dict[str, Any]]
    change: Answer | None
    dies_at: int | None

    def __call__(self, process: Mortal) -> None:
        machine = process.machine
        if self.wanted:
            machine.emulator.request_rotation(machine.node_id)
        for options in self.tokens:
            machine.emulator.fail(TOKEN, **options)
        if self.change:
            machine.emulator.fail(UPDATE_KEY, apply=self.change.taken, **self.change.options)
        process.attempt(dies_at=self.dies_at)
        machine.emulator.clear_faults()


def month_passes(process: Mortal) -> None:
    process.machine.clock.move(MONTH)


def service_forgets_the_new_key(process: Mortal) -> None:
    """While the old one is still there: after that the new one has been accepted."""
    superseded = process.machine.vault().superseded_key
    if superseded is not None:
        process.know_by(public_key(superseded))


def machine_id_changes_or_comes_back(process: Mortal) -> None:
    components = process.machine.hardware.components
    components["machine-id"] = "another\n" if components == HARDWARE else HARDWARE["machine-id"]


Event = Callable[[Mortal], None]
QUICK = [answer for answer in ANSWERS if answer.name != "hung"]  # to the client the same as one that was dropped
ATTEMPT: st.SearchStrategy[Event] = st.builds(
    Attempt,
    wanted=st.sampled_from([True, True, False]),
    tokens=st.one_of(st.just([]), st.lists(st.sampled_from(TOKEN_ANSWERS), max_size=3)),
    change=st.one_of(st.sampled_from(QUICK), st.none()),
    dies_at=st.one_of(st.none(), st.integers(1, 14)),
)
EVENT = st.one_of(
    ATTEMPT,
    ATTEMPT,
    st.sampled_from(
        [
            month_passes,
            service_forgets_the_new_key,
            Mortal.carry_out_late,
            machine_id_changes_or_comes_back,
        ]
    ),
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


@many(40, HealthCheck.function_scoped_fixture)
@given(st.lists(EVENT, min_size=4, max_size=10))
def test_whatever_happens_the_vault_holds_a_key_that_the_service_accepts_and_in_the_end_only_that(
    unregistered: Machine, events: list[Event]
) -> None:
    begin_anew(unregistered)
    unregistered.change(rotate_key_after=MONTH)
    process = Mortal(unregistered)
    for event in events:
        event(process)
        held = [public_key(key) for key in keys(unregistered.vault())]
        assert process.known() in held
        assert len(held) <= 2
    unregistered.hardware.components = dict(HARDWARE)
    process.until_settled()
