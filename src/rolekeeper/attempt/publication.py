"""What the outputs hold, and whether they can be written: what an attempt finds out before and after it publishes.

An output that cannot be read holds nothing here: `unwritable` has told of it, or publishing is about to.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from rolekeeper.attempt import facts
from rolekeeper.core import lifetime
from rolekeeper.errors import OutputError
from rolekeeper.model import CredentialsFile, Fact, Freshness, IssueRecord, Lifetime
from rolekeeper.ports import World


def unwritable(world: World, outputs: Iterable[CredentialsFile]) -> dict[CredentialsFile, OutputError]:
    """The outputs that cannot be written, and why; nothing in them is changed."""
    broken = {}
    for output in outputs:
        try:
            world.sink.prepare(output)
        except OutputError as error:
            broken[output] = error
    return broken


def holds(world: World, output: CredentialsFile, issue: IssueRecord) -> bool:
    """Whether the output's profile holds just these credentials."""
    try:
        return world.sink.holds(output, issue.access_key_id, issue.life.expires_at)
    except OutputError:
        return False


def all_hold(world: World, outputs: Iterable[CredentialsFile], issue: IssueRecord) -> bool:
    """Whether nothing is left to publish of these credentials."""
    return all(holds(world, output, issue) for output in outputs)


def overwritten(world: World, outputs: Iterable[CredentialsFile], issue: IssueRecord | None) -> Iterator[Fact]:
    """What there is to log about other programs that write to the outputs, for all that `issue`, the record, tells."""
    for output in outputs:
        with suppress(OutputError):
            if issue and world.sink.overwritten(output, issue.access_key_id, issue.life.expires_at):
                yield facts.overwritten_by_another(output)


def is_fresh(world: World, issue: IssueRecord) -> bool:
    """Whether the credentials are fresh, and of this boot.

    After another boot their age rests on a wall clock that may be wrong.
    """
    same_boot = issue.boot_id == world.clock.boot_id()
    return same_boot and lifetime.freshness(issue.life, world.clock.now()) is Freshness.FRESH


def standing(world: World, outputs: Iterable[CredentialsFile], issue: IssueRecord | None) -> Lifetime | None:
    """The life of what the outputs hold now, as far as `issue`, the vault's record, tells."""
    if issue is None or not any(holds(world, output, issue) for output in outputs):
        return None
    if issue.boot_id == world.clock.boot_id():
        return issue.life
    now = world.clock.now()  # another boot: nothing better than the wall clock tells the age
    issued_boot = now.boot - (now.wall - issue.life.issued_at)
    if issued_boot >= timedelta(0):
        return None  # after this machine started: the clock is wrong, and they may have expired
    return replace(issue.life, issued_boot=issued_boot)
