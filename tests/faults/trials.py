"""One trial: a scenario from its beginning, one step spoiled, what holds then, and how it goes on afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, pairwise

from tests.faults.calls import CHANGING, KILL, NETWORK, SHORT, Kind, Step
from tests.faults.checks import check_not_hidden, check_tidy, check_told, check_whole, everything, is_temporary
from tests.faults.scenarios import holds_newest_token, is_registered_anew, published
from tests.faults.stage import Ran, Stage

MOST_TRIES = 3  # of a trial whose run took other steps than the first one, such as an answer that came in two parts
SURVIVED = ("EINTR", SHORT)
LASTING = ("ENOSPC", "EROFS", "EIO")
TOKEN = "RequestManagedInstanceRoleToken"


class DriftedError(Exception):
    """The run did not take the step that was to be spoiled."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Which step is spoiled, and how.

    `applies`: the request that is under way reaches the service and has its effect. `lasting`: the disk stays as it is
    then, and every later change fails, too.
    """

    at: int
    step: Step
    fault: str
    applies: bool = True
    lasting: bool = False

    def __str__(self) -> str:
        more = (", for good" if self.lasting else "") + ("" if self.applies else ", request lost")
        return f"step {self.at}, {self.step.call}: {self.fault}{more}"

    @property
    def is_survivable(self) -> bool:
        """Whether the call is simply made again, or for the rest; close(2) is not."""
        return self.fault in SURVIVED and self.step.kind is not Kind.CLOSE

    @property
    def is_survived(self) -> bool:
        """Whether the command goes on as if nothing had been."""
        return self.is_survivable and self.applies

    @property
    def is_sent_all_the_same(self) -> bool:
        """Whether the request gets there although sending it fails."""
        return self.step.kind is Kind.SEND and self.fault not in (*SURVIVED, KILL) and self.applies

    @property
    def takes_effect(self) -> bool:
        """Whether the call is carried out although it fails: a socket connects on by itself, a descriptor is closed."""
        is_on_its_way = self.step.kind is Kind.CONNECT and self.fault == "EINTR"
        is_closed = self.step.kind is Kind.CLOSE and self.fault != KILL
        return self.is_sent_all_the_same or is_on_its_way or is_closed

    @property
    def is_lost_on_the_way(self) -> bool:
        """Whether the request is sent, and gets nowhere."""
        return not self.applies and (self.step.kind is Kind.RECEIVE or self.fault in SURVIVED)


@dataclass
class Course:
    """The steps that a scenario takes when nothing is wrong, and every trial that follows from them.

    `usual` are the files that are there then, after an attempt.
    """

    stage: Stage
    code: int = 0
    steps: tuple[Step, ...] = ()
    operations: list[str] = field(default_factory=list)
    usual: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stage.reset()
        ran = self.stage.perform()
        assert bool(ran.code) == bool(self.stage.scenario.closed), ran
        assert self.stage.scenario.is_done(self.stage.server) == (not ran.code)
        self.code = ran.code
        self.steps = ran.steps
        self.operations = [request.operation for request in self.stage.server.emulator.requests]
        if self.stage.server.vault().registration is not None:
            self._attempt()
        self.usual = everything(self.stage.server)
        assert not any(is_temporary(path) for path in self.usual), self.usual

    @cached_property
    def answers_at(self) -> list[int]:
        """For each request, the step at which its answer is first waited for."""
        network = [number for number, step in enumerate(self.steps) if step.kind in NETWORK]
        return [
            later
            for earlier, later in pairwise(network)
            if (self.steps[earlier].kind, self.steps[later].kind) == (Kind.SEND, Kind.RECEIVE)
        ]

    def requests_before(self, at: int) -> list[str]:
        """The operations that the service has been asked for, in full, when step `at` is reached."""
        return self.operations[: sum(number <= at for number in self.answers_at)]

    def spoilt(self) -> Iterator[tuple[int, Step]]:
        """The steps that something is done to, with their numbers."""
        calls, closed = [step.call for step in self.steps], self.stage.scenario.closed
        first = calls.index(closed) + 1 if closed else 0
        return islice(enumerate(self.steps), first, None)

    def kills(self) -> Iterator[Trial]:
        """Killed at every step; while an answer is awaited, once with the request's effect and once without."""
        for at, step in self.spoilt():
            yield Trial(at, step, KILL)
            if step.kind is Kind.RECEIVE:
                yield Trial(at, step, KILL, applies=False)

    def errors(self, *, every: bool) -> Iterator[Trial]:
        """Every error at each step that does more than open, read or look; at those, one (or every)."""
        for at, step in self.spoilt():
            faults = step.faults
            if not every and step.kind not in CHANGING | NETWORK | {Kind.LOCK, Kind.CLOSE}:
                faults = (faults[at % len(faults)],)
            yield from (
                Trial(at, step, fault, applies) for fault in faults for applies in self._ends_of_request(at, fault)
            )
            if step.kind in CHANGING:
                yield from (Trial(at, step, fault, lasting=True) for fault in LASTING if fault in faults)

    def _ends_of_request(self, at: int, fault: str) -> tuple[bool, ...]:
        """Whether the request under way may have its effect, or be lost, or both."""
        kind = self.steps[at].kind
        if kind is Kind.RECEIVE or at + 1 in self.answers_at:
            return True, False
        return (kind is not Kind.SEND or fault in SURVIVED,)

    def run(self, trial: Trial) -> None:
        """Make the trial; AssertionError says what does not hold, DriftedError that it could not be made."""
        for left in reversed(range(MOST_TRIES)):
            try:
                return self._run(trial)
            except DriftedError:
                if not left:
                    raise
        return None

    def _run(self, trial: Trial) -> None:
        server = self.stage.server
        self.stage.reset()
        requests = self.requests_before(trial.at)
        if trial.step.kind is Kind.SEND and (trial.is_sent_all_the_same or trial.fault in SURVIVED):
            requests = self.requests_before(trial.at + 1)
        if trial.is_lost_on_the_way:
            server.emulator.fail(requests[-1], drop=True)
        known = set(server.emulator.tokens)
        ran = self.stage.perform(trial.at, trial.fault, lasting=trial.lasting, takes_effect=trial.takes_effect)
        if len(ran.steps) <= trial.at or ran.steps[trial.at] != trial.step:
            raise DriftedError(f"{trial}: {ran.steps[trial.at :][:1] or (len(ran.steps), ran.code, ran.out, ran.err)}")
        for operation in set(requests):
            server.emulator.wait_for(operation, requests.count(operation))
        check_whole(self.stage)
        if trial.fault == KILL:
            assert ran.was_killed, ran
        else:
            check_told(ran, trial.step, trial.fault)
            self._check_done(trial, ran)
            self._check_kept(trial, set(server.emulator.tokens) - known)
        self._recover()

    def _check_done(self, trial: Trial, ran: Ran) -> None:
        if trial.is_survived:
            assert ran.code == self.code, f"not survived: {ran}"
        elif not trial.is_survivable:
            check_not_hidden(ran, trial.at)
        if self.stage.scenario.is_attempt and ran.code == 0 and not trial.is_survived:
            # A key change that is not finished yet fails nothing.
            assert holds_newest_token(self.stage.server), f"not issued: {ran}"
            return
        assert ran.code != 0 or self.stage.scenario.is_done(self.stage.server), f"not done: {ran}"

    def _check_kept(self, trial: Trial, issued: set[str]) -> None:
        """A token whose answer came is published, or held to be published, unless no disk takes it any more."""
        if not self.stage.scenario.is_attempt or trial.lasting:
            return
        answered = zip(self.answers_at, self.operations, strict=True)
        if trial.at <= max((at for at, operation in answered if operation == TOKEN), default=trial.at):
            return
        held = self.stage.server.vault().held_token
        kept = {published(self.stage.server), held.token.access_key_id if held else ""}
        assert issued & kept, "the token is neither published nor held"

    def _recover(self) -> None:
        """What a machine does by itself next, and then, if need be, a person."""
        server, scenario = self.stage.server, self.stage.scenario
        used = server.emulator.activations[server.activation.activation_id].registrations if server.activation else 0
        taken = 0 if is_registered_anew(server) else 1
        alone = server.vault().registration is not None or scenario.is_attempt
        if alone:
            self._attempt()
            check_tidy(server, self.usual, scenario.own)
        if not scenario.is_done(server) or not alone:
            again = self.stage.again()
            assert again.code == 0, f"again: {again}"
            assert scenario.is_done(server), f"again, not done: {again}"
            check_tidy(server, self.usual)
            if server.vault().registration is not None:
                self._attempt()
        check_whole(self.stage)
        check_tidy(server, self.usual)
        if server.activation:
            now = server.emulator.activations[server.activation.activation_id].registrations
            assert now == used + taken, f"{now} registrations, and {used} before"

    def _attempt(self) -> None:
        ran = self.stage.run("attempt")
        server = self.stage.server
        registration = server.vault().registration
        assert ran.code == 0, f"the next attempt: {ran}"
        assert registration is not None
        assert server.emulator.tokens[published(server)].node_id == registration.node_id
