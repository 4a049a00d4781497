"""Which fingerprint this machine may send (docs/protocol.md, sections 1.3 and 1.4).

- Hardware similar to the accepted pair, or to what was measured at the last accepted request: the accepted fingerprint.
- Otherwise three looks, 5 s apart (closer in an attempt that may not take long), in case something at boot is not ready
  yet.
- Still not similar, but it would be if the components that cannot be read matched: no fingerprint, HardwareError.
- Not similar: a trial fingerprint, derived from the accepted one and the hardware, so that the same hardware always
  sends the same one. The service refuses it, unless an administrator has changed what it expects; the accepted one
  stays in the vault and is sent again when the hardware is back.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Report, State
from rolekeeper.errors import HardwareError
from rolekeeper.model import AcceptedFingerprint, Fact, Hardware, VaultContents, Verdict
from rolekeeper.ports import World

LOOKS = 3
BETWEEN_LOOKS = timedelta(seconds=5)


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
    """Look at the hardware until it is similar, three times at most.

    The time between takes a quarter of the attempt's at most: the service has to be asked all the same.
    """
    between = min(BETWEEN_LOOKS, attempt_timeout / 8)
    for remaining in reversed(range(LOOKS)):
        hardware = world.probe.look()
        report = similarity.judge(accepted, contents.measured, hardware)
        if report.verdict is Verdict.SIMILAR or not remaining:
            break
        world.clock.sleep(between)
    return hardware, report


def choose(accepted: AcceptedFingerprint, hardware: Hardware, report: Report) -> Identity:
    """The fingerprint to send with this hardware; raises HardwareError `hardware-unreadable`."""
    if report.verdict is Verdict.UNREADABLE:
        unread = "; ".join(f"{one.name} ({one.reason})" for one in report.components if one.state is State.UNREADABLE)
        raise HardwareError(
            "hardware-unreadable",
            f"Cannot tell whether this is the registered machine: {unread}",
            "make these readable; `rolekeeper fingerprint` shows every component",
        )
    if report.verdict is Verdict.SIMILAR:
        return Identity(accepted.fingerprint, hardware, report)
    return Identity(similarity.trial_fingerprint(accepted.fingerprint, hardware.hash), hardware, report)


def accepted(contents: VaultContents, identity: Identity) -> VaultContents:
    """The service accepted the fingerprint: remember it, and the hardware of this moment."""
    contents = replace(contents, measured=similarity.merge_measured(contents.measured, identity.hardware))
    if identity.is_trial and contents.node is not None:
        pair = replace(contents.node.accepted, fingerprint=identity.fingerprint, hardware_hash=identity.hardware.hash)
        return replace(contents, node=replace(contents.node, accepted=pair))
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
    message = (
        f"Hardware changed beyond the threshold ({report.matched} of {report.compared} components match, "
        f"threshold {report.threshold}%): {names}"
    )
    return (Fact("hardware_changed", "warning", message, fields),)
