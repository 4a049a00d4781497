"""What the log and status say about attempts, in words and fields."""

from rolekeeper.core.states import Effect, Record, State
from rolekeeper.model import AttemptReport, Outcome


def left_hibernation(before: State, after: State) -> tuple[Effect, ...]:
    """The record of it, unless the registration is gone: that has one of its own."""
    if before.probes is None or after.probes is not None or after.node_id is None:
        return ()
    again = after.node_id == before.node_id
    why = f"the service accepts {after.node_id} again" if again else f"this machine is {after.node_id} now"
    return (Record("hibernation_left", "info", f"Leaving hibernation: {why}", about(after)),)


def message(report: AttemptReport) -> str:
    """What the status says of the last outcome."""
    return refusal(report) if report.outcome in (Outcome.FINGERPRINT_REFUSED, Outcome.NODE_UNKNOWN) else report.message


def refusal(report: AttemptReport) -> str:
    """The refusal in SSM Agent's words (docs/protocol.md, section 5, end)."""
    found = report.message.find(report.code)
    reason = report.message[found:] if found >= 0 else f"{report.code}: {report.message}"
    return f"error occurred in RequestManagedInstanceRoleToken: {reason}"


def failure_fields(state: State, report: AttemptReport) -> dict[str, str]:
    """The fields of an entry about an attempt that failed."""
    fields = {"code": report.code, "hint": report.hint, "request_id": report.request_id}
    return {"outcome": report.outcome.value} | about(state) | {k: v for k, v in fields.items() if v}


def about(state: State) -> dict[str, str]:
    """The fields that every entry about an attempt has."""
    fields = {"node_id": state.node_id, "region": state.region, "attempt": str(state.attempts)}
    return {name: value for name, value in fields.items() if value}
