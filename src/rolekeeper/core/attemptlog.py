"""The log entries of an attempt, in words and fields; never a secret."""

from collections.abc import Iterable
from datetime import timedelta

from rolekeeper.core import similarity
from rolekeeper.core.jsonvalues import rfc3339, shown
from rolekeeper.core.similarity import Comparison, ComponentState
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import (
    IssueRecord,
    LogEntry,
    OutputKind,
    OutputName,
    OutputProblem,
    Registration,
    TokenAnswer,
    Verdict,
)

LONGEST_SESSION = timedelta(hours=1)
ROUNDING = timedelta(minutes=1)  # of clocks


def registered(registration: Registration, activation_id: str) -> LogEntry:
    """The machine registered itself with the configured activation."""
    message = f"Registered as {registration.node_id} in {registration.region} with activation {activation_id}"
    return LogEntry("registered", "info", message, {"node_id": registration.node_id, "region": registration.region})


def hardware_changed(since_last: Comparison, decisive: Comparison) -> tuple[LogEntry, ...]:
    """The components that differ from the last accepted request's; `decisive` says whether the machine is similar."""
    changed = [one.name for one in since_last.components if one.state is ComponentState.CHANGED]
    if not changed:
        return ()
    names = ", ".join(changed)
    fields = {"components": names, "matched": str(decisive.matched), "compared": str(decisive.compared)}
    if decisive.verdict is Verdict.SIMILAR:
        return (LogEntry("hardware_changed", "info", f"Hardware changed, still similar: {names}", fields),)
    message = f"Hardware changed ({similarity.explain(decisive.summary())}): {names}"
    return (LogEntry("hardware_changed", "warning", message, fields),)


def token_issued(registration: Registration, answer: TokenAnswer) -> LogEntry:
    """The service issued a role token."""
    expires_at = rfc3339(answer.token.expires_at)
    fields = {"expires_at": expires_at, **_request(answer.request_id)}
    message = f"Role token issued to {registration.node_id}, valid until {shown(answer.token.expires_at)}"
    return LogEntry("token_issued", "debug", message, fields)


def long_session(registration: Registration, answer: TokenAnswer) -> tuple[LogEntry, ...]:
    """The role token lives longer than necessary, and a leaked copy does too."""
    life = answer.token.expires_at - answer.received_at
    if life <= LONGEST_SESSION + ROUNDING:
        return ()
    hours = f"{life / timedelta(hours=1):.1f}".removesuffix(".0")
    message = (
        f"Role tokens of {registration.node_id} live {hours} hours: a copy of the credentials works elsewhere until "
        "they expire"
    )
    hint = "set the maximum session duration of the node's role to one hour; rolekeeper renews them in time"
    return (LogEntry("long_session", "warning", message, {"node_id": registration.node_id, "hint": hint}),)


def role_assumed(role: str, answer: TokenAnswer) -> LogEntry:
    """STS issued credentials of a role."""
    expires_at = rfc3339(answer.token.expires_at)
    fields = {"role": role, "expires_at": expires_at, **_request(answer.request_id)}
    return LogEntry(
        "role_assumed", "debug", f"Assumed the role {role}, valid until {shown(answer.token.expires_at)}", fields
    )


def role_failed(role: str, error: RolekeeperError) -> LogEntry:
    """A role could not be assumed; its outputs keep what they hold."""
    message = f"The outputs of the role {role} keep what they hold: {error.message}"
    return LogEntry("role_failed", "warning", message, {"role": role, "code": error.code, "hint": error.hint})


def published(issue: IssueRecord, role: str, written: Iterable[OutputName], request_id: str | None) -> LogEntry:
    """These outputs hold the credentials from now on."""
    expires_at = rfc3339(issue.life.expires_at)
    places = ", ".join(dict.fromkeys(_place(name) for name in written))
    whose = f"credentials of the role {role} for {issue.node_id}" if role else f"role credentials of {issue.node_id}"
    fields = {"node_id": issue.node_id, "expires_at": expires_at, "access_key_id": issue.access_key_id}
    fields |= {"role": role} if role else {}
    message = f"Published {whose} in {places}, valid until {shown(issue.life.expires_at)}"
    return LogEntry("credentials_published", "info", message, {**fields, **_request(request_id)})


def reused(issue: IssueRecord) -> LogEntry:
    """Every output holds fresh credentials: no token was requested."""
    message = f"Fresh credentials of {issue.node_id} are already published, valid until {shown(issue.life.expires_at)}"
    return LogEntry("credentials_fresh", "info", message, {"node_id": issue.node_id})


def overwritten_by_another(name: OutputName) -> LogEntry:
    """An output holds the credentials of another program where ours were published."""
    message = f"Another program writes to {name.name}: its credentials are in the profile [{name.profile}]"
    hint = "let one program write there: stop the other one (SSM Agent?), or publish to a file or profile of its own"
    fields = {"path": name.name, "profile": name.profile, "hint": hint}
    return LogEntry("overwritten_by_another", "warning", message, fields)


def output_warning(warning: OutputProblem) -> LogEntry:
    """Credentials are published where programs may not use them."""
    return LogEntry("output_warning", "warning", warning.message, {"code": warning.code, "hint": warning.hint})


def key_change_completed(registration: Registration) -> LogEntry:
    """The service already knew the new node key of an interrupted change; the vault now uses it, too."""
    message = f"Node key of {registration.node_id} rotated: an interrupted change was completed"
    return LogEntry("key_rotated", "info", message)


def vault_unwritten(error: RolekeeperError) -> LogEntry:
    """The credentials are published, but the vault could not record it."""
    message = f"The credentials are published, but {error.message[0].lower()}{error.message[1:]}"
    return LogEntry("vault_unwritten", "warning", message, {"code": error.code, "hint": error.hint})


def _place(name: OutputName) -> str:
    return f"the endpoint {name.name}" if name.kind is OutputKind.ENDPOINT else name.name


def _request(request_id: str | None) -> dict[str, str]:
    return {"request_id": request_id} if request_id else {}
