"""Taking over a registration from another agent's vault: the same node id, key and fingerprint, no new activation.

One token is requested and discarded, because only the service knows whether it still accepts the fingerprint. After
that, our vault's contents are replaced in one step. If they are the same registration already, they stay: ours may know
more, such as a key change in progress. The caller holds the vault's lock.
"""

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Comparison
from rolekeeper.errors import FingerprintRefusedError, RefusedError
from rolekeeper.model import Node, Registration, VaultContents
from rolekeeper.ports import World
from rolekeeper.values import Value


class Adoption(Value):
    """What was taken over, and how this machine's hardware compares with it."""

    registration: Registration
    comparison: Comparison


def adopt(world: World, found: Node, *, prove: bool, replace_old: bool) -> Adoption:
    """Put `found` into our vault.

    Raises RefusedError `already-registered` when `replace_old` is false and ours holds another registration (the same
    node with another key or fingerprint is another: ours may be the newer), ServiceRefusedError when the service does
    not accept what was found, ServiceError when it cannot be asked.
    """
    registration, fingerprint = found.registration, found.accepted.fingerprint
    ours = world.vault.load().node
    is_ours = ours is not None and ours.registration == registration and ours.accepted.fingerprint == fingerprint
    if ours is not None and not is_ours and not replace_old:
        raise RefusedError(
            "already-registered",
            f"Cannot adopt {registration.node_id}: this machine is already {ours.registration.node_id}, with a "
            "registration of its own",
            "`rolekeeper adopt --force` replaces that registration",
        )
    if prove:
        _prove(world, registration, fingerprint)
    if not is_ours:
        world.vault.save(VaultContents(node=found))
    return Adoption(registration, similarity.judge(found.accepted, None, world.probe.look()))


def _prove(world: World, registration: Registration, fingerprint: str) -> None:
    try:
        world.service.request_role_token(registration, fingerprint)
    except FingerprintRefusedError as refused:
        raise FingerprintRefusedError(
            refused.code,
            f"Cannot adopt {registration.node_id}: {refused.message}",
            "the agent has lost the fingerprint that the service knows; register this machine with a new activation",
            refused.request_id,
        ) from refused
