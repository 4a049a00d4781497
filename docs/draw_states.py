"""Draws the supervisor's state diagram: `python docs/draw_states.py > docs/states.md`.

Nothing is drawn by hand: the arrows of events are the pairs of `table.TABLE`, and where each outcome of an attempt
leads is found out by letting an attempt end that way, once outside a hibernation and once in one.
"""  # noqa: INP001 - a script, no package

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rolekeeper.core.loop import table
from rolekeeper.core.loop.states import Configured, Event, Finished, Policy, State
from rolekeeper.model import (
    AttemptReport,
    Holding,
    Instant,
    Lifetime,
    Outcome,
    OutputName,
    OutputProblem,
    OutputReport,
    Phase,
)
from rolekeeper.values import replace

NOW = Instant(datetime(2026, 11, 23, tzinfo=UTC), timedelta(days=1))
LIFE = Lifetime(NOW.wall, NOW.wall + timedelta(hours=1), NOW.boot)
OUTPUT = OutputReport(OutputName("/root/.aws/credentials", "default"))
POLICY = Policy(0.5, timedelta(minutes=5), timedelta(hours=1), (OUTPUT,))
# Whether the service may have given a token in an attempt that ends so; elsewhere it did not.
TOKENS = {
    Outcome.ISSUED: (True,),
    Outcome.ROLE_REFUSED: (True,),
    Outcome.UNPUBLISHED: (False, True),
    Outcome.FAILED: (False, True),
}
WORDS = {
    "Configured": "configuration read",
    "RegistrationFound": "registration found",
    "Elapsed": "time has come",
    "RefreshWanted": "refresh",
    "ReloadWanted": "reload",
    "VaultChanged": "vault changed",
    "StopWanted": "stop",
}
PAGE = """\
# The states of the supervisor

Drawn from the table in `core/loop/table.py` by `python docs/draw_states.py > docs/states.md`; a test draws it anew and
compares. A pair of state and event that has no arrow cannot happen.

```mermaid
stateDiagram-v2
    [*] --> Attempting
{arrows}
    Stopping --> [*]
```

An event that requests an attempt within a second of the last one's beginning leaves the state as it is, and the attempt
begins when that second has passed. The marks: (H) only in a hibernation, (N) only outside one, (T) with a token that
the service gave.
"""


def main() -> None:
    """Print the page."""
    arrows = sorted(set(_arrows()))
    sys.stdout.write(PAGE.format(arrows="\n".join(f"    {one} --> {other}: {text}" for one, other, text in arrows)))


def _arrows() -> Iterator[tuple[str, str, str]]:
    labels: dict[tuple[str, str], list[str]] = {}
    for (phase, event), transition in table.TABLE.items():
        if event is Finished:
            continue
        for target in transition.targets if len(transition.targets) == 1 else transition.targets - {phase}:
            labels.setdefault((_name(phase), _name(target)), []).append(WORDS[event.__name__])
    for outcome in Outcome:
        for phase, text in _ends(outcome):
            labels.setdefault((_name(Phase.ATTEMPTING), _name(phase)), []).append(text)
    for (one, other), texts in labels.items():
        yield one, other, ", ".join(texts)


def _ends(outcome: Outcome) -> Iterator[tuple[Phase, str]]:
    """Where an attempt with this outcome leads, and under which condition."""
    tokens = TOKENS.get(outcome, (False,))
    for token in tokens:
        mark = " (T)" if token and len(tokens) > 1 else ""
        outside, within = (_end(outcome, token=token, probes=probes) for probes in (None, 0))
        if outside is within:
            yield outside, f"{outcome}{mark}"
        else:
            yield outside, f"{outcome}{mark} (N)"
            yield within, f"{outcome}{mark} (H)"


def _end(outcome: Outcome, *, token: bool, probes: int | None) -> Phase:
    state, _ = table.start(NOW)
    current = replace(OUTPUT, holding=Holding.OURS, life=LIFE, is_current=True)
    refused = {"application": OutputProblem("", "", "")} if outcome is Outcome.ROLE_REFUSED else {}
    expires_at = LIFE.expires_at if token else None
    report = AttemptReport(outcome, outputs=(current,), expires_at=expires_at, roles_refused=refused)
    return _step(_step(replace(state, probes=probes), Configured(POLICY)), Finished(report)).phase


def _step(state: State, event: Event) -> State:
    return table.step(state, event, NOW)[0]


def _name(phase: Phase) -> str:
    return phase.value.title().replace("-", "")


if __name__ == "__main__":
    main()
