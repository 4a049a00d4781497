"""What each event does in each phase; `table` says which pairs exist.

- Every outcome of an attempt leads to one phase (core/outcomes.py); how long to wait there is in `delays`.
- Only an accepted request ends a hibernation, or a vault that holds another registration or none.
- What attempts find again and again is logged once, until credentials are issued: one entry for a change, not one for
  each probe. What only a person can change, such as a session that is too long, is logged once a day.
- A refresh requested during an attempt is served by that attempt; if it only reused published credentials, a new
  attempt follows. A reload requested during an attempt follows right after it.
- A series of attempts that fail is logged at its beginning and its end, with each new reason, and once an hour
  (`trouble`).
- Failures and refusals are counted since the last success, so that a service that alternates is not asked more often.
- A role that was refused has retries of its own (`roles`).
- Attempts begin at least a second apart, whatever the request.
- What is remembered of an output is what an attempt saw there last, never what was published once.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from rolekeeper import durations
from rolekeeper.core import lifetime
from rolekeeper.core.jsonvalues import shown
from rolekeeper.core.loop import daily, delays, roles, trouble
from rolekeeper.core.loop.delays import Due
from rolekeeper.core.loop.states import (
    Ask,
    Change,
    Configured,
    Effect,
    EndAttempt,
    Event,
    Finished,
    IllegalTransition,
    LastOutcome,
    StartAttempt,
    State,
)
from rolekeeper.core.outcomes import CONSEQUENCES
from rolekeeper.model import (
    AttemptReport,
    Holding,
    Instant,
    Lifetime,
    LogEntry,
    Outcome,
    OutputReport,
    Phase,
    RegistrationFound,
)
from rolekeeper.values import replace

ONCE_A_DAY = frozenset({"long_session"})
_NO_SERIES: Mapping[str, Any] = {"failures": 0, "refusals": 0, "trouble": None, "probes": None}


def attempt(state: State, ask: Ask, now: Instant) -> Change:
    """Begin an attempt now, or a second after the last one began, by the clock that never steps."""
    if state.began is not None:
        too_soon = state.began.boot + delays.LEAST_INTERVAL - now.boot
        if too_soon > timedelta(0):
            return replace(state, ask=ask, due=delays.after(now, too_soon)), ()
    number = state.attempts + 1
    ask = replace(ask, passed_over=roles.not_due(state, now) if ask.scheduled else frozenset())
    begun = replace(state, phase=Phase.ATTEMPTING, attempts=number, began=now, ask=ask, due=None)
    begun = replace(begun, reload_wanted=False, refresh_wanted=False)
    return begun, (StartAttempt(number, ask),)


def elapsed(state: State, _event: Event, now: Instant) -> Change:
    """The time of the next attempt has come."""
    return attempt(state, state.ask, now)


def refresh(state: State, _event: Event, now: Instant) -> Change:
    """Attempt now, and request a token whatever is published."""
    return attempt(state, replace(state.ask, reuse=False, scheduled=False), now)


def reload(state: State, _event: Event, now: Instant) -> Change:
    """Read the configuration again and attempt now; credentials that are fresh everywhere are reused."""
    return attempt(state, Ask(reload=True, reuse=_may_reuse(state)), now)


def vault_changed(state: State, _event: Event, now: Instant) -> Change:
    """Attempt now: the registration may be another one."""
    return attempt(state, replace(state.ask, reuse=_may_reuse(state), scheduled=False), now)


def _may_reuse(state: State) -> bool:
    """Whether fresh credentials may be reused: not in hibernation, nor while a requested refresh waits."""
    return state.probes is None and (state.ask.reuse or state.ask.scheduled)


def join_refresh(state: State, _event: Event, _now: Instant) -> Change:
    """Let the attempt in progress serve it, unless it only reuses fresh credentials."""
    return replace(state, refresh_wanted=True), ()


def queue_reload(state: State, _event: Event, _now: Instant) -> Change:
    """Reload as soon as the attempt in progress has ended."""
    return replace(state, reload_wanted=True), ()


def configured(state: State, event: Event, now: Instant) -> Change:
    """Use the configuration that the attempt has read; of outputs that are new in it, nothing is known yet."""
    assert isinstance(event, Configured)  # noqa: S101 - the table's key says so
    outputs = {one.name: _known(state, one) for one in event.policy.outputs}
    return replace(state, policy=event.policy, outputs=outputs, loaded_at=now.wall), ()


def _known(state: State, configured: OutputReport) -> OutputReport:
    """What is known of an output; of one that has another role now, nothing."""
    known = state.outputs.get(configured.name, configured)
    return known if known.role == configured.role else configured


def found(state: State, event: Event, _now: Instant) -> Change:
    """Know the node and what the outputs hold before the service has answered: it may hang."""
    assert isinstance(event, RegistrationFound)  # noqa: S101 - the table's key says so
    known = replace(_of_node(state, event.node_id), node_id=event.node_id, region=event.region)
    return _with_outputs(known, event.outputs), _left_hibernation(state, known)


def stop(state: State, _event: Event, _now: Instant) -> Change:
    """End, and the attempt in progress with it."""
    running = state.phase is Phase.ATTEMPTING
    stopped = replace(state, phase=Phase.STOPPING, due=None)
    entry = LogEntry("stopping", "info", "Stopping; published credentials stay in place until they expire")
    return stopped, (EndAttempt(), entry) if running else (entry,)


def finished(state: State, event: Event, now: Instant) -> Change:
    """Learn what the attempt found out, log it, and go where its outcome leads."""
    assert isinstance(event, Finished)  # noqa: S101 - the table's key says so
    report = roles.said_again(state, event.report)
    learned = _learn(state, report, now)
    about = _about(learned)
    news = (entry for entry in report.entries if entry not in state.logged)
    said, fresh = daily.filtered(state.said, news, ONCE_A_DAY, now)
    learned = replace(_roles_refused(learned, report), said=said)
    entries = tuple(replace(entry, fields={**about, **entry.fields}) for entry in fresh)
    after, effects = OUTCOMES[report.outcome](learned, report, now)
    since = None if after.probes is None else learned.hibernating_since_at or now.wall
    after = replace(after, hibernating_since_at=since)
    if report.outcome is Outcome.UNREGISTERED and state.last is not None and state.last.outcome is report.outcome:
        effects = ()  # logged before
    left = _left_hibernation(state, after)
    after, more = _grant(after, state, event, now)
    return after, entries + left + effects + more


def _grant(after: State, before: State, event: Finished, now: Instant) -> Change:
    """Do what was requested during the attempt and is not done by it."""
    refresh_wanted = before.refresh_wanted and event.report.is_reused
    if refresh_wanted:  # a command that waits for an outcome wants new credentials
        after = replace(after, ask=Ask(), last=before.last)
    if before.reload_wanted:  # with that `ask`, it requests a token as well
        return reload(after, event, now)
    return refresh(after, event, now) if refresh_wanted else (after, ())


def _learn(state: State, report: AttemptReport, now: Instant) -> State:
    """Take over what the report knows; what it does not know stays as it was, unless it was of another node."""
    state = _with_outputs(_of_node(state, report.node_id or state.node_id), report.outputs)
    written = dict.fromkeys((one.name for one in report.outputs if one.is_written), now.wall)
    return replace(
        state,
        node_id=report.node_id or state.node_id,
        region=report.region or state.region,
        published_at={**state.published_at, **written},
        fingerprint=report.fingerprint or state.fingerprint,
        clock_difference=state.clock_difference if report.clock_difference is None else report.clock_difference,
        key_created_at=report.key_created_at or state.key_created_at,
        unsuccessful=0 if report.outcome in _NO_FAILURE else state.unsuccessful + 1,
        outcomes={**state.outcomes, report.outcome: state.outcomes.get(report.outcome, 0) + 1},
        last=LastOutcome(report.outcome, report.code, _message(report), now.wall, report.hint),
        logged=() if report.outcome is Outcome.ISSUED else report.entries or state.logged,
    )


def _with_outputs(state: State, seen: Iterable[OutputReport]) -> State:
    """Remember what the outputs hold; what an earlier daemon or a command published there counts from its issue."""
    seen = [one for one in seen if one.name in state.outputs]
    before = {one.name: one.life.issued_at for one in seen if one.holding is Holding.OURS and one.life}
    outputs = {**state.outputs, **{one.name: one for one in seen}}
    return replace(state, outputs=outputs, published_at={**before, **state.published_at})


def _of_node(state: State, node_id: str | None) -> State:
    """Without what is remembered of another node."""
    if node_id == state.node_id:
        return state
    outputs = {one.name: one for one in state.policy.outputs} if state.policy else {}
    return replace(
        state,
        **_NO_SERIES,
        unsuccessful=0,
        hibernating_since_at=None,
        outputs=outputs,
        published_at={},
        fingerprint=None,
        key_created_at=None,
    )


def _issued(state: State, _report: AttemptReport, now: Instant) -> Change:
    refresh_point = _refresh_point(state, now)
    if refresh_point is None:
        raise IllegalTransition("credentials issued without a configuration or without a lifetime")
    delay, life = refresh_point
    waiting = replace(
        state,
        phase=Phase.WAITING,
        due=_no_sooner(state, delays.after(now, delay)),
        refresh_at=lifetime.service_time(life, now) + delay,
        last_success_at=now.wall,
        ask=Ask(scheduled=True),
        **_NO_SERIES,
    )
    return waiting, trouble.ended(state.trouble)


def _refresh_point(state: State, now: Instant) -> tuple[timedelta, Lifetime] | None:
    """How long until the first refresh point of current credentials, and their life; None when there are none."""
    if state.policy is None:
        return None
    share, jitter = state.policy.refresh_share, _jitter(state)
    lives = [one.life for one in state.outputs.values() if one.is_current and one.life is not None]
    points = ((delays.refresh_delay(life, now, share, jitter), life) for life in lives)
    return min(points, key=lambda point: point[0], default=None)


def _roles_refused(state: State, report: AttemptReport) -> State:
    """With the next retry of the roles that were refused, however the attempt ended."""
    if report.roles_refused:
        state = replace(state, refusals=state.refusals + 1)
    delay = delays.around(delays.refused_delay(max(state.refusals, 1)), _jitter(state))
    return replace(state, roles_refused=roles.refused(state, report, delays.after(_began(state), delay)))


def _failed(state: State, report: AttemptReport, now: Instant) -> Change:
    state = replace(_accepted(state, report), failures=state.failures + 1)
    delay = delays.failed_delay(state.failures, now.boot - _began(state).boot, _jitter(state))
    return _back_off_or_sleep_on(state, report, _due(state, delay, now), now)


def _refused(state: State, report: AttemptReport, now: Instant) -> Change:
    state = replace(_accepted(state, report), refusals=state.refusals + 1)
    delay = delays.around(delays.refused_delay(state.refusals), _jitter(state))
    return _back_off_or_sleep_on(state, report, _due(state, delay, now), now)


def _role_refused(state: State, report: AttemptReport, now: Instant) -> Change:
    """Retry when the first of the refused roles is due, but not later than other outputs need their credentials."""
    state = _accepted(state, report)
    dues = [one.due for one in state.roles_refused.values()]
    if not dues:
        raise IllegalTransition("a role was refused, and the report names none")
    refresh_point = _refresh_point(state, now)
    if refresh_point is not None and refresh_point[0] > timedelta(0):
        dues.append(delays.after(now, refresh_point[0]))
    due = Due(min(one.wall for one in dues), min(one.boot for one in dues))
    return _back_off_or_sleep_on(state, report, _no_sooner(state, due), now)


def _accepted(state: State, report: AttemptReport) -> State:
    """Out of hibernation when the service gave a token, even if an output lacks its credentials."""
    return replace(state, probes=None) if report.expires_at is not None else state


def _back_off_or_sleep_on(state: State, report: AttemptReport, due: Due, now: Instant) -> Change:
    return _back_off(state, report, due) if state.probes is None else _hibernate(state, report, now)


def _back_off(state: State, report: AttemptReport, due: Due) -> Change:
    series, is_news = trouble.failed(state.trouble, report, _began(state), is_scheduled=state.ask.scheduled)
    ask = Ask(scheduled=True)
    backing_off = replace(state, phase=Phase.BACKING_OFF, due=due, refresh_at=None, ask=ask, trouble=series)
    why = trouble.reason(series, report)
    message = f"Attempt {state.attempts}: {why}; {trouble.length(series)}next attempt at {shown(due.wall)}"
    fields = _failure_fields(state, report)
    if is_news:
        return backing_off, (LogEntry("backing_off", "warning", message, fields),)
    return backing_off, (LogEntry("backing_off", "debug", message, fields),)


def _hibernate(state: State, report: AttemptReport, now: Instant) -> Change:
    """Enter hibernation, or stay in it after a probe; one log entry for each interval."""
    if state.policy is None:
        raise IllegalTransition("hibernation without a configuration")
    entering = state.probes is None
    probes = 0 if state.probes is None else state.probes + (1 if state.ask.scheduled else 0)
    interval, before = (
        delays.probe_interval(count, state.policy.first_probe, state.policy.longest_probe)
        for count in (probes, state.probes or 0)
    )
    due = _due(state, delays.around(interval, _jitter(state)), now)
    ask = Ask(scheduled=True)
    asleep = replace(state, phase=Phase.HIBERNATING, due=due, refresh_at=None, probes=probes, ask=ask, trouble=None)
    fields = _failure_fields(state, report)
    if entering:
        message = f"Entering rolekeeper hibernate - {_refusal(report)}; first probe at {shown(due.wall)}"
        return asleep, (LogEntry("hibernation_entered", "warning", message, fields),)
    if interval != before:
        message = f"Still hibernating - {report.message}; probing every {durations.text(interval)} from now on"
        return asleep, (LogEntry("hibernating", "warning", message, fields),)
    return asleep, ()


def _unregistered(state: State, report: AttemptReport, _now: Instant) -> Change:
    cleared = replace(
        state,
        phase=Phase.UNREGISTERED,
        due=None,
        refresh_at=None,
        node_id=None,
        region=None,
        fingerprint=None,
        key_created_at=None,
        ask=Ask(scheduled=True),
        **_NO_SERIES,
    )
    return cleared, (LogEntry("unregistered", "warning", f"{report.message}; {report.hint}"),)


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
    """The entry that says so, unless the registration is gone: that has an entry of its own."""
    if before.probes is None or after.probes is not None or after.node_id is None:
        return ()
    again = after.node_id == before.node_id
    why = f"the service accepts {after.node_id} again" if again else f"this machine is now {after.node_id}"
    return (LogEntry("hibernation_left", "info", f"Leaving hibernation: {why}", _about(after)),)


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


_NO_FAILURE = (Outcome.ISSUED, Outcome.UNREGISTERED)
_SPECIAL: Mapping[Outcome, Callable[[State, AttemptReport, Instant], Change]] = {
    Outcome.ISSUED: _issued,
    Outcome.REFUSED: _refused,
    Outcome.ROLE_REFUSED: _role_refused,
    Outcome.UNREGISTERED: _unregistered,
}
OUTCOMES: Mapping[Outcome, Callable[[State, AttemptReport, Instant], Change]] = {
    outcome: _SPECIAL.get(outcome, _hibernate if one.phase is Phase.HIBERNATING else _failed)
    for outcome, one in CONSEQUENCES.items()
}
