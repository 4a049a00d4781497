"""What an attempt reports of its error and of its node."""

from rolekeeper.core.outcomes import outcome_of
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import AttemptReport, Node
from rolekeeper.values import replace


def failure(error: RolekeeperError, node: Node | None = None) -> AttemptReport:
    """The report of an attempt that could not even look."""
    return with_error(of_node(AttemptReport(outcome_of(error)), node), error)


def with_error(report: AttemptReport, error: RolekeeperError) -> AttemptReport:
    """The report in the words of `error`."""
    request_id = report.request_id or getattr(error, "request_id", None)
    return replace(report, code=error.code, message=error.message, hint=error.hint, request_id=request_id)


def of_node(report: AttemptReport, node: Node | None) -> AttemptReport:
    """The report of an attempt for `node`."""
    if node is None:
        return report
    registration = node.registration
    created_at = registration.key.created_at
    return replace(report, node_id=registration.node_id, region=registration.region, key_created_at=created_at)
