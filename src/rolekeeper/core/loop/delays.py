"""When the next attempt is due.

- Refresh: at a share of the token's life (`[refresh] at`, half by default), earlier or later by the spread.
- Failed: 1, 2, 4 ... 240 s after the attempt began. Counted from its beginning, so that an attempt that hung does not
  add to the time that the service needs to be noticed again.
- Refused: 5, 10, then every 15 minutes.
- Hibernation: the first probe after 5 minutes, then intervals of twice, four and eight times that, three probes each,
  then the longest (docs/protocol.md, section 5, end).
- Spread: up to a tenth earlier or later, derived from the node id and the attempt's number, so that a fleet that booted
  together does not ask together and a test can tell the very second. Without a node id, the microsecond at which the
  attempt began tells one machine from another.
- Whatever happens, attempts begin at least a second apart.
- An attempt is due when either clock says so: a wall clock stepped back, or a suspend, delays nothing.
"""

from binascii import crc32
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolekeeper.core import lifetime
from rolekeeper.model import Instant, Lifetime

JITTER = 0.1  # share of a delay
LEAST_INTERVAL = timedelta(seconds=1)  # between the beginnings of two attempts
READING_CONFIGURATION = timedelta(seconds=30)  # the deadline of an attempt that has not said its settings yet
LONGEST_BACKOFF = timedelta(seconds=240)
REFUSED_BACKOFF = (timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=15))
PROBES_AN_INTERVAL = 3


@dataclass(frozen=True, slots=True)
class Due:
    """A moment on both clocks, of which the one that comes first counts."""

    wall: datetime
    boot: timedelta

    def reached(self, now: Instant) -> bool:
        """Whether either clock has come to it."""
        return now.wall >= self.wall or now.boot >= self.boot

    def remaining(self, now: Instant) -> timedelta:
        """How long until the first of the two clocks comes to it; never negative."""
        return max(min(self.wall - now.wall, self.boot - now.boot), timedelta(0))


def after(start: Instant, delay: timedelta) -> Due:
    """`delay` after `start`."""
    return Due(start.wall + delay, start.boot + delay)


def spread(name: str, number: int) -> float:
    """A factor between 0.9 and 1.1 for the attempt with this number; the same at every call.

    `name` tells this machine from others.

    CRC-32 alone is linear, two nodes that are close at one attempt would be so at each: hence the multiplication
    (the finalizer of MurmurHash3).
    """
    mixed = crc32(f"{name}/{number}".encode())
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return 1 + JITTER * (2 * (mixed ^ mixed >> 16) / 0xFFFFFFFF - 1)


def failed_delay(failures: int) -> timedelta:
    """How long after the beginning of the attempt that failed as the `failures`-th since the last success."""
    return min(timedelta(seconds=1 << min(failures - 1, 20)), LONGEST_BACKOFF)


def refused_delay(refusals: int) -> timedelta:
    """How long after the beginning of the attempt that was refused as the `refusals`-th since the last success."""
    return REFUSED_BACKOFF[min(refusals, len(REFUSED_BACKOFF)) - 1]


def probe_interval(probes: int, first: timedelta, longest: timedelta) -> timedelta:
    """How long to the next probe of a hibernation in which `probes` were made already."""
    doublings = 0 if probes == 0 else 1 + (probes - 1) // PROBES_AN_INTERVAL
    return min(first * (1 << min(doublings, 20)), longest)


def refresh_delay(credentials: Lifetime, now: Instant, share: float, factor: float) -> timedelta:
    """How long until the refresh point of `credentials`; negative when it is past."""
    return (credentials.expires_at - credentials.issued_at) * share * factor - lifetime.age(credentials, now)
