"""The rules of one attempt: what was seen goes in, the next step comes out; nothing here touches the world.

An attempt looks once (`Seen`), and then asks `decide` what to do until the answer is a report. `decide` takes every
answer so far and gives the same step for the same answers, so a table can hold all that a service, a disk or another
program may do. The course of an attempt, in order:

1. Hardware that cannot be judged sends no fingerprint. Similar hardware sends the accepted fingerprint; other hardware
   a trial fingerprint, which the service will refuse unless an administrator changed its mind (docs/protocol.md, 1.4).
2. A token that no output could take is not requested.
3. With `reuse`, an attempt whose outputs all hold fresh credentials of this registration requests nothing. A restart is
   such an attempt. Not after a reboot: the age then rests on a wall clock that may be wrong.
4. Otherwise the node's role token: the held one while an output still needs it, else a new one. Several keys are tried
   after a key change that was interrupted or refused (core/keyrotation.py).
5. The roles, each assumed with the node's token. After a new token all of them; with the held one only those that an
   output waits for. A role that is refused or fails leaves its outputs as they are and concerns no other. One that was
   refused has retries of its own: an attempt before the next of them passes it over.
6. Each output gets its credentials unless it holds them already. An output that fails concerns no other.
7. The vault records what was issued, and holds the node's token while an output, or a health report, still needs it.
   If nothing can be recorded but something was published, the attempt counts as issued: each retry would request
   another token.
8. The node key is rotated when that is due. Last, so that a service that hangs here costs no credentials.

What an output holds is one of four things, never a None (core/holding.py).
"""

from collections.abc import Generator, Sequence
from datetime import timedelta

from rolekeeper.core import attemptlog, keyrotation, lifetime, similarity
from rolekeeper.core.holding import holding, issue_of, problem, reports
from rolekeeper.core.loop.delays import JITTER
from rolekeeper.core.outcomes import of_node, outcome_of, with_error
from rolekeeper.core.similarity import ComponentState
from rolekeeper.core.steps import (
    Answer,
    Assume,
    Publish,
    Report,
    RequestToken,
    Rotate,
    Save,
    Seen,
    SeenOutput,
    Step,
)
from rolekeeper.errors import (
    HardwareError,
    RolekeeperError,
    RolePassedOverError,
    RoleRefusedError,
    ServiceRefusedError,
    SignatureRefusedError,
)
from rolekeeper.model import (
    NODE_ROLE,
    AttemptReport,
    Freshness,
    HeldToken,
    Holding,
    IssueRecord,
    LogEntry,
    Outcome,
    OutputName,
    OutputProblem,
    Registration,
    TokenAnswer,
    Verdict,
)
from rolekeeper.values import replace

Course = Generator[Step, Answer, None]


def course(seen: Seen) -> Course:
    """The steps of an attempt that saw `seen`, each for the answer to the one before; the last is a Report."""
    return _Attempt(seen).course()


def decide(seen: Seen, answers: Sequence[Answer] = ()) -> Step:
    """The next step of an attempt that saw `seen` and got these answers to its steps so far."""
    steps = course(seen)
    step = next(steps)
    for answer in answers:
        step = steps.send(answer)
    return step


class _Attempt:
    """What is known so far. `contents` is what the vault holds, or what is about to be saved."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.contents = seen.contents
        self.outputs = {one.name: one for one in reports(seen)}
        self.errors: dict[OutputName, RolekeeperError] = {
            one.output.output_name: one.problem for one in seen.outputs if one.problem
        }  # of outputs that lack their credentials
        self.roles_refused: dict[str, OutputProblem] = {}  # in this attempt
        self.entries: list[LogEntry] = []
        self.token: HeldToken | None = None  # the node's, at hand
        self.request_id: str | None = None
        self.clock_difference: timedelta | None = None
        self.by: Registration | None = None  # the registration that the service accepted in this attempt

    def course(self) -> Course:
        self._log_what_was_seen()
        try:
            fingerprint = self._fingerprint()
            self._check_outputs()
            if self._may_reuse():
                yield self._reused()
                return
            answer = yield from self._obtain_token(fingerprint)
        except RolekeeperError as error:
            yield self._failed(error)
            return
        yield from self._publish_all(is_new=answer is not None)
        unwritten = yield from self._save()
        if unwritten is None and answer is not None:
            yield from self._rotate_if_due(answer, fingerprint)
        yield self._concluded(unwritten)

    # 1: hardware and fingerprint

    def _log_what_was_seen(self) -> None:
        seen = self.seen
        before = seen.contents.measured or seen.node.accepted.hardware_hash
        since_last = similarity.compare(before, seen.hardware, seen.node.accepted.threshold)
        self.entries += attemptlog.hardware_changed(since_last, seen.comparison)
        others = (
            one for one in self.outputs.values() if one.holding is Holding.OTHER and self._was_published(one.role)
        )
        self.entries += [attemptlog.overwritten_by_another(one.name) for one in others if one.name not in self.errors]

    def _was_published(self, role: str) -> bool:
        """Whether this node has published for the role. Before that, other keys there have overwritten nothing."""
        return issue_of(self.contents, role, self.seen.node.registration.node_id) is not None

    def _fingerprint(self) -> str:
        """The fingerprint that this hardware may send; HardwareError when it cannot be judged."""
        seen = self.seen
        if seen.comparison.verdict is Verdict.UNREADABLE:
            unread = (one for one in seen.comparison.components if one.state is ComponentState.UNREADABLE)
            raise HardwareError(
                "hardware-unreadable",
                "Cannot tell whether this is the registered machine: "
                + "; ".join(f"{one.name} ({one.reason})" for one in unread),
                "make these readable; `rolekeeper fingerprint` shows every component",
            )
        accepted = seen.node.accepted.fingerprint
        return similarity.trial_fingerprint(accepted, seen.hardware.hash) if self._is_trial else accepted

    @property
    def _is_trial(self) -> bool:
        return self.seen.comparison.verdict is not Verdict.SIMILAR

    def _fingerprint_accepted(self, fingerprint: str) -> None:
        """Remember the hardware of this moment; after a trial, bind the new fingerprint to it."""
        measured = similarity.merge_measured(self.contents.measured, self.seen.hardware)
        self.contents = replace(self.contents, measured=measured)
        if self._is_trial and self.contents.node:
            node = self.contents.node
            bound = replace(node.accepted, fingerprint=fingerprint, hardware_hash=self.seen.hardware.hash)
            self.contents = replace(self.contents, node=replace(node, accepted=bound))

    # 2 and 3: outputs that can take credentials, or need none

    def _check_outputs(self) -> None:
        if len(self.errors) == len(self.outputs):
            raise next(iter(self.errors.values()))

    def _may_reuse(self) -> bool:
        if not self.seen.reuse or self.errors or self._is_trial or self.contents.pending_key:
            return False
        return all(self._is_fresh(one.role) and one.is_current for one in self.outputs.values())

    def _is_fresh(self, role: str) -> bool:
        """Whether the credentials last issued for the role are fresh, and of this boot."""
        issue = issue_of(self.contents, role, self.seen.node.registration.node_id)
        return issue is not None and self._is_issue_fresh(issue)

    def _is_issue_fresh(self, issue: IssueRecord) -> bool:
        same_boot = issue.boot_id == self.seen.boot_id
        return same_boot and lifetime.freshness(issue.life, self.seen.now) is Freshness.FRESH

    def _reused(self) -> Step:
        issue = next(issue for issue in self.contents.issues.values())
        self.entries.append(attemptlog.reused(issue))
        return Report(replace(self._base(Outcome.ISSUED), is_reused=True))

    # 4: the node's role token

    def _obtain_token(self, fingerprint: str) -> Generator[Step, Answer, TokenAnswer | None]:
        """Have the node's token at hand; returns the service's answer when it was requested now."""
        held = self.contents.held_token
        if held and self._is_held_token_needed(held):
            self.token = held
            return None
        refusals: list[ServiceRefusedError] = []
        for candidate in keyrotation.candidates(self.contents, self.seen.node.registration):
            answer = yield RequestToken(candidate, fingerprint)
            if isinstance(answer, SignatureRefusedError):
                refusals.append(answer)
            elif isinstance(answer, TokenAnswer):
                self._token_accepted(candidate, answer, fingerprint)
                return answer
            else:
                raise _error(answer)
        raise refusals[0]

    def _is_held_token_needed(self, held: HeldToken) -> bool:
        """Before its refresh point, and while an output lacks its credentials.

        When none does, the vault still holds it only because it could not be written since.
        """
        if held.issue.node_id != self.seen.node.registration.node_id or not self._is_issue_fresh(held.issue):
            return False
        return not self._is_due(held.issue) and not all(map(self._has_newest, self.seen.outputs))

    def _is_due(self, issue: IssueRecord) -> bool:
        return lifetime.is_spent(issue.life, self.seen.refresh_share * (1 - JITTER), self.seen.now)

    def _has_newest(self, one: SeenOutput) -> bool:
        """Whether an output needs nothing; one of the node's own may hold a token that the vault did not record."""
        held = self.contents.held_token
        if one.role == NODE_ROLE and held:
            return holding(one.contents, held.issue) is Holding.OURS
        issue = issue_of(self.contents, one.role, self.seen.node.registration.node_id)
        is_fresh = issue is not None and self._is_issue_fresh(issue) and not self._is_due(issue)
        return is_fresh and self.outputs[one.output.output_name].is_current

    def _token_accepted(self, by: Registration, answer: TokenAnswer, fingerprint: str) -> None:
        self.by, self.request_id, self.clock_difference = by, answer.request_id, answer.clock_difference
        self.token = HeldToken(answer.token, self._issued(answer))
        self.entries.append(attemptlog.token_issued(by, answer))
        self.entries += attemptlog.long_session(by, answer)
        had_pending = self.contents.pending_key is not None
        self.contents = keyrotation.accepted(self.contents, by)
        self._fingerprint_accepted(fingerprint)
        if had_pending and self.contents.pending_key is None:
            self.entries.append(attemptlog.key_change_completed(by))

    def _issued(self, answer: TokenAnswer) -> IssueRecord:
        node_id = self.seen.node.registration.node_id
        return IssueRecord(node_id, answer.token.access_key_id, answer.life, self.seen.boot_id)

    # 5 and 6: roles and outputs

    def _publish_all(self, *, is_new: bool) -> Course:
        assert self.token is not None  # noqa: S101 - obtained before
        for role, outputs in self._by_role().items():
            waiting = [one for one in outputs if one.output.output_name not in self.errors]
            if not waiting or not (is_new or not all(map(self._has_newest, waiting))):
                continue
            if role == NODE_ROLE:
                yield from self._publish(role, waiting, self.token)
                continue
            if role in self.seen.passed_over:
                self._role_failed(waiting, RolePassedOverError(role))
                continue
            answer = yield Assume(self.seen.roles[role], self.by or self.seen.node.registration, self.token.token)
            if isinstance(answer, TokenAnswer):
                self.entries.append(attemptlog.role_assumed(role, answer))
                yield from self._publish(role, waiting, HeldToken(answer.token, self._issued(answer)))
            else:
                error = _error(answer)
                self.entries.append(attemptlog.role_failed(role, error))
                if isinstance(error, RoleRefusedError):
                    self.roles_refused[role] = problem(error)
                self._role_failed(waiting, error)

    def _by_role(self) -> dict[str, list[SeenOutput]]:
        """The outputs of each role, the node's own first: a role that hangs costs it nothing."""
        roles: dict[str, list[SeenOutput]] = {NODE_ROLE: []}
        for one in self.seen.outputs:
            roles.setdefault(one.role, []).append(one)
        return roles

    def _role_failed(self, waiting: Sequence[SeenOutput], error: RolekeeperError) -> None:
        for one in waiting:
            self._output_failed(one.output.output_name, error)

    def _output_failed(self, name: OutputName, error: RolekeeperError) -> None:
        self.errors[name] = error
        self.outputs[name] = replace(self.outputs[name], is_current=False, problem=problem(error))

    def _publish(self, role: str, waiting: Sequence[SeenOutput], issued: HeldToken) -> Course:
        written = []
        for one in waiting:
            name = one.output.output_name
            if holding(one.contents, issued.issue) is not Holding.OURS:
                answer = yield Publish(one.output, issued.token, issued.issue)
                if answer is not None:
                    self._output_failed(name, _error(answer))
                    continue
                written.append(name)
                self._warn_of(one)
            self.outputs[name] = replace(
                self.outputs[name],
                holding=Holding.OURS,
                access_key_id=issued.issue.access_key_id,
                life=issued.issue.life,
                is_current=True,
                is_written=name in written,
            )
        if written:
            self.entries.append(attemptlog.published(issued.issue, role, written, self.request_id))
        if any(one.output.output_name not in self.errors for one in waiting):
            self.contents = replace(self.contents, issues={**self.contents.issues, role: issued.issue})

    def _warn_of(self, one: SeenOutput) -> None:
        """Log once that programs may not use what is published there: with the first publication, not with each."""
        warning = one.contents.warning if one.contents else None
        if warning is not None and self.outputs[one.output.output_name].holding is not Holding.OURS:
            self.entries.append(attemptlog.output_warning(warning))

    # 7: the record

    def _save(self) -> Generator[Step, Answer, RolekeeperError | None]:
        """Record the attempt; returns the error of the vault, if there was one."""
        configured = {one.role for one in self.seen.outputs}
        issues = {role: issue for role, issue in self.contents.issues.items() if role in configured}
        held = self.token if self.errors or self.seen.keeps_token else None
        self.contents = replace(self.contents, issues=issues, held_token=held)
        if self.contents == self.seen.contents:
            return None
        answer = yield Save(self.contents)
        if answer is None:
            return None
        error = _error(answer)
        if any(one.is_written for one in self.outputs.values()):
            self.entries.append(attemptlog.vault_unwritten(error))
        return error

    # 8: the node key

    def _rotate_if_due(self, answer: TokenAnswer, fingerprint: str) -> Course:
        assert self.by is not None  # noqa: S101 - the answer accepted it
        completed = self.seen.contents.pending_key is not None and self.contents.pending_key is None
        wanted = answer.token.update_key_pair and not completed
        after = self.seen.rotate_after
        if not keyrotation.is_due(self.contents, answer.received_at, wanted=wanted, rotate_after=after):
            return
        rotated = yield Rotate(self.contents, self.by, fingerprint, answer.received_at)
        if isinstance(rotated, tuple):
            self.contents, entry = rotated
            self.entries.append(entry)

    # the report

    def _concluded(self, unwritten: RolekeeperError | None) -> Step:
        """The outcome: issued if every output has its credentials, else that of the output that is retried first."""
        if unwritten and any(one.is_written for one in self.outputs.values()):
            return self._report(Outcome.ISSUED, min(self.errors.values(), key=_urgency, default=unwritten))
        if unwritten:
            return self._failed(unwritten)
        if self.errors:
            return self._failed(min(self.errors.values(), key=_urgency))
        return self._report(Outcome.ISSUED)

    def _failed(self, error: RolekeeperError) -> Step:
        return self._report(outcome_of(error), error)

    def _report(self, outcome: Outcome, error: RolekeeperError | None = None) -> Step:
        report = self._base(outcome)
        return Report(with_error(report, error) if error else report)

    def _base(self, outcome: Outcome) -> AttemptReport:
        report = AttemptReport(
            outcome,
            request_id=self.request_id,
            expires_at=self.token.token.expires_at if self.token else None,
            fingerprint=self.seen.comparison.summary(),
            clock_difference=self.clock_difference,
            outputs=tuple(self.outputs.values()),
            roles_refused=self.roles_refused,
            entries=tuple(self.entries),
        )
        return of_node(report, self.contents.node)


def _urgency(error: RolekeeperError) -> int:
    """A refused role is retried after minutes, everything else after seconds."""
    return isinstance(error, ServiceRefusedError)


def _error(answer: Answer) -> RolekeeperError:
    """The error that a step was answered with; a defect of `perform` when it is none."""
    if not isinstance(answer, RolekeeperError):
        raise TypeError(f"{type(answer).__name__} does not answer this step")
    return answer
