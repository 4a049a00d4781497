"""Registering this machine: one activation turns into a node id, a node key and a fingerprint.

The hardware hash of this moment is bound to the fingerprint, and every later comparison uses it. So a component that
cannot be read just now gets three looks, as in an attempt, before its loss is stored.

Key and fingerprint are stored as pending before the service is called. The same command, run again after a crash,
continues with them, so that the service sees one node key and not one for each try. A refusal keeps what an earlier try
began, because a mistyped code or a missing permission says nothing about it; what the service will never take is
dropped. The old registration stays in force until the new one replaces it on disk, in one step. The caller holds the
vault's lock.
"""

from datetime import timedelta

from rolekeeper.attempt.look import BETWEEN_LOOKS, look_until
from rolekeeper.errors import RefusedError, ServiceRefusedError
from rolekeeper.model import AcceptedFingerprint, Node, PendingRegistration, Registration, VaultContents
from rolekeeper.ports import World
from rolekeeper.values import Value, replace

LIMIT_EXCEEDED = "RegistrationLimitExceeded"
ALREADY_REGISTERED = "InstanceAlreadyRegistered"
NEVER_TAKEN = (ALREADY_REGISTERED, "InvalidPublicKey", "PublicKeyAlreadyRegistered")  # with this fingerprint and key


class ActivationDetails(Value, hidden=("code",)):
    """What a hybrid activation gives: its id, its code, and the region that it was made in."""

    activation_id: str
    code: str
    region: str


def register(
    world: World,
    contents: VaultContents,
    activation: ActivationDetails,
    *,
    replace_old: bool,
    between: timedelta = BETWEEN_LOOKS,
) -> Node:
    """Register with `activation`; returns the node that is in the vault then. `between` is the pause between two looks.

    Raises RefusedError `already-registered` when there is a registration and `replace_old` is false, ServiceError when
    no usable answer came (what was begun stays in the vault), ServiceRefusedError when the activation was rejected.
    """
    old = contents.registration
    if old is not None and not replace_old:
        raise RefusedError(
            "already-registered",
            f"Cannot register: this machine is {old.node_id} in {old.region} already",
            "`rolekeeper register --force` replaces that registration",
        )
    begun = _matching(contents.pending_registration, activation)
    pending = _begin(world, activation, begun, between)
    world.vault.save(replace(contents, pending_registration=pending))
    try:
        node_id = world.service.register(
            activation.region, activation.activation_id, activation.code, pending.fingerprint, pending.key
        )
    except ServiceRefusedError as refused:
        if begun is not None and refused.code in NEVER_TAKEN:
            contents = replace(contents, pending_registration=None)
        world.vault.save(contents)
        if begun is not None and refused.code == ALREADY_REGISTERED:
            return register(world, contents, activation, replace_old=replace_old, between=between)
        raise _explained(refused, resumed=begun is not None) from refused
    registration = Registration(node_id, activation.region, pending.key)
    accepted = AcceptedFingerprint(pending.fingerprint, pending.hardware_hash)
    node = Node(registration, accepted)
    world.vault.save(VaultContents(node=node))
    return node


def _matching(pending: PendingRegistration | None, activation: ActivationDetails) -> PendingRegistration | None:
    """What an earlier try with the same activation left, if anything."""
    if pending is None or (pending.activation_id, pending.region) != (activation.activation_id, activation.region):
        return None
    return pending


def _begin(
    world: World, activation: ActivationDetails, begun: PendingRegistration | None, between: timedelta
) -> PendingRegistration:
    hardware_hash = look_until(world, between, lambda seen: not seen.transient).hash
    if begun is not None:
        return replace(begun, hardware_hash=hardware_hash)
    return PendingRegistration(
        activation.activation_id,
        activation.region,
        world.new_fingerprint(),
        hardware_hash,
        world.keys.new_key(world.clock.now().wall),
    )


def _explained(refused: ServiceRefusedError, *, resumed: bool) -> ServiceRefusedError:
    """An earlier try that was cut off may have used the activation up: say so."""
    if refused.code != LIMIT_EXCEEDED or not resumed:
        return refused
    hint = (
        "an earlier try was cut off before the service's answer came and may have used the activation up: "
        "deregister its managed node in the console, and register with a new activation"
    )
    return ServiceRefusedError(refused.code, refused.message, hint, refused.request_id)
