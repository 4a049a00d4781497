"""Whatever the service answers, and at whatever step of a rotation the process is killed, one usable key remains."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.attempt.conftest import UPDATE_KEY, Machine
from tests.attempt.mortal import Mortal

JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Answer:
    """One way in which the service may answer UpdateManagedInstancePublicKey; `taken`: it keeps the new key."""

    name: str
    taken: bool
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}, {'taken' if self.taken else 'not taken'}"


ANSWERED = Answer("answered", taken=True)
ANSWERS = tuple(
    Answer(name, taken, options)
    for name, options in {
        "dropped": {"drop": True},
        "hung": {"hang": True},
        "InvalidPublicKey": {"error": "InvalidPublicKey"},
        "PublicKeyAlreadyRegistered": {"error": "PublicKeyAlreadyRegistered"},
        "InvalidInstanceId": {"error": "InvalidInstanceId"},
        "500": {"error": "InternalServerError"},
        "throttled": {"error": "ThrottlingException"},
        "AccessDenied": {"error": "AccessDeniedException"},
        "InvalidSignature": {"error": "InvalidSignatureException"},
        "ExpiredToken": {"error": "ExpiredTokenException"},
        "unheard of": {"error": "BrandNewException"},
        "said in a header": {"error": "InvalidPublicKey", "error_in_header": True},
        "HTML with 200": {"body": "<html>Please log in</html>"},
        "cut short": {"body": '{"', "content_type": JSON},
        "cut off": {"cut_connection": 1},
        "no text": {"body": b"\xff\xfe", "content_type": JSON},
    }.items()
    for taken in (True, False)
)


def rotation(machine: Machine, answer: Answer, *, times: int = 1) -> tuple[Mortal, str]:
    """A rotation that is wanted, and will be answered so; with the key that is in use until then."""
    machine.emulator.clear_faults()
    machine.emulator.request_rotation(machine.node_id)
    if answer is not ANSWERED:
        machine.emulator.fail(UPDATE_KEY, apply=answer.taken, times=times, **answer.options)
    process = Mortal(machine, impatient="hang" in answer.options)
    return process, process.known()


@pytest.mark.parametrize("answer", [ANSWERED, *ANSWERS], ids=str)
def test_a_process_killed_at_any_step_of_a_rotation_costs_no_key_and_no_token(machine: Machine, answer: Answer) -> None:
    process, first = rotation(machine, answer)
    process.attempt()
    # What comes before the answer is the same whatever it is: those steps are taken once.
    steps = range(1 if answer is ANSWERED else process.answered, process.steps + 1)
    process.until_settled()
    assert steps
    for step in steps:
        assert process.known() != first
        process, first = rotation(machine, answer)
        assert process.attempt(dies_at=step) is None
        machine.clock.reboot()
        process.until_settled()
    assert process.known() != first


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_whatever_the_service_answers_again_and_again_one_usable_key_remains(machine: Machine, answer: Answer) -> None:
    process, first = rotation(machine, answer, times=3)
    process.until_settled()
    assert process.known() != first
