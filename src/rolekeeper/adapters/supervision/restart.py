"""A restart of the daemon's unit by systemctl(1), in two steps: what holds the vault's lock releases it in between."""

import os
import subprocess
from contextlib import suppress

from rolekeeper.adapters.supervision.unit import SYSTEMD, UNIT, properties

_LONGEST_START = 90  # seconds
_PAUSE = 0.05  # seconds


class Restart:
    """A restart of the unit, if it runs, with the drop-ins that its directory has now."""

    def __init__(self) -> None:
        self._job: subprocess.Popen[str] | None = None
        self._why = ""

    def begin(self) -> None:
        """Begin, and return once the process that ran before has ended; the new one may not be ready yet."""
        if not os.path.isdir(SYSTEMD):
            return
        self._job = self._systemctl("daemon-reload")
        if self.end():
            return
        before = _main_process()
        self._job = self._systemctl("try-restart", UNIT)
        while self._job is not None and _main_process() in (before, "0"):
            with suppress(subprocess.TimeoutExpired):
                self._job.wait(_PAUSE)
                return

    def end(self) -> str:
        """Wait until the new process is ready; returns why there is none, or nothing."""
        if self._job is not None:
            try:
                said = self._job.communicate(timeout=_LONGEST_START)[1]
            except subprocess.TimeoutExpired as error:
                self._why = f"systemctl: {error}"
            else:
                if self._job.returncode:
                    self._why = f"systemctl: {said.strip().partition(chr(10))[0]}"
            self._job = None
        return self._why

    def _systemctl(self, *words: str) -> subprocess.Popen[str] | None:
        try:
            return subprocess.Popen(
                ["/usr/bin/env", "systemctl", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        except OSError as error:
            self._why = f"systemctl: {error}"
            return None


def _main_process() -> str:
    return (properties(UNIT, ("MainPID",)) or {}).get("MainPID", "0")
