"""The system's clocks. No other module of rolekeeper reads the time or sleeps."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rolekeeper.model import Instant

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NANOSECONDS_PER_MICROSECOND = 1000


class SystemClock:
    """The clock of this machine, as ports.Clock."""

    def now(self) -> Instant:
        """The present moment: the wall clock, and CLOCK_BOOTTIME, which goes on in suspend and never steps."""
        nanoseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Instant(datetime.now(UTC), timedelta(microseconds=nanoseconds // _NANOSECONDS_PER_MICROSECOND))

    def sleep(self, duration: timedelta) -> None:
        """Wait for `duration`; a negative one is none."""
        time.sleep(max(duration.total_seconds(), 0.0))

    def boot_id(self) -> str:
        """The kernel's name for the time since this machine was started."""
        return _BOOT_ID.read_text(encoding="ascii").strip()
