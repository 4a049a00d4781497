"""What each event does in each phase; `supervisor` says which pairs exist.

- Every outcome of an attempt leads to one phase (`OUTCOMES`); delays are those of `schedule`.
- In hibernation only an accepted request leads out, or a vault that holds another registration or none; everything else
  stays in it.
- What attempts find again and again is said once, until credentials are issued: one record for a change, not one for
  each probe.
- A wish to refresh during an attempt is joined to that attempt, and granted after it if that one spared the request; a
  wish to reload is granted right after it.
- Failures and refusals are counted since the last success, so that a service that alternates gains nothing.
- Attempts begin at least a second apart, whoever asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from rolekeeper.core import lifetime
from rolekeeper.core.jsonvalues import rfc3339
from rolekeeper.core.loop import delays
from rolekeeper.core.loop.delays import Due
from rolekeeper.core.loop.states import (
    Ask,
    Configured,
    Effect,
    EndAttempt,
    Event,
    Finished,
    IllegalTransition,
    LastOutcome,
    Phase,
    Record,
    StartAttempt,
    State,
    Step,
)
from rolekeeper.model import AttemptReport, Instant, Outcome, RegistrationFound


def attempt(state: State, ask: Ask, now: Instant) -> Step:
    """Begin an attempt now, or a second after the last one began, by the clock that never steps."""
    if state.began is not None:
        too_soon = state.began.boot + delays.LEAST_INTERVAL - now.boot
        if too_soon > timedelta(0):
            return replace(state, ask=ask, due=delays.after(now, too_soon)), ()
    number = state.attempts + 1
    begun = replace(state, phase=Phase.ATTEMPTING, attempts=number, began=now, ask=ask, due=None)
    begun = replace(begun, reload_wanted=False, refresh_wanted=False)
    return begun, (StartAttempt(number, ask),)


def elapsed(state: State, _event: Event, now: Instant) -> Step:
    """The time of the next attempt has come."""
    return attempt(state, state.ask, now)


def refresh(state: State, _event: Event, now: Instant) -> Step:
    """Attempt now, and ask for a token whatever is published."""
    return attempt(state, replace(state.ask, reuse=False, scheduled=False), now)


def reload(state: State, _event: Event, now: Instant) -> Step:
    """Read the configuration anew and attempt now; credentials that are fresh everywhere spare the request."""
    return attempt(state, Ask(reload=True, reuse=_may_reuse(state)), now)


def vault_changed(state: State, _event: Event, now: Instant) -> Step:
    """Attempt now: the registration may be another one."""
    return attempt(state, replace(state.ask, reuse=_may_reuse(state), scheduled=False), now)


def _may_reuse(state: State) -> bool:
    """Fresh credentials spare the request; but not in hibernation, nor while somebody's wish to refresh waits."""
    return state.probes is None and (state.ask.reuse or state.ask.scheduled)


def join_refresh(state: State, _event: Event, _now: Instant) -> Step:
    """Let the attempt that runs serve the wish, unless it finds fresh credentials and asks for none."""
    return replace(state, refresh_wanted=True), ()


def queue_reload(state: State, _event: Event, _now: Instant) -> Step:
    """Reload as soon as the attempt that runs has ended."""
    return replace(state, reload_wanted=True), ()


def configured(state: State, event: Event, _now: Instant) -> Step:
    """Go by the configuration that the attempt has read.

    With an output that is gone, what it held does not count any more; the attempt tells next what the others hold.
    """
    assert isinstance(event, Configured)  # noqa: S101 - the table's key says so
    before = state.policy.outputs if state.policy else ()
    credentials = state.credentials if set(before) <= set(event.policy.outputs) else None
    return replace(state, policy=event.policy, credentials=credentials), ()


def found(state: State, event: Event, _now: Instant) -> Step:
    """Know the node and its credentials before the service has answered: it may hang."""
    assert isinstance(event, RegistrationFound)  # noqa: S101 - the table's key says so
    state = _of_node(state, event.node_id)
    credentials = event.standing or state.credentials
    return replace(state, node_id=event.node_id, region=event.region, credentials=credentials), ()


def stop(state: State, _event: Event, _now: Instant) -> Step:
    """End, and the attempt that runs with it."""
    running = state.phase is Phase.ATTEMPTING
    stopped = replace(state, phase=Phase.STOPPING, due=None)
    record = Record("stopping", "info", "Stopping; published credentials stay in place until they expire")
    return stopped, (EndAttempt(), record) if running else (record,)


def finished(state: State, event: Event, now: Instant) -> Step:
    """Learn what the attempt found out, log it, and go where its outcome leads."""
    assert isinstance(event, Finished)  # noqa: S101 - the table's key says so
    report = event.report
    learned = _learn(state, report, now)
    about = _about(learned)
    news = (fact for fact in report.facts if fact not in state.told)
    facts = tuple(Record(fact.event, fact.level, fact.message, {**about, **fact.fields}) for fact in news)
    after, effects = OUTCOMES[report.outcome](learned, report, now)
    if report.outcome is Outcome.UNREGISTERED and state.last is not None and state.last.outcome is report.outcome:
        effects = ()  # said before
    left = _left_hibernation(state, after)
    after, more = _grant(after, state, event, now)
    return after, facts + left + effects + more


def _grant(after: State, before: State, event: Finished, now: Instant) -> Step:
    """What was wished for during the attempt, and is not done by it."""
    refresh_wanted = before.refresh_wanted and event.report.spared
    if refresh_wanted:  # and to whoever waits for it, that the request was spared is no outcome
        after = replace(after, ask=Ask(), last=before.last)
    if before.reload_wanted:  # which with such an `ask` asks for a token as well
        return reload(after, event, now)
    return refresh(after, event, now) if refresh_wanted else (after, ())


def _learn(state: State, report: AttemptReport, now: Instant) -> State:
    """Take over what the report knows; what it does not know stays as it was, unless it was of another node."""
    state = _of_node(state, report.node_id or state.node_id)
    standing = report.standing or state.credentials
    before = dict.fromkeys(report.published, standing.issued_at) if standing else {}  # by an earlier daemon, or by hand
    return replace(
        state,
        node_id=report.node_id or state.node_id,
        region=report.region or state.region,
        credentials=standing,
        published={**before, **state.published, **dict.fromkeys(report.written, now.wall)},
        fingerprint=report.fingerprint or state.fingerprint,
        last=LastOutcome(report.outcome, report.code, _message(report), now.wall),
        told=() if report.outcome is Outcome.ISSUED else report.facts or state.told,
    )


def _of_node(state: State, node_id: str | None) -> State:
    """Without what is remembered of another node."""
    if node_id == state.node_id:
        return state
    return replace(state, failures=0, refusals=0, probes=None, credentials=None, published={}, fingerprint=None)


def _issued(state: State, report: AttemptReport, now: Instant) -> Step:
    if state.policy is None or report.standing is None:
        raise IllegalTransition("a token issued without a configuration or without a lifetime")
    delay = delays.refresh_delay(report.standing, now, state.policy.refresh_share, _jitter(state))
    waiting = replace(
        state,
        phase=Phase.WAITING,
        due=_no_sooner(state, delays.after(now, delay)),
        refresh_at=lifetime.service_time(report.standing, now) + delay,
        last_success_at=now.wall,
        failures=0,
        refusals=0,
        probes=None,
        ask=Ask(scheduled=True),
    )
    return waiting, ()


def _unpublished(state: State, report: AttemptReport, now: Instant) -> Step:
    """A token that the service gave ends a hibernation, even one that could not be published."""
    if report.expires_at is None:
        return _failed(state, report, now)
    return _back_off(replace(state, probes=None, failures=state.failures + 1), report, now)


def _failed(state: State, report: AttemptReport, now: Instant) -> Step:
    return _back_off_or_sleep_on(replace(state, failures=state.failures + 1), report, now)


def _refused(state: State, report: AttemptReport, now: Instant) -> Step:
    return _back_off_or_sleep_on(replace(state, refusals=state.refusals + 1), report, now)


def _back_off_or_sleep_on(state: State, report: AttemptReport, now: Instant) -> Step:
    return _back_off(state, report, now) if state.probes is None else _hibernate(state, report, now)


def _back_off(state: State, report: AttemptReport, now: Instant) -> Step:
    if report.outcome is Outcome.REFUSED:
        delay = delays.around(delays.refused_delay(state.refusals), _jitter(state))
    else:
        delay = delays.failed_delay(state.failures, now.boot - _began(state).boot, _jitter(state))
    due = _due(state, delay, now)
    backing_off = replace(state, phase=Phase.BACKING_OFF, due=due, refresh_at=None, ask=Ask(scheduled=True))
    message = f"Attempt {state.attempts}: {report.message}; next attempt at {rfc3339(due.wall)}"
    return backing_off, (Record("backing_off", "warning", message, _failure_fields(state, report)),)


def _hibernate(state: State, report: AttemptReport, now: Instant) -> Step:
    """Enter hibernation, or stay in it after a probe; one record for each interval."""
    if state.policy is None:
        raise IllegalTransition("hibernation without a configuration")
    entering = state.probes is None
    probes = 0 if state.probes is None else state.probes + (1 if state.ask.scheduled else 0)
    interval, before = (
        delays.probe_interval(count, state.policy.first_probe, state.policy.longest_probe)
        for count in (probes, state.probes or 0)
    )
    due = _due(state, delays.around(interval, _jitter(state)), now)
    asleep = replace(state, phase=Phase.HIBERNATING, due=due, refresh_at=None, probes=probes, ask=Ask(scheduled=True))
    fields = _failure_fields(state, report)
    if entering:
        message = f"Entering rolekeeper hibernate - {_refusal(report)}; first probe at {rfc3339(due.wall)}"
        return asleep, (Record("hibernation_entered", "warning", message, fields),)
    if interval != before:
        message = f"Still hibernating - {report.message}; probing every {interval} from now on"
        return asleep, (Record("hibernating", "warning", message, fields),)
    return asleep, ()


def _unregistered(state: State, report: AttemptReport, _now: Instant) -> Step:
    cleared = replace(
        state,
        phase=Phase.UNREGISTERED,
        due=None,
        refresh_at=None,
        node_id=None,
        region=None,
        fingerprint=None,
        failures=0,
        refusals=0,
        probes=None,
        ask=Ask(scheduled=True),
    )
    return cleared, (Record("unregistered", "warning", f"{report.message}; {report.hint}"),)


def _due(state: State, delay: timedelta, now: Instant) -> Due:
    """`delay` after the attempt began, and no sooner than a second after it began or from now."""
    due = delays.after(_began(state), max(delay, delays.LEAST_INTERVAL))
    return due if not due.reached(now) else delays.after(now, delays.LEAST_INTERVAL)


def _jitter(state: State) -> float:
    return delays.jitter(state.node_id or str(_began(state).boot), state.attempts)


def _no_sooner(state: State, due: Due) -> Due:
    earliest = delays.after(_began(state), delays.LEAST_INTERVAL)
    return Due(max(due.wall, earliest.wall), max(due.boot, earliest.boot))


def _began(state: State) -> Instant:
    """When the attempt began that has just ended."""
    assert state.began is not None  # noqa: S101 - the table leads here from an attempt only
    return state.began


def _left_hibernation(before: State, after: State) -> tuple[Effect, ...]:
    """The record of it, unless the registration is gone: that has one of its own."""
    if before.probes is None or after.probes is not None or after.node_id is None:
        return ()
    again = after.node_id == before.node_id
    why = f"the service accepts {after.node_id} again" if again else f"this machine is {after.node_id} now"
    return (Record("hibernation_left", "info", f"Leaving hibernation: {why}", _about(after)),)


def _message(report: AttemptReport) -> str:
    """What the status says of the last outcome."""
    return _refusal(report) if report.outcome in (Outcome.FINGERPRINT_REFUSED, Outcome.NODE_UNKNOWN) else report.message


def _refusal(report: AttemptReport) -> str:
    """The refusal in SSM Agent's words (docs/protocol.md, section 5, end)."""
    found = report.message.find(report.code)
    reason = report.message[found:] if found >= 0 else f"{report.code}: {report.message}"
    return f"error occurred in RequestManagedInstanceRoleToken: {reason}"


def _failure_fields(state: State, report: AttemptReport) -> dict[str, str]:
    """The fields of an entry about an attempt that failed."""
    fields = {"code": report.code, "hint": report.hint, "request_id": report.request_id}
    return {"outcome": report.outcome.value} | _about(state) | {k: v for k, v in fields.items() if v}


def _about(state: State) -> dict[str, str]:
    """The fields that every entry about an attempt has."""
    fields = {"node_id": state.node_id, "region": state.region, "attempt": str(state.attempts)}
    return {name: value for name, value in fields.items() if value}


OUTCOMES: Mapping[Outcome, Callable[[State, AttemptReport, Instant], Step]] = {
    Outcome.ISSUED: _issued,
    Outcome.FAILED: _failed,
    Outcome.REFUSED: _refused,
    Outcome.FINGERPRINT_REFUSED: _hibernate,
    Outcome.NODE_UNKNOWN: _hibernate,
    Outcome.HARDWARE_UNREADABLE: _failed,
    Outcome.UNPUBLISHED: _unpublished,
    Outcome.VAULT_UNREADABLE: _failed,
    Outcome.UNREGISTERED: _unregistered,
}
