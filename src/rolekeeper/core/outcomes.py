"""What each outcome of an attempt means: which errors lead to it, where the loop goes, and a command's exit code.

One table for all three, so that the daemon, `attempt`, `refresh` and `status` cannot disagree. Below it, what a report
says of an error and of the node.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from rolekeeper.errors import (
    FingerprintRefusedError,
    HardwareError,
    InputOutputError,
    NodeUnknownError,
    OutputError,
    RefusedError,
    RolekeeperError,
    RoleRefusedError,
    TrustStoreError,
    UnavailableError,
    UnregisteredError,
)
from rolekeeper.model import AttemptReport, Node, Outcome, OutputProblem, Phase
from rolekeeper.values import Value, replace


class Reported(Protocol):
    """How an attempt ended, in a report or in status.json."""

    @property
    def outcome(self) -> Outcome:
        """What came of it."""

    @property
    def code(self) -> str:
        """The code of its error; empty without one."""


class Consequence(Value):
    """`error` is the most special class of errors that leads to the outcome; None for success."""

    error: type[RolekeeperError] | None
    phase: Phase

    @property
    def exit_code(self) -> int:
        """What a command that reports the outcome ends with."""
        return self.error.exit_code if self.error else 0


# Errors inherit from each other: the first row that fits an error counts.
CONSEQUENCES: Mapping[Outcome, Consequence] = {
    Outcome.ISSUED: Consequence(None, Phase.WAITING),
    Outcome.UNPUBLISHED: Consequence(OutputError, Phase.BACKING_OFF),
    Outcome.HARDWARE_UNREADABLE: Consequence(HardwareError, Phase.BACKING_OFF),
    # An activation code that cannot be read counts as this: only a vault without a registration needs one.
    Outcome.VAULT_UNREADABLE: Consequence(InputOutputError, Phase.BACKING_OFF),
    Outcome.UNREGISTERED: Consequence(UnregisteredError, Phase.UNREGISTERED),
    Outcome.FINGERPRINT_REFUSED: Consequence(FingerprintRefusedError, Phase.HIBERNATING),
    Outcome.NODE_UNKNOWN: Consequence(NodeUnknownError, Phase.HIBERNATING),
    Outcome.ROLE_REFUSED: Consequence(RoleRefusedError, Phase.BACKING_OFF),
    Outcome.REFUSED: Consequence(RefusedError, Phase.BACKING_OFF),
    Outcome.FAILED: Consequence(UnavailableError, Phase.BACKING_OFF),
}


def outcome_of(error: RolekeeperError) -> Outcome:
    """The outcome of an attempt that ended with `error`."""
    kinds = ((outcome, one.error) for outcome, one in CONSEQUENCES.items() if one.error is not None)
    return next((outcome for outcome, kind in kinds if isinstance(error, kind)), Outcome.FAILED)


def exit_code(reported: Reported, problems: Iterable[OutputProblem | None]) -> int:
    """The exit code of a command that reports this outcome; `problems` are those of the outputs.

    The outcome is `issued` even if the vault could not record the credentials, and even if an output could not take
    them either.
    """
    issued = reported.outcome is Outcome.ISSUED
    if issued and reported.code and any(one is not None and not one.is_warning for one in problems):
        return OutputError.exit_code
    return exit_code_of(reported.outcome, reported.code)


def exit_code_of(outcome: Outcome, code: str) -> int:
    """The exit code that belongs to an outcome with this error code."""
    return TrustStoreError.exit_code if code == TrustStoreError.CODE else CONSEQUENCES[outcome].exit_code


def failure(error: RolekeeperError, node: Node | None = None) -> AttemptReport:
    """The report of an attempt that could not even look."""
    return with_error(of_node(AttemptReport(outcome_of(error)), node), error)


def with_error(report: AttemptReport, error: RolekeeperError) -> AttemptReport:
    """The report in the words of `error`."""
    request_id = report.request_id or error.request_id
    return replace(report, code=error.code, message=error.message, hint=error.hint, request_id=request_id)


def of_node(report: AttemptReport, node: Node | None) -> AttemptReport:
    """The report of an attempt for `node`."""
    if node is None:
        return report
    registration = node.registration
    created_at = registration.key.created_at
    return replace(report, node_id=registration.node_id, region=registration.region, key_created_at=created_at)
