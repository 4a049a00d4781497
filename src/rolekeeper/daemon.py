"""The loop: events in, effects out. `core.loop.table` decides; here is what happens around a decision.

- The daemon sleeps nearly always, in slices of at most a minute and half the watchdog interval, so that it notices a
  step of the wall clock, a change of the vault and a change of freshness. It never waits for a disk, the network or an
  attempt.
- The first attempt reads the configuration. A wrong one ends the daemon (78) when none is in force; the status line,
  which systemd keeps showing, then says what is wrong.
- READY=1 at the first outcome, whatever it is, or after 20 s: a boot never waits for the service.
- The deadline of an attempt is measured by CLOCK_BOOTTIME alone, because the wall clock may be corrected during the
  first attempt of a boot.
- Health reports are separate processes beside the attempts. Nothing waits for them or fails with them.
- An attempt of another version means that rolekeeper was upgraded: the daemon executes itself anew, and keeps its pid,
  its lock and its socket.
"""

import signal
from contextlib import suppress
from datetime import timedelta

from rolekeeper.core import metrics
from rolekeeper.core.loop import delays, health, status, table
from rolekeeper.core.loop.states import (
    Change,
    Configured,
    Effect,
    Elapsed,
    EndAttempt,
    Event,
    Finished,
    Policy,
    RefreshWanted,
    ReloadWanted,
    StartAttempt,
    StopWanted,
    VaultChanged,
)
from rolekeeper.errors import ConfigurationError, HardwareError, InputOutputError, UnavailableError
from rolekeeper.model import AttemptReport, HealthReported, LogEntry, Outcome, Phase, RegistrationFound
from rolekeeper.ports import Accepted, DaemonWorld, Ended, Log, Message, Outdated, Rejected, Wakeup
from rolekeeper.settings import SupervisorSettings

LONGEST_SLICE = timedelta(seconds=60)
READY_AFTER = timedelta(seconds=20)
START_TIMEOUT = READY_AFTER * 2  # counted from the first notification
EVENTS: dict[Wakeup, type[StopWanted | ReloadWanted | RefreshWanted]] = {
    Wakeup.STOP: StopWanted,
    Wakeup.RELOAD: ReloadWanted,
    Wakeup.REFRESH: RefreshWanted,
}


def run(world: DaemonWorld) -> int:
    """Run until SIGTERM; returns the exit code. Raises RolekeeperError for what only a person can correct."""
    return _Daemon(world).run()


def policy(settings: SupervisorSettings) -> Policy:
    """What the loop's rules need of the settings."""
    return Policy(
        refresh_share=settings.refresh_share,
        first_probe=settings.hibernation.first_probe,
        longest_probe=settings.hibernation.longest_probe,
        outputs=settings.outputs,
        digest=settings.digest,
    )


class _Daemon:
    """The state of the loop, and of what surrounds it."""

    def __init__(self, world: DaemonWorld) -> None:
        self.world = world
        self.settings: SupervisorSettings | None = None
        self.opened_log: Log | None = None
        self.ready_boot: timedelta | None = world.clock.now().boot + READY_AFTER
        self.deadline_boot: timedelta | None = None  # of the attempt in progress
        self.reloading = False  # the attempt in progress has not yet accepted or rejected the configuration
        self.vault_seen: object = None
        self.last_line = ""
        self.last_status: status.Status | None = None  # in status.json and metrics.prom
        self.status_trouble = ""  # why they could not be written last time; logged once
        self.reports = health.HealthReports()
        self.exit_code: int | None = None
        self.why_ended = ""  # the status line of a daemon that ends with a wrong configuration

    def run(self) -> int:
        self.world.manager.notify(f"EXTEND_TIMEOUT_USEC={START_TIMEOUT // timedelta(microseconds=1)}")
        self._apply(table.start(self.world.clock.now()))
        while self.exit_code is None:
            wakeup = self.world.signals.wait(self._slice())
            self.world.attempts.reap()
            for event in self._events(wakeup):
                self._apply(table.step(self.state, event, self.world.clock.now()))
            self._report_health()
            self._show()
        return self.exit_code

    def _apply(self, change: Change) -> None:
        self.state, effects = change
        for effect in effects:
            self._perform(effect)
        if self.state.phase is Phase.STOPPING:
            self.exit_code = 0
        elif self.state.phase is not Phase.ATTEMPTING and self.settings is not None:
            self.vault_seen = self.world.watch.look(self.settings.vault_directory)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, LogEntry):
            self._log(effect)
        elif isinstance(effect, EndAttempt):
            self.world.attempts.end()
        else:
            self._start(effect)

    def _start(self, effect: StartAttempt) -> None:
        settings = None if effect.ask.reload else self.settings
        self._set_deadline(delays.READING_CONFIGURATION if settings is None else settings.daemon.attempt_timeout)
        self.reloading = effect.ask.reload
        self.world.attempts.start(reload=effect.ask.reload, reuse=effect.ask.reuse, passed_over=effect.ask.passed_over)

    def _set_deadline(self, longest: timedelta) -> None:
        self.deadline_boot = self.world.clock.now().boot + longest

    def _events(self, wakeup: Wakeup | None) -> list[Event]:
        """What has happened: what the attempt said, then a signal, else what time and vault say.

        In this order: a command that changes the vault after the attempt's report, and signals, gets another attempt.
        """
        events: list[Event] = []
        if wakeup in EVENTS:
            events.append(EVENTS[wakeup]())
            if wakeup is Wakeup.RELOAD:
                self.world.manager.notify("RELOADING=1")
        if self.state.phase is Phase.ATTEMPTING:
            return events[:1] if wakeup is Wakeup.STOP else self._from_attempt() + events
        if events:
            return events
        return self._from_time_and_vault()

    def _from_attempt(self) -> list[Event]:
        events: list[Event] = []
        for message in self.world.attempts.messages():
            events += self._heard(message)
        if not events and self.deadline_boot is not None and self.world.clock.now().boot >= self.deadline_boot:
            self.world.attempts.end()
            return [self._finish(_TIMED_OUT)]
        return events

    def _heard(self, message: Message) -> list[Event]:
        """What a message of the attempt means to the loop."""
        if isinstance(message, Accepted):
            self._accept(message.settings)
            return [Configured(policy(message.settings))]
        if isinstance(message, Rejected):
            self._reject(message.problems)
            return []
        if isinstance(message, RegistrationFound):
            return [message]
        if isinstance(message, AttemptReport):
            return [self._finish(message)]
        if isinstance(message, Outdated):
            return [self._finish(self._outdated(message.version))]
        if isinstance(message, HealthReported):  # of its own processes only
            return []
        if self.settings is None and message.status == ConfigurationError.exit_code:
            self.exit_code = message.status  # the attempt has logged why
            return []
        return [self._finish(_crashed(message))]

    def _outdated(self, version: str) -> AttemptReport:
        """Continue with the code of the installed version; the report says why that was not possible."""
        message = f"Rolekeeper {version} is installed now: this daemon ({self.world.version}) executes itself anew"
        self._log(LogEntry("upgraded", "info", message))
        self.world.manager.notify("RELOADING=1")
        try:
            self.world.execute_anew(version)
        except UnavailableError as error:
            self._say_reloaded()
            return AttemptReport(Outcome.FAILED, code=error.code, message=error.message, hint=error.hint)
        raise AssertionError("execute_anew returned")

    def _finish(self, report: AttemptReport) -> Finished:
        self.deadline_boot = None
        self._say_ready()
        if self.reloading and self.settings is not None:
            self._keep("the attempt ended before it had read the new one")
        return Finished(report)

    def _from_time_and_vault(self) -> list[Event]:
        if self.state.due is not None and self.state.due.reached(self.world.clock.now()):
            return [Elapsed()]
        if self.settings is not None and self.world.watch.look(self.settings.vault_directory) != self.vault_seen:
            return [VaultChanged()]
        return []

    def _report_health(self) -> None:
        """Handle the result of the last health report, and begin the next one when it is due."""
        children, now = self.world.health, self.world.clock.now()
        if children is None:
            return
        for message in children.messages():
            result = message if isinstance(message, HealthReported) else _unreported(message, self.state.node_id)
            self.reports, entry = health.heard(self.reports, result, now)
            if entry is not None:
                self._log(entry)
        children.reap()
        every = self.settings.report_health_every if self.settings else None
        if self.state.phase is Phase.STOPPING:
            children.end()
        elif every is not None and health.is_due(self.reports, self.state, now):
            children.end()  # one that hangs in the kernel
            self.reports = health.begun(self.reports, every, self.state, now)
            children.start(reload=False, reuse=False)

    def _accept(self, settings: SupervisorSettings) -> None:
        """Use new settings; the runtime directory stays where it was claimed first."""
        first = self.settings is None
        if first:
            with suppress(InputOutputError):  # reported with status.json, which cannot be written then, either
                self.world.runtime.claim(settings.daemon.runtime_directory)
        self.world.attempts.proceed()  # before our next imports, for which it would wait
        self.settings = settings
        self.opened_log = self.world.open_log(settings.daemon.log_level)
        self.reloading = False
        self._set_deadline(settings.daemon.attempt_timeout)
        if first:
            self._log(LogEntry("started", "info", f"Started rolekeeper {self.world.version}"))
        else:
            self._log(LogEntry("reloaded", "info", "Configuration reloaded"))
        self._say_reloaded()

    def _reject(self, problems: str) -> None:
        if self.settings is None:
            self.why_ended = _wrong_configuration(problems)
            return
        self._set_deadline(self.settings.daemon.attempt_timeout)
        self._keep(f"the new one is wrong: {problems}")

    def _keep(self, reason: str) -> None:
        """The reload is over, and has changed nothing."""
        self.reloading = False
        self._log(LogEntry("configuration_rejected", "error", f"Keeping the old configuration, {reason}"))
        self._say_reloaded()

    def _say_ready(self) -> None:
        if self.ready_boot is not None:
            self.world.manager.notify("READY=1")
            self.ready_boot = None

    def _say_reloaded(self) -> None:
        if self.ready_boot is None:
            self.world.manager.notify("READY=1")

    def _show(self) -> None:
        """Sign of life; status line, status.json and metrics.prom when there is something new."""
        now = self.world.clock.now()
        self.world.manager.notify("WATCHDOG=1")
        if self.ready_boot is not None and now.boot >= self.ready_boot:
            self._say_ready()
        if self.state.phase is Phase.STOPPING:
            self.world.manager.notify("STOPPING=1")
        line = self.why_ended or status.line(self.state, now)
        if line != self.last_line:
            self.world.manager.notify(f"STATUS={line}")
            self.last_line = line
        if self.settings is not None:
            self._write_status(status.of(self.state, now, self.world.pid, self.world.version, boot_id=self._boot_id()))

    def _write_status(self, new: status.Status) -> None:
        if new == self.last_status:
            return
        try:
            self.world.runtime.write_status(new)
            self.world.runtime.write_metrics(metrics.render(self.state, new))
        except InputOutputError as error:
            if error.code != self.status_trouble:
                fields = {"code": error.code, "hint": error.hint}
                self._log(LogEntry("status_unwritten", "warning", error.message, fields))
            self.status_trouble = error.code
        else:
            self.last_status, self.status_trouble = new, ""

    def _boot_id(self) -> str:
        """The boot in which ages are measured; empty when it is unknown: readers then use the wall clock."""
        try:
            return self.world.clock.boot_id()
        except HardwareError:
            return ""

    def _slice(self) -> timedelta:
        """How long to sleep at most."""
        now = self.world.clock.now()
        watchdog = self.world.manager.watchdog_interval()
        due = self.state.due.remaining(now) if self.state.due is not None else None
        change = status.next_change(self.state, now)
        report = health.remaining(self.reports, now) if self.settings and self.settings.report_health_every else None
        waits = [LONGEST_SLICE, due, change, report, watchdog and watchdog / 2]
        waits += [moment and moment - now.boot for moment in (self.deadline_boot, self.ready_boot)]
        return max(min(wait for wait in waits if wait is not None), timedelta(0))

    def _log(self, entry: LogEntry) -> None:
        if self.opened_log is None:
            self.opened_log = self.world.open_log("info")
        self.opened_log.log(entry.event, entry.level, entry.message, **entry.fields)


_TIMED_OUT = AttemptReport(
    Outcome.FAILED,
    code="attempt-timeout",
    message="Cannot finish the attempt before its deadline",
    hint="the service, a resolver or a disk hangs; `[daemon] attempt_timeout` sets the deadline",
)


def _unreported(message: Message, node_id: str | None) -> HealthReported:
    """The result of a health report whose process sent none."""
    if not isinstance(message, Ended):  # of another version: the next attempt handles that
        return HealthReported(is_due=False)
    if message.status == -signal.SIGALRM:
        hint = "see whether a resolver, a proxy or the service hangs; it is tried again at the next interval"
        return HealthReported(node_id, code="timeout", message="Cannot report health: no answer in time", hint=hint)
    how = _crashed(message)
    return HealthReported(node_id, code=how.code, message=f"Cannot report health: {how.message}", hint=how.hint)


def _wrong_configuration(problems: str) -> str:
    first, *others = problems.splitlines()
    more = f" (and {len(others)} more)" if others else ""
    return f"Stopped: the configuration is wrong: {first}{more}; `rolekeeper check` shows everything that is wrong"


def _crashed(ended: Ended) -> AttemptReport:
    if ended.status == -signal.SIGALRM:  # its own alarm, which comes with our deadline
        return _TIMED_OUT
    if ended.why:
        return AttemptReport(
            Outcome.FAILED,
            code="attempt-not-started",
            message=f"Cannot start an attempt: {ended.why}",
            hint="restart the daemon if rolekeeper or its Python was replaced; else free memory, processes or files",
        )
    how = f"exit status {ended.status}" if ended.status >= 0 else f"signal {-ended.status}"
    return AttemptReport(
        Outcome.FAILED,
        code="attempt-crashed",
        message=f"Cannot tell the outcome: the attempt ended with {how} and no report",
        hint="what it wrote to standard error says why",
    )
