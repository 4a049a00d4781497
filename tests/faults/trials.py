"""One trial: a scenario from its beginning, one step spoiled, what holds then, and how it goes on afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from tests.faults.calls import CHANGING, KILL, NETWORK, SHORT, Kind, Step
from tests.faults.checks import check_tidy, check_told, check_whole, everything
from tests.faults.scenarios import holds_newest_token, is_registered_anew, published
from tests.faults.stage import Ran, Stage

MOST_TRIES = 3  # of a trial whose run took other steps than the first one, such as an answer that came in two parts
SURVIVED = ("EINTR", SHORT)
LASTING = ("ENOSPC", "EROFS")
TOKEN = "RequestManagedInstanceRoleToken"


class DriftedError(Exception):
    """The run did not take the step that was to be spoiled."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Which step is spoiled, and how.

    `applies`: the service keeps the effect of the request that is under way. `lasting`: the disk stays as it is then,
    and every later change fails, too.
    """

    at: int
    step: Step
    fault: str
    applies: bool = True
    lasting: bool = False

    def __str__(self) -> str:
        more = (", for good" if self.lasting else "") + ("" if self.applies else ", request lost")
        return f"step {self.at}, {self.step.call}: {self.fault}{more}"


@dataclass
class Course:
    """The steps that a scenario takes when nothing is wrong, and every trial that follows from them.

    `usual` are the files that are there then, after an attempt.
    """

    stage: Stage
    steps: tuple[Step, ...] = ()
    operations: list[str] = field(default_factory=list)
    usual: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stage.reset()
        ran = self.stage.perform()
        assert ran.code == 0, ran
        assert self.stage.scenario.is_done(self.stage.server)
        self.steps = ran.steps
        self.operations = [request.operation for request in self.stage.server.emulator.requests]
        if self.stage.server.vault().registration is not None:
            self._attempt()
        self.usual = everything(self.stage.server)

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

    def kills(self) -> Iterator[Trial]:
        """Killed at every step; while an answer is awaited, once with the request's effect and once without."""
        for at, step in enumerate(self.steps):
            yield Trial(at, step, KILL)
            if step.kind is Kind.RECEIVE:
                yield Trial(at, step, KILL, applies=False)

    def errors(self, *, every: bool) -> Iterator[Trial]:
        """Every error at each step that changes something or speaks to the network, and one (or every) at others."""
        for at, step in enumerate(self.steps):
            faults = step.faults
            if not every and step.kind not in CHANGING | NETWORK | {Kind.LOCK}:
                faults = (faults[at % len(faults)],)
            yield from (Trial(at, step, fault) for fault in faults)
            if step.kind in CHANGING:
                yield from (Trial(at, step, fault, lasting=True) for fault in LASTING if fault in faults)

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
        if not trial.applies:
            server.emulator.fail(requests[-1], drop=True)
        known = set(server.emulator.tokens)
        ran = self.stage.perform(trial.at, trial.fault, lasting=trial.lasting)
        if len(ran.steps) <= trial.at or ran.steps[trial.at] != trial.step:
            raise DriftedError(f"{trial}: {ran.steps[trial.at :][:1]}")
        for operation in set(requests):
            server.emulator.wait_for(operation, requests.count(operation))
        check_whole(self.stage)
        if trial.fault == KILL:
            assert ran.was_killed, ran
        else:
            self._check_told(trial, ran)
            self._check_kept(trial, set(server.emulator.tokens) - known)
        self._recover()

    def _check_told(self, trial: Trial, ran: Ran) -> None:
        check_told(ran, trial.step)
        if trial.fault in SURVIVED:
            assert ran.code == 0, f"not survived: {ran}"
        elif self.stage.scenario.is_attempt and ran.code == 0:  # a key change that is not finished yet fails nothing
            assert holds_newest_token(self.stage.server), f"not issued: {ran}"
            return
        assert ran.code != 0 or self.stage.scenario.is_done(self.stage.server), f"not done: {ran}"

    def _check_kept(self, trial: Trial, issued: set[str]) -> None:
        """A token whose answer came is published, or held to be published, unless no disk takes it any more."""
        if not self.stage.scenario.is_attempt or trial.lasting:
            return
        answered = zip(self.answers_at, self.operations, strict=True)
        if trial.at <= max(at for at, operation in answered if operation == TOKEN):
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
        if not scenario.is_done(server) or not alone:
            again = self.stage.again()
            assert again.code == 0, f"again: {again}"
            assert scenario.is_done(server), f"again, not done: {again}"
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
