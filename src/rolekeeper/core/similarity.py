"""Hardware hash against hardware hash: whether this is the machine that the fingerprint belongs to.

The rules (docs/protocol.md, section 1.3), in this order:

1. A threshold of -1 switches the check off: similar.
2. Nothing saved, or nothing measured: not similar.
3. Another `machine-id`: not similar.
4. The same `ipaddress-info`: similar, whatever else changed.
5. Otherwise the share of current components that equal the saved ones decides: at least the threshold, in percent. Two
   empty strings are equal; a component that was not saved counts as changed.

Ours beyond that: a component that could not be read is told apart from one that changed. When the answer is "not
similar" and would be "similar" if the components that could not be read matched, the verdict is "unreadable".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
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


class State(StrEnum):
    """What became of one component."""

    MATCHED = "matched"
    CHANGED = "changed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Component:
    """One component; `saved` is None when it was not saved, `reason` says why it could not be read."""

    name: str
    state: State
    saved: str | None
    current: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How two hardware hashes compare, component by component; `threshold` in percent, -1 when the check is off."""

    verdict: Verdict
    components: tuple[Component, ...]
    threshold: int

    @property
    def matched(self) -> int:
        """How many components have the saved value."""
        return sum(component.state is State.MATCHED for component in self.components)

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
        return FingerprintSummary(self.verdict, self.matched, self.compared, self.threshold)


def compare(saved: HardwareHash, current: Hardware, threshold: int) -> Report:
    """Compare the saved hardware hash with the hardware of this moment; `threshold` in percent or -1."""
    names = sorted(current.hash, key=_rank)
    components = tuple(_component(name, saved, current) for name in names)
    return Report(_verdict(saved, current.hash, components, threshold), components, threshold)


def judge(accepted: AcceptedFingerprint, measured: HardwareHash | None, hardware: Hardware) -> Report:
    """Compare with the accepted pair's hash and the one measured at the last accepted request: the better counts."""
    report = compare(accepted.hardware_hash, hardware, accepted.threshold)
    if measured is None:
        return report
    return min(report, compare(measured, hardware, accepted.threshold), key=lambda one: _PREFERENCE[one.verdict])


def digest(hardware_hash: HardwareHash) -> str:
    """A name for just this hardware hash: SHA-256, in hex, of its canonical JSON."""
    return hashlib.sha256(json.dumps(dict(hardware_hash), sort_keys=True).encode()).hexdigest()


def trial_fingerprint(accepted_fingerprint: str, hardware_hash: HardwareHash) -> str:
    """The fingerprint to try on hardware that is not similar: the same UUID for the same fingerprint and hardware.

    It is derived, so it needs no storage. Version 4 and the variant bits are set, as in any random fingerprint.
    """
    seed = bytearray(hashlib.sha256(f"{accepted_fingerprint} {digest(hardware_hash)}".encode()).digest()[:16])
    seed[6] = 0x40 | seed[6] & 0x0F
    seed[8] = 0x80 | seed[8] & 0x3F
    digits = seed.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def merge_measured(previous: HardwareHash | None, hardware: Hardware) -> dict[str, str]:
    """The hash to keep as measured: what could not be read this time keeps its previous value."""
    known = previous or {}
    return {
        name: known.get(name, value) if _is_unread(name, hardware) else value for name, value in hardware.hash.items()
    }


_PREFERENCE = {Verdict.SIMILAR: 0, Verdict.UNREADABLE: 1, Verdict.NOT_SIMILAR: 2}
_ORDER = {name: rank for rank, name in enumerate(COMPONENTS)}


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.get(name, len(_ORDER)), name


def _component(name: str, saved: HardwareHash, current: Hardware) -> Component:
    before, now = saved.get(name), current.hash[name]
    if now == before:
        return Component(name, State.MATCHED, before, now)
    if before and _is_unread(name, current):
        return Component(name, State.UNREADABLE, before, now, current.unreadable[name])
    return Component(name, State.CHANGED, before, now)


def _is_unread(name: str, hardware: Hardware) -> bool:
    return name in hardware.unreadable and not hardware.hash.get(name)


def _verdict(saved: HardwareHash, current: HardwareHash, components: tuple[Component, ...], threshold: int) -> Verdict:
    if _is_similar(saved, current, threshold):
        return Verdict.SIMILAR
    as_saved = {one.name: one.saved or "" for one in components if one.state is State.UNREADABLE}
    if _is_similar(saved, {**current, **as_saved}, threshold):
        return Verdict.UNREADABLE
    return Verdict.NOT_SIMILAR


def _is_similar(saved: Mapping[str, str], current: Mapping[str, str], threshold: int) -> bool:
    if threshold == THRESHOLD_OFF:
        return True
    if not saved or not current:
        return False
    if saved.get("machine-id", "") != current.get("machine-id", ""):
        return False
    if saved.get("ipaddress-info", "") == current.get("ipaddress-info", ""):
        return True
    matched = sum(saved.get(name) == value for name, value in current.items())
    return 100 * (matched / len(current)) >= threshold
