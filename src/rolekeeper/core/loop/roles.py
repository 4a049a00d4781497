"""The roles that were refused: when each is requested again, and what is reported until then.

A refused role is requested again on the schedule of refusals, whatever else fails: an attempt that begins earlier, for
another output, passes it over and leaves its outputs as they are. Their problem is then the refusal that is remembered
here. An attempt that a person or a program requested passes no role over.
"""

from collections.abc import Mapping

from rolekeeper.core.loop.delays import Due
from rolekeeper.core.loop.states import RefusedRole, State
from rolekeeper.errors import RolePassedOverError
from rolekeeper.model import AttemptReport, Instant
from rolekeeper.values import replace


def not_due(state: State, now: Instant) -> frozenset[str]:
    """The roles that an attempt of this moment passes over, unless it was requested."""
    return frozenset(role for role, one in state.roles_refused.items() if not one.due.reached(now))


def said_again(state: State, report: AttemptReport) -> AttemptReport:
    """With the reason of the earlier refusal where the attempt passed a role over."""
    known = {
        one.name: state.roles_refused[one.role].problem
        for one in report.outputs
        if one.problem and one.problem.code == RolePassedOverError.CODE
    }
    if not known:
        return report
    outputs = tuple(replace(one, problem=known.get(one.name, one.problem)) for one in report.outputs)
    report = replace(report, outputs=outputs)
    if report.code != RolePassedOverError.CODE:
        return report
    first = next(iter(known.values()))
    return replace(report, code=first.code, message=first.message, hint=first.hint)


def refused(state: State, report: AttemptReport, due: Due) -> Mapping[str, RefusedRole]:
    """The roles that the attempt passed over, and those that were refused in it, which are `due` then."""
    kept = {role: one for role, one in state.roles_refused.items() if role in state.ask.passed_over}
    return kept | {role: RefusedRole(problem, due) for role, problem in report.roles_refused.items()}
