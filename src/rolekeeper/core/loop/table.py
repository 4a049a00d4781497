"""The supervisor's rules as a table over phase and event: `step(state, event, now) -> (state, effects)`.

A pair that the table does not hold cannot happen; `step` raises IllegalTransition. The diagram in docs/states.md is
drawn from the table. `transitions` says what each entry does, `delays` how long to wait.
"""

from collections.abc import Callable, Mapping

from rolekeeper.core.loop import transitions
from rolekeeper.core.loop.states import (
    Ask,
    Change,
    Configured,
    Elapsed,
    Event,
    Finished,
    IllegalTransition,
    RefreshWanted,
    ReloadWanted,
    State,
    StopWanted,
    VaultChanged,
)
from rolekeeper.model import Instant, Phase, RegistrationFound
from rolekeeper.values import Value


def start(now: Instant) -> Change:
    """The first state: an attempt begins, which reuses credentials that are already published and fresh."""
    return transitions.attempt(State(Phase.WAITING), Ask(reload=True, reuse=True), now)


def step(state: State, event: Event, now: Instant) -> Change:
    """What `event` makes of `state`, and the effects to carry out."""
    transition = TABLE.get((state.phase, type(event)))
    if transition is None:
        raise IllegalTransition(f"{type(event).__name__} while {state.phase}")
    after, effects = transition.handle(state, event, now)
    if after.phase not in transition.targets:
        raise IllegalTransition(f"{type(event).__name__} led from {state.phase} to {after.phase}")
    return after, effects


class Transition(Value):
    """What an event does in a phase, and the phases that it can lead to."""

    handle: Callable[[State, Event, Instant], Change]
    targets: frozenset[Phase]


def _to(handle: Callable[[State, Event, Instant], Change], *targets: Phase) -> Transition:
    return Transition(handle, frozenset(targets))


def _resting(phase: Phase) -> dict[tuple[Phase, type[Event]], Transition]:
    """A phase between attempts: every event begins one, at once or when a second has passed since the last."""
    both = (Phase.ATTEMPTING, phase)
    return {
        (phase, RefreshWanted): _to(transitions.refresh, *both),
        (phase, ReloadWanted): _to(transitions.reload, *both),
        (phase, VaultChanged): _to(transitions.vault_changed, *both),
        (phase, Elapsed): _to(transitions.elapsed, *both),
        (phase, StopWanted): _to(transitions.stop, Phase.STOPPING),
    }


TABLE: Mapping[tuple[Phase, type[Event]], Transition] = {
    (Phase.ATTEMPTING, Configured): _to(transitions.configured, Phase.ATTEMPTING),
    (Phase.ATTEMPTING, RegistrationFound): _to(transitions.found, Phase.ATTEMPTING),
    (Phase.ATTEMPTING, Finished): _to(transitions.finished, *(phase for phase in Phase if phase is not Phase.STOPPING)),
    (Phase.ATTEMPTING, RefreshWanted): _to(transitions.join_refresh, Phase.ATTEMPTING),
    (Phase.ATTEMPTING, ReloadWanted): _to(transitions.queue_reload, Phase.ATTEMPTING),
    (Phase.ATTEMPTING, StopWanted): _to(transitions.stop, Phase.STOPPING),
    **_resting(Phase.UNREGISTERED),
    **_resting(Phase.WAITING),
    **_resting(Phase.BACKING_OFF),
    **_resting(Phase.HIBERNATING),
}
