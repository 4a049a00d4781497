"""The service's time, as far as its answers show it (docs/protocol.md, section 3).

The story: a request is signed at this machine's time. The answer's Date says how far that is from the service's. When
the service refused the signature, or the clocks are far apart, the next signature uses the service's time. A token's
age counts from the service's time too. The rules:

1. The clock difference is the answer's Date minus the middle of sending and receiving. Only an answer of the service
   itself counts, without Age, which marks the answer of a cache. A second or less is none: Date is no finer than that.
2. It is used for signing after a refused signature, or when it is over 4 minutes (the service tolerates 5). If that
   changes the signing time, a refused request goes out once more: two requests a call at most.
3. What was measured is kept as the service's time at a moment of the boot clock, so a step of the wall clock in between
   changes nothing. It lives as long as this object, and is never stored.
4. A service that has accepted a signature is near the time of that signature. A Date that is a quarter of an hour or
   more from it is believed only where it makes the token's life the shorter one, or the only usable one.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

from rolekeeper.adapters.ssm.answers import is_usable_expiry
from rolekeeper.adapters.ssm.http import Answer
from rolekeeper.errors import ServiceRefusedError, SignatureRefusedError
from rolekeeper.model import Instant
from rolekeeper.ports import Clock

T = TypeVar("T")
_NONE = timedelta(0)
_RESOLUTION = timedelta(seconds=1)
_LARGE = timedelta(minutes=4)
_CONTRADICTORY = timedelta(minutes=15)  # no service accepts a signature that is so far from its clock
_PLAUSIBLE_YEARS = range(2020, 2200)  # of the service's clock; ours may be back in 1970


class ServiceTime:
    """What is known of the service's clock. The `wall` of each Instant is what that clock showed at `boot`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.difference: timedelta | None = None  # service minus local, as the last answer showed
        self._measured: Instant | None = None  # the service's clock, as the last answer showed it, if it did
        self._reference: Instant | None = None  # the same, once signatures go by it; None: they go by ours
        self._signed: Instant | None = None  # whichever it was, at the last signature

    def now(self) -> datetime:
        """The time to sign at, which is remembered as the time of the last signature."""
        now = self._clock.now()
        time = now.wall if self._reference is None else _later(self._reference, now.boot)
        self._signed = Instant(time, now.boot)
        return time

    def measure(self, answer: Answer, *, genuine: bool) -> None:
        """Take the service's time from an answer; `genuine`: the service itself gave it."""
        self.difference = difference = clock_difference(answer) if genuine else None
        self._measured = None if difference is None else _service_time(answer, difference)
        if difference is not None and abs(difference) > _LARGE:
            self._reference = self._measured

    def signed_well(self, call: Callable[[], T]) -> T:
        """Rule 2: what `call` returns, which sends a signed request; it is called again after a wrong signing time."""
        try:
            return call()
        except ServiceRefusedError as refusal:
            tolerated = _RESOLUTION if isinstance(refusal, SignatureRefusedError) else _LARGE
            if self._signing_error() <= tolerated:
                raise
            self._reference = self._measured
        return call()

    def received_at(self, answer: Answer, expiry: object) -> datetime:
        """Rule 4: the service's time when the answer came that accepted our signature and holds this expiry."""
        signed = self._signed or answer.sent
        by_signature = _later(signed, answer.received.boot)
        if self._measured is None:
            return by_signature
        # The latest that Date allows: a machine that was suspended meanwhile does not know for how long it waited.
        by_date = self._measured.wall + (answer.received.boot - answer.sent.boot) / 2
        if abs(by_date - by_signature) < _CONTRADICTORY:
            return by_date
        earlier, later = sorted((by_date, by_signature))
        return later if is_usable_expiry(expiry, later) else earlier

    def _signing_error(self) -> timedelta:
        """How far the last signature's time was from the service's, as the answer showed; none when that is unknown."""
        if self._measured is None or self._signed is None:
            return _NONE
        return abs(_later(self._signed, self._measured.boot) - self._measured.wall)


def clock_difference(answer: Answer) -> timedelta | None:
    """The service's clock minus ours by rule 1; None when the answer does not show it."""
    if "age" in answer.headers:
        return None
    try:
        date = parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, OverflowError):  # the latter for numbers that no integer of C holds
        return None
    if date.year not in _PLAUSIBLE_YEARS:
        return None
    middle = answer.sent.wall + (answer.received.boot - answer.sent.boot) / 2
    difference = date.replace(tzinfo=date.tzinfo or UTC) - middle
    return _NONE if abs(difference) <= _RESOLUTION else difference


def _later(known: Instant, boot: timedelta) -> datetime:
    """The time at `boot` by a clock that showed `known`."""
    return known.wall + (boot - known.boot)


def _service_time(answer: Answer, difference: timedelta) -> Instant:
    """The service's time when the answer came: never by `received.wall`: the clock may have stepped since."""
    return Instant(_later(answer.sent, answer.received.boot) + difference, answer.received.boot)
