"""One attempt: look, decide, perform, until the decision is a report.

core/attempt.py has the rules. Here is what surrounds them: the vault's lock, a registration without a person, and the
performing of each step, which is the only input and output of an attempt.
"""

from collections.abc import Callable
from datetime import timedelta

from rolekeeper.attempt.look import between_looks, longest_for_output, look
from rolekeeper.attempt.register import ActivationDetails, register
from rolekeeper.attempt.rotate import rotate
from rolekeeper.core import attempt, attemptlog
from rolekeeper.core.holding import reports
from rolekeeper.core.outcomes import failure
from rolekeeper.core.steps import Answer, Assume, Publish, Report, RequestToken, Rotate, Save, Seen, Step
from rolekeeper.errors import RolekeeperError, ServiceError, UnregisteredError, VaultError
from rolekeeper.model import AttemptReport, LogEntry, Node, RegistrationFound, VaultContents
from rolekeeper.ports import World
from rolekeeper.settings import Role, Settings
from rolekeeper.values import replace

LONGEST_WAIT_FOR_VAULT = timedelta(seconds=30)
ROLES_UNTIL = 1 / 2  # of the attempt's time: no role is assumed later, so that the record has time if STS hangs

Deliver = Callable[[AttemptReport], None]
DeliverFound = Callable[[RegistrationFound], None]


def run(
    world: World,
    settings: Settings,
    *,
    reuse: bool,
    passed_over: frozenset[str] = frozenset(),
    owns_outputs: bool = False,
    deliver: Deliver = lambda _: None,
    deliver_found: DeliverFound = lambda _: None,
) -> AttemptReport:
    """Make one attempt. With `reuse`, fresh credentials that are published everywhere make a request unnecessary.

    The roles in `passed_over` are not requested: they were refused, and their next retry is not due.

    `owns_outputs` removes what the runtime directory holds for other endpoints. Only the daemon sets it: an attempt by
    hand may have another configuration, and a new token would shut out programs that hold the old one.

    `deliver` gets the report while the vault is still locked, so a command that changes the vault next cannot have its
    signal to the daemon overtaken by this report. `deliver_found` is called before the service is asked for a token.
    """

    def look_now(contents: VaultContents, node: Node) -> Seen:
        if owns_outputs:
            world.outputs.remove_others(settings.outputs)
        return replace(look(world, settings, contents, node), reuse=reuse, passed_over=passed_over)

    try:
        with world.vault.lock(longest_wait_for_vault(settings)):
            report = _attempt(world, settings, look_now, deliver_found)
            deliver(report)
    except VaultError as error:  # of the lock
        report = failure(error)
        deliver(report)
    return report


def longest_wait_for_vault(settings: Settings) -> timedelta:
    """How long to wait for another process to release the vault: half the attempt's time at most, to report it then."""
    return min(LONGEST_WAIT_FOR_VAULT, settings.daemon.attempt_timeout / 2)


def _attempt(
    world: World, settings: Settings, look_now: Callable[[VaultContents, Node], Seen], deliver_found: DeliverFound
) -> AttemptReport:
    roles_until = world.clock.now().boot + settings.daemon.attempt_timeout * ROLES_UNTIL
    contents = VaultContents()
    entries: tuple[LogEntry, ...] = ()
    try:
        contents, entries = _registered(world, settings)
        if contents.node is None:
            raise _unregistered(settings)
        seen = look_now(contents, contents.node)
    except RolekeeperError as error:
        return replace(failure(error, contents.node), entries=entries)
    registration = seen.node.registration
    deliver_found(RegistrationFound(registration.node_id, registration.region, reports(seen)))
    steps = attempt.course(seen)
    step = next(steps)
    while not isinstance(step, Report):
        if isinstance(step, Assume) and world.clock.now().boot >= roles_until:
            step = steps.send(_too_late(step.role))
        else:
            step = steps.send(perform(world, settings, step))
    return replace(step.report, entries=entries + step.report.entries)


def perform(world: World, settings: Settings, step: Step) -> Answer:
    """Do what `step` says; an error that a user can understand is an answer, too."""
    try:
        match step:
            case RequestToken(registration, fingerprint):
                return world.service.request_role_token(registration, fingerprint)
            case Assume(role, registration, token):
                return world.roles.assume(role, registration, token)
            case Publish(output, token, issue):
                world.outputs.publish(output, token, issue, longest_for_output(settings))
            case Save(contents):
                world.vault.save(contents)
            case Rotate(contents, registration, fingerprint, now):
                return rotate(world, contents, registration, fingerprint, now)
    except RolekeeperError as error:
        return error
    return None


def _too_late(role: Role) -> ServiceError:
    return ServiceError(
        "deadline",
        f"Cannot assume the role {role.name}: half of the attempt's time is over, the service or another role hangs",
        "what hangs is reported beside this; `[daemon] attempt_timeout` sets the time",
    )


def _registered(world: World, settings: Settings) -> tuple[VaultContents, tuple[LogEntry, ...]]:
    """What the vault holds, after a registration with the configured activation if it holds no node."""
    contents = world.vault.load()
    node = settings.node
    if contents.node is not None or not (node.activation_id and node.region):
        return contents, ()
    code = world.activation_code()
    if code is None:
        raise UnregisteredError(
            "unregistered",
            f"No registration in the vault {settings.vault_directory}, and no activation code to register with",
            "name its file in node.activation_code_file, or hand it over as the systemd credential activation-code",
        )
    activation = ActivationDetails(node.activation_id, code, node.region)
    between = between_looks(settings.daemon.attempt_timeout)
    registered = register(world, contents, activation, replace_old=False, between=between)
    return VaultContents(node=registered), (attemptlog.registered(registered.registration, node.activation_id),)


def _unregistered(settings: Settings) -> UnregisteredError:
    message = f"No registration in the vault {settings.vault_directory}"
    return UnregisteredError("unregistered", message, "register with `rolekeeper register`, or `rolekeeper adopt`")
