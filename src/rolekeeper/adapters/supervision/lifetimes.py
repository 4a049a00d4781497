"""lifetime.json, beside status.json: what a reader needs to judge status.json by the moment when it reads.

- Ages are reckoned by CLOCK_BOOTTIME, which neither a step of the wall clock nor a suspend changes, and only within the
  boot that `boot_id` names.
- The daemon is known by its pid and by the moment when the kernel started that process: a pid that was given to another
  process since is no daemon.
- It is written before status.json. A reader that meets the two between the writes, or no lifetime.json at all, goes by
  status.json alone.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from rolekeeper.adapters.files.replace import read_file
from rolekeeper.core.jsonvalues import decode, to_json
from rolekeeper.errors import HardwareError
from rolekeeper.model import Lifetime

NAME = "lifetime.json"
_STARTED = 19  # of the fields behind the name in /proc/PID/stat: `starttime` (proc_pid_stat(5), field 22)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Since when the process `pid` runs (clock ticks since boot), and how long the published credentials are good."""

    boot_id: str
    pid: int
    started: int
    credentials: Lifetime | None


def of_daemon(pid: int, boot_id: str, credentials: Lifetime | None) -> Lifetimes:
    """What the daemon `pid` has to tell."""
    return Lifetimes(boot_id, pid, started(pid) or 0, credentials)


def encoded(lifetimes: Lifetimes) -> bytes:
    """The content of lifetime.json."""
    return to_json(lifetimes)


def read(directory: str, boot_id: Callable[[], str]) -> Lifetimes | None:
    """What lifetime.json says; None when there is none of this boot, or none that can be read."""
    with suppress(OSError, ValueError, RecursionError, HardwareError):
        data = read_file(f"{directory}/{NAME}")
        lifetimes = decode(Lifetimes, json.loads(data)) if data is not None else None
        return lifetimes if lifetimes is not None and lifetimes.boot_id == boot_id() else None
    return None


def started(pid: int) -> int | None:
    """When the kernel started the process, in clock ticks since boot; None when there is none, or none to be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[_STARTED])
    except OSError:
        return None
