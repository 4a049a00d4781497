"""Whose credentials an output holds: ours, another program's, none, or that is unknown.

The record of the last issue names ours. Rolekeeper writes no access key without its expiry, so an access key with none,
or one beside our old expiry, is another program's. Any other key may be ours from before a record that was lost.

Where this node has published nothing yet, none of our keys was overwritten: what is there counts as absent. It may be
what `clear` left of an earlier registration, without its expiry.
"""

from rolekeeper.core import lifetime
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.core.steps import Seen, SeenOutput
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import Holding, IssueRecord, OutputContents, OutputProblem, OutputReport, VaultContents


def holding(contents: OutputContents | None, issue: IssueRecord | None) -> Holding:
    """Whose credentials these are, by the record of the last issue; None are those of an output that cannot be read."""
    if contents is None:
        return Holding.UNKNOWN
    if not contents.access_key_id:
        return Holding.ABSENT
    ours = format_expiry(issue.life.expires_at) if issue else ""
    if issue and contents.access_key_id == issue.access_key_id:
        return Holding.OURS if contents.is_complete and contents.expiry == ours else Holding.ABSENT
    return Holding.OTHER if contents.expiry in ("", ours) else Holding.UNKNOWN


def reports(seen: Seen) -> tuple[OutputReport, ...]:
    """What the outputs hold before the service has answered."""
    return tuple(_report(one, seen) for one in seen.outputs)


def issue_of(contents: VaultContents, role: str, node_id: str) -> IssueRecord | None:
    """The record of the credentials last issued to this node for a role."""
    issue = contents.issues.get(role)
    return issue if issue and issue.node_id == node_id else None


def problem(error: RolekeeperError) -> OutputProblem:
    """An error as reports carry it."""
    return OutputProblem(error.code, error.message, error.hint)


def _report(one: SeenOutput, seen: Seen) -> OutputReport:
    issue = issue_of(seen.contents, one.role, seen.node.registration.node_id)
    held = holding(one.contents, issue)
    if held is Holding.OTHER and issue is None:
        held = Holding.ABSENT
    ours = issue if held is Holding.OURS else None
    return OutputReport(
        one.output.output_name,
        one.role,
        held,
        access_key_id=ours.access_key_id if ours else "",
        life=lifetime.of_issue(ours, seen.boot_id, seen.now) if ours else None,
        is_current=ours is not None,
        problem=problem(one.problem) if one.problem else (one.contents.warning if one.contents else None),
    )
