"""A role that is refused is requested again on its own schedule, whatever else fails meanwhile."""

from datetime import timedelta
from typing import Any

from tests.core.conftest import POLICY, Loop

from rolekeeper.errors import RolePassedOverError
from rolekeeper.model import Holding, Outcome, OutputName, OutputProblem, OutputReport
from rolekeeper.values import replace

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR = timedelta(hours=1)
FULL_DISK = OutputProblem("no-space", "Cannot publish to /full: no space", "free some space")
REFUSED = OutputProblem("AccessDenied", "Cannot assume the role backup", "correct the trust policy")
PASSED_OVER = RolePassedOverError("backup")
NOT_DUE = OutputProblem(PASSED_OVER.code, PASSED_OVER.message, PASSED_OVER.hint)
OF_ROLE = OutputName("/backup")


def meets(loop: Any, own: OutputProblem | None) -> Any:
    """The attempt that runs is refused the role if it requests it; the node's own output has this problem, or none."""
    is_passed_over = "backup" in loop.asks[-1].passed_over
    of_role = OutputReport(OF_ROLE, "backup", Holding.ABSENT, problem=NOT_DUE if is_passed_over else REFUSED)
    first = own or of_role.problem
    return loop.ends_with(
        Outcome.UNPUBLISHED if own else Outcome.ROLE_REFUSED,
        outputs=(OutputReport(OutputName(loop_path(loop), "default"), problem=own), of_role),
        roles_refused={} if is_passed_over else {"backup": REFUSED},
        expires_at=loop.now.wall + HOUR,
        code=first.code,
        message=first.message,
        hint=first.hint,
    )


def loop_path(loop: Any) -> str:
    path: str = loop.policy.outputs[0].name.name
    return path


def requests(loop: Any) -> list[timedelta]:
    """When the role was requested, from the first attempt on."""
    asked = zip(loop.began, loop.asks, strict=True)
    return [at - loop.began[0] for at, ask in asked if "backup" not in ask.passed_over]


def with_both() -> Any:
    known = OutputReport(OF_ROLE, "backup")
    return Loop(policy=replace(POLICY, outputs=(*POLICY.outputs, known)))


def live(loop: Any, span: timedelta, own: OutputProblem | None) -> Any:
    until = loop.now.boot + span
    while loop.now.boot < until:
        meets(loop, own).comes_due()
    return loop


def test_attempts_for_another_output_pass_it_over_until_it_is_due() -> None:
    loop = live(with_both(), HOUR, FULL_DISK)
    assert len(loop.began) > 20
    first, second, third, *_ = requests(loop)
    longest = 4 * MINUTE  # between two attempts for the other output
    assert first == timedelta(0)
    assert 4.5 * MINUTE <= second <= 5.5 * MINUTE + longest
    assert 9 * MINUTE <= third - second <= 11 * MINUTE + longest
    assert len(requests(loop)) <= 6


def test_it_is_retried_when_it_is_due_once_the_other_output_is_published() -> None:
    loop = meets(with_both(), FULL_DISK).comes_due()
    meets(loop, None)
    assert loop.phase == "backing-off"
    loop.comes_due()
    assert requests(loop)[-1] == loop.began[-1] - loop.began[0]
    assert 4.5 * MINUTE <= requests(loop)[-1] <= 5.5 * MINUTE


def test_what_it_was_refused_for_is_reported_until_then() -> None:
    loop = meets(with_both(), FULL_DISK).comes_due()
    meets(loop, FULL_DISK)
    assert loop.state.outputs[OF_ROLE].problem == REFUSED
    assert loop.state.last.code == FULL_DISK.code
    loop.comes_due()
    meets(loop, None)
    assert "backup" in loop.asks[-1].passed_over
    assert (loop.state.last.code, loop.state.last.message, loop.state.last.hint) == (
        REFUSED.code,
        REFUSED.message,
        REFUSED.hint,
    )


def test_an_attempt_that_somebody_requests_passes_nothing_over() -> None:
    for wish in ("refresh", "reload", "vault_changes"):
        loop = meets(with_both(), FULL_DISK).comes_due()
        meets(loop, FULL_DISK).passes(SECOND)
        getattr(loop, wish)()
        assert [len(ask.passed_over) for ask in loop.asks] == [0, 1, 0]
