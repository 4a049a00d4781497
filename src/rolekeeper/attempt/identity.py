"""Which fingerprint this machine may send (docs/protocol.md, sections 1.3 and 1.4).

- Hardware similar to the accepted pair, or to what was measured at the last accepted request: the accepted fingerprint.
- Otherwise three looks, 5 s apart (closer in an attempt that may not take long), in case something at boot is not ready
  yet.
- Still not similar, but it would be if the components that cannot be read matched: no fingerprint, HardwareError.
- Not similar: a trial fingerprint, the same one for the same hardware, stored before it is sent. The service will
  refuse it, unless it was told otherwise; the accepted one is kept and comes back when the hardware does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Report, State
from rolekeeper.errors import HardwareError
from rolekeeper.model import AcceptedFingerprint, Fact, Hardware, VaultContents, Verdict
from rolekeeper.ports import World

LOOKS = 3
BETWEEN_LOOKS = timedelta(seconds=5)
MOST_TRIALS = 32  # the vault forgets the oldest after that


@dataclass(frozen=True, slots=True)
class Identity:
    """The fingerprint to send, and what it rests on."""

    fingerprint: str
    hardware: Hardware
    report: Report

    @property
    def is_trial(self) -> bool:
        """Whether the hardware is not similar, so that the service has not accepted this fingerprint yet."""
        return self.report.verdict is not Verdict.SIMILAR


def look(
    world: World, contents: VaultContents, accepted: AcceptedFingerprint, attempt_timeout: timedelta
) -> tuple[Hardware, Report]:
    """Look at the hardware until it is similar, three times at most."""

    def judge(hardware: Hardware) -> Report:
        return similarity.judge(accepted, contents.measured, hardware)

    between = between_looks(attempt_timeout)
    hardware = look_until(world, between, lambda seen: judge(seen).verdict is Verdict.SIMILAR)
    return hardware, judge(hardware)


def between_looks(attempt_timeout: timedelta) -> timedelta:
    """The pause between two looks: all of them take a quarter of the attempt's time at most."""
    return min(BETWEEN_LOOKS, attempt_timeout / 8)


def look_until(world: World, between: timedelta, is_enough: Callable[[Hardware], bool]) -> Hardware:
    """Look at the hardware until a look `is_enough`, three times at most; returns the last look."""
    for remaining in reversed(range(LOOKS)):
        hardware = world.probe.look()
        if is_enough(hardware) or not remaining:
            break
        world.clock.sleep(between)
    return hardware


def choose(
    world: World, contents: VaultContents, accepted: AcceptedFingerprint, hardware: Hardware, report: Report
) -> tuple[Identity, VaultContents]:
    """The fingerprint to send with this hardware; a new trial fingerprint is stored first.

    Raises HardwareError `hardware-unreadable`.
    """
    if report.verdict is Verdict.UNREADABLE:
        unread = "; ".join(f"{one.name} ({one.reason})" for one in report.components if one.state is State.UNREADABLE)
        raise HardwareError(
            "hardware-unreadable",
            f"Cannot tell whether this is the registered machine: {unread}",
            "make these readable; `rolekeeper fingerprint` shows every component",
        )
    if report.verdict is Verdict.SIMILAR:
        return Identity(accepted.fingerprint, hardware, report), contents
    digest = similarity.digest(hardware.hash)
    if digest not in contents.trials:
        kept = list(contents.trials.items())[-(MOST_TRIALS - 1) :]
        contents = replace(contents, trials={**dict(kept), digest: world.new_fingerprint()})
        world.vault.save(contents)
    return Identity(contents.trials[digest], hardware, report), contents


def accepted(contents: VaultContents, identity: Identity) -> VaultContents:
    """The service accepted the fingerprint: remember it, and the hardware of this moment."""
    contents = replace(contents, measured=similarity.merge_measured(contents.measured, identity.hardware))
    if identity.is_trial and contents.fingerprint is not None:
        pair = replace(contents.fingerprint, fingerprint=identity.fingerprint, hardware_hash=identity.hardware.hash)
        return replace(contents, fingerprint=pair, trials={})
    return contents


def changes(
    contents: VaultContents, accepted: AcceptedFingerprint, hardware: Hardware, report: Report
) -> tuple[Fact, ...]:
    """What there is to log about the hardware: the components that differ from the last accepted request's."""
    before = contents.measured or accepted.hardware_hash
    compared = similarity.compare(before, hardware, accepted.threshold)
    changed = [one.name for one in compared.components if one.state is State.CHANGED]
    if not changed:
        return ()
    names = ", ".join(changed)
    fields = {"components": names, "matched": str(report.matched), "compared": str(report.compared)}
    if report.verdict is Verdict.SIMILAR:
        return (Fact("hardware_changed", "info", f"Hardware changed, still similar: {names}", fields),)
    message = f"Hardware changed ({similarity.explain(report.summary())}): {names}"
    return (Fact("hardware_changed", "warning", message, fields),)
