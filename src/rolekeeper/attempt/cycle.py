"""One attempt, from the vault to the credentials files.

1. Read the vault; register first when there is no registration and the configuration holds an activation.
2. Choose the fingerprint that this hardware may send (`identity`).
3. Try the outputs: a token that could be written nowhere is not asked for.
4. Spare the request when the outputs hold fresh credentials of this registration already, if allowed (`reuse`).
5. Ask for a token, or take the one that could not be published last time. Several keys are tried after a key change
   that was cut off or refused (`core.keyrotation`).
6. Publish, and remember the issue in the vault.
7. Rotate the node key when that is due. Last, so that a service that hangs here costs no credentials.

A vault that cannot be written in 6 is told, and the attempt counts as issued all the same once something was published:
each retry would ask for another token until the disk is mended.

Everything that can go wrong becomes an outcome. The vault's lock is held throughout.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from rolekeeper.attempt import facts, identity, publication, register, rotate
from rolekeeper.attempt.identity import Identity
from rolekeeper.core import keyrotation
from rolekeeper.errors import (
    FingerprintRefusedError,
    HardwareError,
    InputOutputError,
    NodeUnknownError,
    OutputError,
    RefusedError,
    RolekeeperError,
    ServiceRefusedError,
    SignatureRefusedError,
    UnregisteredError,
    VaultError,
)
from rolekeeper.model import (
    AttemptReport,
    CredentialsFile,
    Fact,
    FingerprintSummary,
    HeldToken,
    IssueRecord,
    Lifetime,
    Outcome,
    OutputName,
    Registration,
    RegistrationFound,
    RoleToken,
    Settings,
    TokenAnswer,
    VaultContents,
)
from rolekeeper.ports import World

LONGEST_WAIT_FOR_VAULT = timedelta(seconds=30)

OUTCOMES: tuple[tuple[type[RolekeeperError], Outcome], ...] = (
    (VaultError, Outcome.VAULT_UNREADABLE),
    (OutputError, Outcome.UNPUBLISHED),
    (HardwareError, Outcome.HARDWARE_UNREADABLE),
    (InputOutputError, Outcome.VAULT_UNREADABLE),  # of the activation code, which a vault without a registration needs
    (UnregisteredError, Outcome.UNREGISTERED),
    (FingerprintRefusedError, Outcome.FINGERPRINT_REFUSED),
    (NodeUnknownError, Outcome.NODE_UNKNOWN),
    (RefusedError, Outcome.REFUSED),
    (RolekeeperError, Outcome.FAILED),
)


def run(
    world: World,
    settings: Settings,
    *,
    reuse: bool,
    tell: Callable[[AttemptReport], None] | None = None,
    tell_found: Callable[[RegistrationFound], None] | None = None,
) -> AttemptReport:
    """Make one attempt. With `reuse`, fresh credentials that are published everywhere spare the request.

    `tell` is called with the report while the vault is still locked: whoever changes the vault next does so after the
    report was told, and so his word to the daemon comes after it too. `tell_found` is called before the service is
    asked for a token.
    """
    attempt = _Attempt(world, settings, tell_found)
    try:
        with world.vault.lock(longest_wait_for_vault(settings)):
            report = attempt.conclude(reuse=reuse)
            if tell:
                tell(report)
    except VaultError as error:  # the lock's
        report = attempt.report(Outcome.VAULT_UNREADABLE, error)
        if tell:
            tell(report)
    return report


def longest_wait_for_vault(settings: Settings) -> timedelta:
    """For another process to leave the vault; well before our own deadline, so that there is time to name it."""
    return min(LONGEST_WAIT_FOR_VAULT, settings.daemon.attempt_timeout / 2)


class _Attempt:
    """What is known so far; `contents` is what the vault holds, or what `_publish` is about to save."""

    def __init__(
        self, world: World, settings: Settings, tell_found: Callable[[RegistrationFound], None] | None
    ) -> None:
        self.world = world
        self.settings = settings
        self.tell_found = tell_found
        self.contents = VaultContents()
        self.boot_id = ""
        self.facts: list[Fact] = []
        self.summary: FingerprintSummary | None = None
        self.request_id: str | None = None
        self.token_at_hand: Lifetime | None = None
        self.published: list[CredentialsFile] = []
        self.written: list[CredentialsFile] = []
        self.spared = False
        self.trouble: RolekeeperError | None = None  # of an attempt that counts as issued all the same

    def conclude(self, *, reuse: bool) -> AttemptReport:
        try:
            self.go(reuse=reuse)
        except RolekeeperError as error:
            return self.report(next(outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), error)
        return self.report(Outcome.ISSUED, self.trouble)

    def go(self, *, reuse: bool) -> None:
        self.boot_id = self.world.clock.boot_id()  # before a token is asked for, which could not be recorded without
        self._read_vault()
        node = self._registration()
        if self.tell_found:
            self.tell_found(RegistrationFound(node.node_id, node.region, self._standing()))
        who = self._identity()
        broken = publication.unwritable(self.world, self.settings.credentials_files)
        ready = tuple(output for output in self.settings.credentials_files if output not in broken)
        if not ready:
            raise next(iter(broken.values()))
        self.facts += publication.overwritten(self.world, ready, self.contents.issue)
        if reuse and not broken and self._is_published(node, who):
            return
        held = self._held(node)
        if held is not None:
            self._publish(held.token, held.issue, ready, broken)
        else:
            self._issue(node, who, ready, broken)
        if broken and self.trouble is None:  # the vault keeps the token for them
            raise next(iter(broken.values()))

    def report(self, outcome: Outcome, error: RolekeeperError | None = None) -> AttemptReport:
        node = self.contents.registration
        return AttemptReport(
            outcome,
            code=error.code if error else "",
            message=error.message if error else "",
            hint=error.hint if error else "",
            request_id=self.request_id or getattr(error, "request_id", None),
            expires_at=self.token_at_hand.expires_at if self.token_at_hand else None,
            published=_names(self.published),
            written=_names(self.written),
            spared=self.spared,
            fingerprint=self.summary,
            node_id=node.node_id if node else None,
            region=node.region if node else None,
            standing=self._standing(),
            facts=tuple(self.facts),
        )

    def _standing(self) -> Lifetime | None:
        if self.published:
            return self.token_at_hand
        return publication.standing(self.world, self.settings.credentials_files, self.contents.issue)

    def _read_vault(self) -> None:
        self.contents = self.world.vault.load()
        self.facts += [facts.damaged_file(name) for name in self.contents.damaged]

    def _registration(self) -> Registration:
        if self.contents.registration is None:
            self._register()
        assert self.contents.registration is not None  # noqa: S101 - registered above
        return self.contents.registration

    def _register(self) -> None:
        node = self.settings.node
        none = f"No registration in the vault {self.settings.vault_directory}"
        if not (node.activation_id and node.region):
            raise UnregisteredError("unregistered", none, "`rolekeeper register` or `rolekeeper adopt` brings one")
        code = self.world.activation_code()
        if code is None:
            raise UnregisteredError(
                "unregistered",
                f"{none}, and no activation code to register with, as [node] says",
                "name its file in node.activation_code_file, or hand it over as the systemd credential activation-code",
            )
        activation = register.Activation(node.activation_id, code, node.region)
        between = identity.between_looks(self.settings.daemon.attempt_timeout)
        self.contents = register.register(self.world, self.contents, activation, replace_old=False, between=between)
        assert self.contents.registration is not None  # noqa: S101 - that is what register returns
        self.facts.append(facts.registered(self.contents.registration, node.activation_id))

    def _identity(self) -> Identity:
        accepted = self.contents.fingerprint
        assert accepted is not None  # noqa: S101 - a vault with a registration and no fingerprint does not load
        timeout = self.settings.daemon.attempt_timeout
        hardware, report = identity.look(self.world, self.contents, accepted, timeout)
        self.summary = report.summary()
        self.facts += identity.changes(self.contents, accepted, hardware, report)
        who, self.contents = identity.choose(self.world, self.contents, accepted, hardware, report)
        return who

    def _is_published(self, node: Registration, who: Identity) -> bool:
        """Whether file, record of the last issue and registration agree on credentials that are fresh."""
        issue = self.contents.issue
        if issue is None or issue.node_id != node.node_id or who.is_trial or self.contents.pending_key is not None:
            return False
        world, outputs = self.world, self.settings.credentials_files
        if not publication.is_fresh(world, issue) or not publication.all_hold(world, outputs, issue):
            return False
        self.token_at_hand = issue.life
        self.spared, self.published = True, list(self.settings.credentials_files)
        self.facts.append(facts.already_published(issue))
        return True

    def _held(self, node: Registration) -> HeldToken | None:
        """The token that waits for an output; not one that a vault which could not be written still has after that."""
        held, world, outputs = self.contents.held_token, self.world, self.settings.credentials_files
        if held is None or held.issue.node_id != node.node_id or not publication.is_fresh(world, held.issue):
            return None
        return None if publication.all_hold(world, outputs, held.issue) else held

    def _issue(
        self,
        node: Registration,
        who: Identity,
        ready: tuple[CredentialsFile, ...],
        broken: dict[CredentialsFile, OutputError],
    ) -> None:
        """Ask for a token, publish it, and change the node key when that is due."""
        by, answer = self._ask(node, who)
        life = Lifetime(answer.received_at, answer.token.expires_at, answer.received_boot)
        issue = IssueRecord(by.node_id, answer.token.access_key_id, life, self.boot_id)
        had_pending = self.contents.pending_key is not None
        self.contents = identity.accepted(keyrotation.accepted(self.contents, by), who)
        resumed = had_pending and self.contents.pending_key is None
        if resumed:
            self.facts.append(facts.key_change_taken_up(by))
        self._publish(answer.token, issue, ready, broken)
        if self.trouble is not None:  # a new key could not be stored either
            return
        wanted = answer.token.update_key_pair and not resumed
        rotate_after = self.settings.rotate_key_after
        if keyrotation.is_due(self.contents, answer.received_at, wanted=wanted, rotate_after=rotate_after):
            self.contents, fact = rotate.rotate(self.world, self.contents, by, who.fingerprint, answer.received_at)
            self.facts.append(fact)

    def _ask(self, node: Registration, who: Identity) -> tuple[Registration, TokenAnswer]:
        """Request a token with each key that the service may know; returns the registration that it accepted."""
        refusals: list[ServiceRefusedError] = []
        for candidate in keyrotation.candidates(self.contents, node):
            try:
                answer = self.world.service.request_role_token(candidate, who.fingerprint)
            except SignatureRefusedError as refused:
                refusals.append(refused)
                continue
            self.request_id = answer.request_id
            self.facts.append(facts.token_issued(candidate, answer))
            return candidate, answer
        raise refusals[0]

    def _publish(
        self,
        token: RoleToken,
        issue: IssueRecord,
        ready: tuple[CredentialsFile, ...],
        broken: dict[CredentialsFile, OutputError],
    ) -> None:
        """Write `token` to every output that lacks it; keep it in the vault while one cannot be written."""
        self.token_at_hand = issue.life
        for output in ready:
            try:
                if not publication.holds(self.world, output, issue):
                    self.world.sink.publish(output, token)
                    self.written.append(output)
            except OutputError as error:
                broken[output] = error
            else:
                self.published.append(output)
        if self.written:
            self.facts.append(facts.published(issue, self.written, self.request_id))
        held = HeldToken(token, issue) if broken else None
        self.contents = replace(self.contents, issue=issue if self.published else self.contents.issue, held_token=held)
        try:
            self.world.vault.save(self.contents)
        except VaultError as error:
            if not self.written:  # what was published before is no news: as an issue, it would be due again at once
                raise
            self.trouble = next(iter(broken.values()), error)
            self.facts.append(facts.vault_unwritten(error))


def _names(outputs: Iterable[CredentialsFile]) -> tuple[OutputName, ...]:
    return tuple(output.output_name for output in outputs)
