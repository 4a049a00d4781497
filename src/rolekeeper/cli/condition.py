"""What `status` and `wait` make of status.json: freshness now, whether a daemon lives, and its configuration.

The daemon writes status.json whenever something changes, and looks at its outputs with each attempt. So a reader judges
again what it can: ages by the clock, and an output by what it holds now. Where this user may not look, the last
attempt's look counts, and `unseen` says so.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum

from rolekeeper.adapters.files.paths import RefusedFileError
from rolekeeper.adapters.outputs import current
from rolekeeper.adapters.supervision import runtime
from rolekeeper.cli import endpointsocket
from rolekeeper.core import lifetime
from rolekeeper.core.loop.status import OutputStatus, Status
from rolekeeper.core.outcomes import CONSEQUENCES
from rolekeeper.errors import HardwareError, InputOutputError, OutputError
from rolekeeper.model import Freshness, OutputName, OutputProblem, Phase
from rolekeeper.ports import Clock
from rolekeeper.settings import Output, Settings
from rolekeeper.values import Value, replace

HELD = (Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED)  # credentials of ours


class ExitCode(IntEnum):
    """The exit codes of `status`."""

    FRESH = 0
    STALE = 1  # or backing off, on an older configuration, an output has a problem, or nothing serves an endpoint
    BAD = 2  # expired, absent, held by another program, unknown, or hibernating
    NOTHING = 3  # not registered, or no daemon


class Condition(Value):
    """status.json as it reads now; `reported` is None when there is none, `pid` None when no daemon lives.

    `is_outdated`: the daemon uses an older configuration than the one in the files. `unserved`: why nothing serves the
    endpoints that it publishes for. `unseen`: the outputs with credentials of ours that this user may not look at.
    """

    reported: Status | None
    pid: int | None
    is_outdated: bool = False
    unserved: OutputProblem | None = None
    unseen: tuple[OutputName, ...] = ()

    @property
    def freshness(self) -> Freshness:
        """Of the output that is worst."""
        return self.reported.freshness if self.reported is not None else Freshness.UNKNOWN

    @property
    def state(self) -> Phase | None:
        """The state; during an attempt the one that the last outcome led to, so that trying does not look healthy.

        None when there is no daemon to be in one.
        """
        if self.reported is None or self.pid is None:
            return None
        last = self.reported.last_outcome
        if self.reported.state is not Phase.ATTEMPTING or last is None:
            return self.reported.state
        return CONSEQUENCES[last.outcome].phase

    @property
    def exit_code(self) -> ExitCode:
        """Of `status`: the worst of daemon and outputs."""
        if self.state in (None, Phase.UNREGISTERED):
            return ExitCode.NOTHING
        if self.state is Phase.HIBERNATING or self.freshness not in (Freshness.FRESH, Freshness.STALE):
            return ExitCode.BAD
        troubled = self.state is Phase.BACKING_OFF or self.freshness is Freshness.STALE or self.is_outdated
        troubled = troubled or self.unserved is not None or any(one.problem for one in self.outputs())
        return ExitCode.STALE if troubled else ExitCode.FRESH

    def outputs(self, *names: OutputName) -> tuple[OutputStatus, ...]:
        """The outputs of these names, or all of them."""
        found = self.reported.outputs if self.reported is not None else ()
        return tuple(one for one in found if not names or one.output_name in names)


def read(settings: Settings, clock: Clock) -> Condition:
    """How daemon and outputs are. Raises InputOutputError when the status.json of a living daemon cannot be read."""
    directory = settings.daemon.runtime_directory
    found = reported(directory)
    pid = _pid(directory, found)
    if found is None:
        return Condition(None, pid)
    aged = [_now(one, found, clock) for one in found.outputs]
    seen = {one.output_name: _held(one, settings) for one in aged if one.freshness in HELD}
    outputs = tuple(replace(one, freshness=seen.get(one.output_name) or one.freshness) for one in aged)
    freshness = lifetime.worst(one.freshness for one in outputs)
    is_outdated = found.configuration is not None and found.configuration.digest != settings.digest
    now = replace(found, outputs=outputs, freshness=freshness, pid=pid)
    return Condition(now, pid, is_outdated, unseen=tuple(name for name, one in seen.items() if one is None))


def reported(directory: str) -> Status | None:
    """What status.json says; None also when a dead daemon has left one that cannot be read."""
    try:
        return runtime.read_status(directory)
    except InputOutputError:
        if runtime.living(directory) is not None:
            raise
        return None


def of_everything(settings: Settings, clock: Clock) -> Condition:
    """How daemon, outputs and the endpoint's socket are; systemd is asked for the latter."""
    return replace(read(settings, clock), unserved=endpointsocket.unserved(settings))


def service_now(reported: Status, clock: Clock) -> datetime:
    """What the service's clock shows, as far as credentials of this boot show it; else this machine's wall clock."""
    now = clock.now()
    lives = (one.life for one in reported.outputs if one.life is not None and lifetime.is_age_known(one.life))
    life = next(lives, None) if reported.boot_id == _boot_id(clock) else None
    return now.wall if life is None else lifetime.service_time(life, now)


def _pid(directory: str, reported: Status | None) -> int | None:
    """The daemon's pid, as it says itself when it is in another pid namespace."""
    pid = runtime.living(directory)
    return reported.pid if pid == 0 and reported is not None and reported.pid else pid


def _now(one: OutputStatus, reported: Status, clock: Clock) -> OutputStatus:
    """The output by the clock of this moment."""
    return replace(one, freshness=one.freshness_at(clock.now(), same_boot=reported.boot_id == _boot_id(clock)))


def _boot_id(clock: Clock) -> str | None:
    try:
        return clock.boot_id()
    except HardwareError:
        return None


def _held(one: OutputStatus, settings: Settings) -> Freshness | None:
    """What has become of the credentials in an output: its freshness when they are there; None when it is not seen."""
    outputs: Mapping[OutputName, Output] = {output.output_name: output for output in settings.outputs}
    output = outputs.get(one.output_name)
    if output is None:  # of an older configuration
        return None
    try:
        found = current.contents(output, settings.daemon.runtime_directory)
    except (PermissionError, RefusedFileError):  # this user may follow fewer links than the daemon
        return None
    except (OSError, OutputError):
        return Freshness.UNKNOWN
    if found.access_key_id == one.access_key_id:
        return one.freshness if found.is_complete else Freshness.ABSENT
    return Freshness.HELD_BY_ANOTHER if found.access_key_id else Freshness.ABSENT
