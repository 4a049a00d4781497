"""A sample of `make faults`: each scenario killed, and let down by the system, at every kind of step that it takes."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from tests.faults.calls import CHANGING, ERRORS, KILL, NETWORK, Kind
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import Tally, courses, run
from tests.faults.tracing import why_not
from tests.faults.trials import LASTING, Course, Trial

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

NAMES = [scenario.name for scenario in SCENARIOS if not scenario.closed]
FAULTS = [(kind, fault) for kind in ERRORS for fault in ERRORS[kind]]
OFFLINE = ("threshold", "clear")
SEALING = ("seal", "rekey", "unseal")  # which share the faults of what changes something once more
OTHERS = [name for name in NAMES if name not in SEALING]
LONG = ("register anew", "rotation", "first start")  # with the saves that all others make, too


@pytest.fixture(scope="module")
def course() -> Iterator[Callable[[str], Course]]:
    with courses() as found:
        yield cache(found)


@pytest.fixture(scope="module", params=NAMES)
def followed(request: pytest.FixtureRequest, course: Callable[[str], Course]) -> Course:
    return course(request.param)


def kills(followed: Course) -> list[Trial]:
    """Every answer awaited, every rename of the long ones, and a step of a third of the other kinds."""
    name = followed.stage.scenario.name
    number = NAMES.index(name)
    trials = list(followed.kills())
    renames = [trial for trial in trials if trial.step.call.startswith("rename")]
    answers = [trial for trial in trials if trial.step.kind is Kind.RECEIVE]
    kinds = [kind for place, kind in enumerate(Kind) if place % 3 == number % 3 and kind is not Kind.RECEIVE]
    others = [[trial for trial in trials if trial.step.kind is kind] for kind in kinds]
    return (
        answers + (renames if name in LONG else renames[:1]) + [same[7 * number % len(same)] for same in others if same]
    )


def errors(followed: Course) -> list[Trial]:
    """This scenario's share of the faults, each at some step that may meet with it, for good where it may last."""
    name, found, trials = followed.stage.scenario.name, [], list(followed.errors(every=True))
    faults = [(kind, fault) for kind, fault in FAULTS if name not in SEALING or kind in CHANGING]
    for place, (kind, fault) in enumerate(faults):
        takers = SEALING if name in SEALING else [one for one in OTHERS if kind not in NETWORK or one not in OFFLINE]
        if takers[place % len(takers)] == name:
            lasting = fault in LASTING and kind in CHANGING
            same = [one for one in trials if (one.step.kind, one.fault, one.lasting) == (kind, fault, lasting)]
            found.append(same[5 * place % len(same)])
    return found


@pytest.mark.parametrize("sample", [kills, errors])
def test_nothing_is_lost_at_any_kind_of_step(followed: Course, sample: Callable[[Course], list[Trial]]) -> None:
    tally = Tally(followed.stage.scenario.name)
    run(followed, sample(followed), tally)
    assert (tally.missed, tally.broken) == ([], [])
    assert tally.kills + tally.errors > 3


@pytest.mark.parametrize(
    ("name", "call", "fault"),
    [
        ("attempt", "pread64 aws/.credentials.rolekeeper-new", "EIO"),  # as what was written is read back
        ("threshold", "fcntl run/lock", "EIO"),  # as the daemon is looked for, when all is done
        ("threshold", "flock vault/.vault.json.rolekeeper-lock", "EIO"),
        ("threshold", "openat conf.d", "EINTR"),  # as it is listed, like the next
        ("clear", "openat vault", "EINTR"),
        ("clear", "newfstatat aws/credentials", "EIO"),  # as our expiry is removed from it
        ("register", "read stdin", "EIO"),
        ("attempt", "fsetxattr aws/.credentials.rolekeeper-new", KILL),  # that shuts the group out
        ("sandbox", "statfs aws", "EIO"),  # as the remedy is looked for, like the next
        ("sandbox", "newfstatat aws", "EACCES"),
        ("rotation", "openat boot_id", "EMFILE"),
    ],
)
def test_nothing_is_lost_at_every_step_of_a_kind(
    course: Callable[[str], Course], name: str, call: str, fault: str
) -> None:
    followed, tally = course(name), Tally(name)
    run(followed, (Trial(at, step, fault) for at, step in enumerate(followed.steps) if step.call == call), tally)
    assert (tally.missed, tally.broken) == ([], [])
    assert tally.kills + tally.errors


@pytest.mark.parametrize("name", ["threshold", "attempt"])
def test_an_error_of_a_flush_is_told_wherever_it_comes(course: Callable[[str], Course], name: str) -> None:
    followed, tally = course(name), Tally(name)
    flushes = [(at, step) for at, step in enumerate(followed.steps) if step.kind is Kind.FLUSH]
    run(followed, (Trial(at, step, "EIO") for at, step in flushes), tally)
    assert (tally.missed, tally.broken) == ([], [])
    assert tally.errors >= len(("a file", "its directory"))


def test_an_output_is_tried_down_to_the_disk_before_a_token_is_asked_for(course: Callable[[str], Course]) -> None:
    calls = [step.call for step in course("attempt").steps]
    assert calls.index("fsync aws/.credentials.rolekeeper-new") < calls.index("connect")


def test_an_attempt_opens_its_output_four_times_at_most_and_its_vault_once(course: Callable[[str], Course]) -> None:
    """Once to look, and twice to publish: before the new file is written, and before it takes the name."""
    calls = Counter(step.call for step in course("attempt").steps)
    assert 0 < calls["openat aws/credentials"] <= 4
    assert calls["openat vault/vault.json"] == 1


@pytest.mark.parametrize(
    ("call", "fault"), [("openat conf.d", "EMFILE"), ("read config.toml", "EIO"), ("openat config.toml", "ENOTCONN")]
)
def test_a_configuration_that_cannot_be_read_just_now_is_not_called_wrong(
    course: Callable[[str], Course], call: str, fault: str
) -> None:
    """78 would end the daemon until a person starts it again."""
    followed = course("threshold")
    at = next(at for at, step in enumerate(followed.steps) if step.call == call)
    followed.stage.reset()
    assert followed.stage.perform(at, fault).code == 74


def test_a_kill_comes_before_the_call_takes_effect(course: Callable[[str], Course]) -> None:
    followed = course("threshold")
    server = followed.stage.server
    (at,) = (at for at, step in enumerate(followed.steps) if step.call.startswith("rename"))
    followed.stage.reset()
    before = server.vault()
    assert followed.stage.perform(at, KILL).was_killed
    assert server.vault() == before
    assert list(server.directory.glob("vault/**/*-new"))
    followed.stage.reset()
    assert followed.stage.perform(at + 1, KILL).was_killed
    assert server.vault() != before
