"""The system's clocks. No other module reads the time, except the emulator, `endpoint` and `credential-process`.

The last two start like a bare interpreter, and this module is larger than the little that they need.
"""

import time
from datetime import UTC, datetime, timedelta

from rolekeeper.errors import HardwareError
from rolekeeper.model import Instant

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NANOSECONDS_PER_MICROSECOND = 1000


class SystemClock:
    """The clock of this machine, as ports.Clock.

    `boot_id` is the service manager's word for this boot (32 hex digits), for a sandbox that hides the kernel's.
    """

    def __init__(self, boot_id: str | None = None) -> None:
        self._boot_id = boot_id

    def now(self) -> Instant:
        """The present moment: the wall clock, and CLOCK_BOOTTIME, which goes on in suspend and never steps."""
        nanoseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Instant(datetime.now(UTC), timedelta(microseconds=nanoseconds // _NANOSECONDS_PER_MICROSECOND))

    def sleep(self, duration: timedelta) -> None:
        """Wait for `duration`; a negative one is none."""
        time.sleep(max(duration.total_seconds(), 0.0))

    def boot_id(self) -> str:
        """The kernel's name for the time since this machine was started, read once.

        Raises HardwareError `boot-unknown`.
        """
        if self._boot_id is None:
            try:
                with open(_BOOT_ID, encoding="ascii") as file:
                    self._boot_id = file.read().strip().replace("-", "")
            except OSError as error:
                raise HardwareError(
                    "boot-unknown",
                    f"Cannot read {_BOOT_ID}: {error.strerror}",
                    "make it readable, or hand it over as ROLEKEEPER_BOOT_ID, which is %b in a unit",
                ) from error
        digits = self._boot_id
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
