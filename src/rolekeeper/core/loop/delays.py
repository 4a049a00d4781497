"""When the next attempt is due.

A service that comes back after an outage meets every node that waited for it. How many come in the same second is
decided here: jitter moves each node's attempts by its own share, and it has to be wide as soon as an outage has lasted
for a few seconds. The goal is docs/herd.md's: of a fleet that booted together, no second after an outage of 10 s or
more sees more than 2%. That takes retries over most of a minute at the least, so doubling from 1 s cannot reach it.

- Refresh: at a share of the token's life (`[refresh] at`, half by default), a tenth earlier or later.
- Failed: after 1, 2 and 4 s, which cover a short fault, and are over before 10 s have passed; then after 90, 180 and
  every 240 s, with full jitter: from a tenth of the delay to the whole. A delay counts from the beginning of the
  attempt that failed, so that an attempt that hung delays nothing.
- An attempt that hung uses up a part of that window, and the rest of it would be narrow. It is followed in a window of
  81 s or wider, which begins a second after its end. An attempt of 2 s or longer is not retried quickly, because its
  retries would not be over before 10 s have passed. An attempt of hours was interrupted by a suspend of the machine,
  and is retried at once.
- Refused: 5, 10, then every 15 minutes, a tenth earlier or later.
- Hibernation: the first probe after 5 minutes, then intervals of twice, four and eight times that, three probes each,
  then the longest (docs/protocol.md, section 5, end), a tenth earlier or later.
- Jitter is derived from the node id and the attempt's number, so that a test can compute the exact second. Without a
  node id, the microsecond at which the attempt began distinguishes machines.
- Whatever happens, attempts begin at least a second apart.
- An attempt is due when either clock says so: a wall clock stepped back, or a suspend, delays nothing.
"""

from binascii import crc32
from datetime import datetime, timedelta

from rolekeeper.core import lifetime
from rolekeeper.model import Instant, Lifetime
from rolekeeper.values import Value

JITTER = 0.1  # share of a delay, either way; not after a failure
LEAST_INTERVAL = timedelta(seconds=1)  # between the beginnings of two attempts
READING_CONFIGURATION = timedelta(seconds=30)  # the deadline of an attempt that has not reported its settings yet
QUICK_BACKOFF = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4))
QUICK_ATTEMPT = timedelta(seconds=2)  # an attempt that took longer is not retried quickly
LONGEST_ATTEMPT = timedelta(hours=1)  # that can be configured; one that took longer was interrupted by a suspend
BACKOFF = (timedelta(seconds=90), timedelta(seconds=180), timedelta(seconds=240))
LEAST_SHARE = 0.1  # of a delay of a failed attempt
LEAST_WINDOW = BACKOFF[0] * (1 - LEAST_SHARE)  # in which a fleet that hung together asks again
REFUSED_BACKOFF = (timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=15))
PROBES_AN_INTERVAL = 3


class Due(Value):
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


def jitter(name: str, number: int) -> float:
    """A share from 0 to 1 for the attempt with this number; the same at every call.

    `name` identifies this machine.

    CRC-32 alone is linear: two nodes that are close at one attempt would be close at each. Hence the multiplication
    (the finalizer of MurmurHash3).
    """
    mixed = crc32(f"{name}/{number}".encode())
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return (mixed ^ mixed >> 16) / 0xFFFFFFFF


def around(delay: timedelta, share: float) -> timedelta:
    """`delay`, from a tenth earlier (`share` 0) to a tenth later (1)."""
    return delay * (1 + JITTER * (2 * share - 1))


def failed_delay(failures: int, took: timedelta, share: float) -> timedelta:
    """How long from the beginning of an attempt that failed, the `failures`-th since the last success, to the next.

    `took` is how long it lasted. `share` 0 is the earliest moment, 1 the latest.
    """
    if took < QUICK_ATTEMPT or took > LONGEST_ATTEMPT:
        if failures <= len(QUICK_BACKOFF):
            return QUICK_BACKOFF[failures - 1] * (LEAST_SHARE + (1 - LEAST_SHARE) * share)
        failures -= len(QUICK_BACKOFF)
    longest = BACKOFF[min(failures, len(BACKOFF)) - 1]
    earliest = max(longest * LEAST_SHARE, took + LEAST_INTERVAL)
    latest = max(longest, earliest + LEAST_WINDOW)
    return earliest + (latest - earliest) * share


def refused_delay(refusals: int) -> timedelta:
    """How long after the beginning of the attempt that was refused as the `refusals`-th since the last success."""
    return REFUSED_BACKOFF[min(refusals, len(REFUSED_BACKOFF)) - 1]


def probe_interval(probes: int, first: timedelta, longest: timedelta) -> timedelta:
    """How long to the next probe of a hibernation in which `probes` were made already."""
    doublings = 0 if probes == 0 else 1 + (probes - 1) // PROBES_AN_INTERVAL
    return min(first * (1 << min(doublings, 20)), longest)


def refresh_delay(credentials: Lifetime, now: Instant, at: float, share: float) -> timedelta:
    """How long until the refresh point of `credentials`, `at` this share of their life; negative when it is past."""
    life = credentials.expires_at - credentials.issued_at
    return around(life * at, share) - lifetime.age(credentials, now)
