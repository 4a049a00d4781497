"""Hardware hash against hardware hash: whether this is the machine that the fingerprint belongs to.

The rules (docs/protocol.md, section 1.3), in this order:

1. A threshold of -1 switches the check off: similar.
2. Nothing saved, or nothing measured: not similar.
3. Another `machine-id`: not similar.
4. The same `ipaddress-info`: similar, whatever else changed.
5. Otherwise the share of current components that equal the saved ones decides: at least the threshold, in percent. Two
   empty strings are equal; a component that was not saved counts as changed.

Rolekeeper adds one verdict: a component that could not be read is not a component that changed. When the answer is "not
similar" and would be "similar" if the components that could not be read matched, the verdict is "unreadable".

Rules 3 and 4 let one component decide, whatever the share is. A report names that component, because
"8 of 9 match: not similar" explains nothing.
"""

import json
from collections.abc import Mapping
from enum import StrEnum

from rolekeeper.model import (
    COMPONENTS,
    THRESHOLD_OFF,
    AcceptedFingerprint,
    FingerprintSummary,
    Hardware,
    HardwareHash,
    Verdict,
)
from rolekeeper.values import Value

MACHINE_ID, IP_ADDRESS = "machine-id", "ipaddress-info"


class ComponentState(StrEnum):
    """What became of one component."""

    MATCHED = "matched"
    CHANGED = "changed"
    UNREADABLE = "unreadable"


class Component(Value):
    """One component; `saved` is None when it was not saved, `reason` says why it could not be read."""

    name: str
    state: ComponentState
    saved: str | None
    current: str
    reason: str = ""


class Comparison(Value):
    """How two hardware hashes compare, component by component; `threshold` in percent, -1 when the check is off.

    `decided_by` names the one component that decided; empty when the share or the threshold did.
    """

    verdict: Verdict
    components: tuple[Component, ...]
    threshold: int
    decided_by: str = ""

    @property
    def matched(self) -> int:
        """How many components have the saved value."""
        return sum(component.state is ComponentState.MATCHED for component in self.components)

    @property
    def compared(self) -> int:
        """How many components there are now: those the share is taken of."""
        return len(self.components)

    @property
    def share(self) -> float:
        """The matched components' share of the compared ones, between 0 and 1."""
        return self.matched / self.compared if self.components else 0.0

    def summary(self) -> FingerprintSummary:
        """The figures alone, for reports and status."""
        return FingerprintSummary(self.verdict, self.matched, self.compared, self.threshold, self.decided_by)


def compare(saved: HardwareHash, current: Hardware, threshold: int) -> Comparison:
    """Compare the saved hardware hash with the hardware of this moment; `threshold` in percent or -1."""
    names = sorted(current.hash, key=_rank)
    components = tuple(_component(name, saved, current) for name in names)
    verdict, decided_by = _verdict(saved, current.hash, components, threshold)
    return Comparison(verdict, components, threshold, decided_by)


def judge(accepted: AcceptedFingerprint, measured: HardwareHash | None, hardware: Hardware) -> Comparison:
    """Compare with the accepted pair's hash and the one measured at the last accepted request: the better counts."""
    bound = compare(accepted.hardware_hash, hardware, accepted.threshold)
    if measured is None:
        return bound
    return min(bound, compare(measured, hardware, accepted.threshold), key=lambda one: _PREFERENCE[one.verdict])


def explain(summary: FingerprintSummary) -> str:
    """The figures in words, with the component that decided alone, if one did."""
    threshold = "off" if summary.threshold == THRESHOLD_OFF else f"{summary.threshold}%"
    text = f"{summary.matched} of {summary.compared} match, threshold {threshold}: {summary.verdict}"
    return text + _BECAUSE.get(summary.decided_by, "")


def digest(hardware_hash: HardwareHash) -> str:
    """A name for just this hardware hash: SHA-256, in hex, of its canonical JSON."""
    from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL, which the supervisor does without

    return sha256(json.dumps(dict(hardware_hash), sort_keys=True).encode()).hexdigest()


def trial_fingerprint(accepted: str, hardware_hash: HardwareHash) -> str:
    """The fingerprint to try with hardware that is not similar: the same for the same hardware, in a UUID's form.

    It is derived from the accepted fingerprint and the hash, so nothing has to be stored before it is sent.
    """
    from hashlib import sha256  # noqa: PLC0415 - the same

    found = bytearray(sha256(f"{accepted} {digest(hardware_hash)}".encode()).digest()[:16])
    found[6] = found[6] & 0x0F | 0x40  # version 4
    found[8] = found[8] & 0x3F | 0x80  # variant of RFC 9562
    text = found.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def merge_measured(previous: HardwareHash | None, hardware: Hardware) -> dict[str, str]:
    """The hash to keep as measured: what could not be read this time keeps its previous value."""
    known = previous or {}
    return {
        name: known.get(name, value) if _is_unread(name, hardware) else value for name, value in hardware.hash.items()
    }


_BECAUSE = {
    MACHINE_ID: f", because {MACHINE_ID} differs, which alone decides",
    IP_ADDRESS: f", because {IP_ADDRESS} is the same, which alone is enough",
}
_PREFERENCE = {Verdict.SIMILAR: 0, Verdict.UNREADABLE: 1, Verdict.NOT_SIMILAR: 2}
_ORDER = {name: rank for rank, name in enumerate(COMPONENTS)}


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.get(name, len(_ORDER)), name


def _component(name: str, saved: HardwareHash, current: Hardware) -> Component:
    before, now = saved.get(name), current.hash[name]
    if now == before:
        return Component(name, ComponentState.MATCHED, before, now)
    if before and _is_unread(name, current):
        return Component(name, ComponentState.UNREADABLE, before, now, current.unreadable[name])
    return Component(name, ComponentState.CHANGED, before, now)


def _is_unread(name: str, hardware: Hardware) -> bool:
    return name in hardware.unreadable and not hardware.hash.get(name)


def _verdict(
    saved: HardwareHash, current: HardwareHash, components: tuple[Component, ...], threshold: int
) -> tuple[Verdict, str]:
    """The verdict, and the component that decided it alone."""
    is_similar, decided_by = _is_similar(saved, current, threshold)
    if is_similar:
        return Verdict.SIMILAR, decided_by
    as_saved = {one.name: one.saved or "" for one in components if one.state is ComponentState.UNREADABLE}
    could_be_similar, decided_by = _is_similar(saved, {**current, **as_saved}, threshold)
    return (Verdict.UNREADABLE, "") if could_be_similar else (Verdict.NOT_SIMILAR, decided_by)


def _is_similar(saved: Mapping[str, str], current: Mapping[str, str], threshold: int) -> tuple[bool, str]:
    """Rules 1 to 5, and the component that decided alone."""
    if threshold == THRESHOLD_OFF:
        return True, ""
    if not saved or not current:
        return False, ""
    if saved.get(MACHINE_ID, "") != current.get(MACHINE_ID, ""):
        return False, MACHINE_ID
    matched = sum(saved.get(name) == value for name, value in current.items())
    is_enough = 100 * (matched / len(current)) >= threshold
    if saved.get(IP_ADDRESS, "") == current.get(IP_ADDRESS, ""):
        return True, "" if is_enough else IP_ADDRESS
    return is_enough, ""
