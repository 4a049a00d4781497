"""Taking over a registration from another agent's vault: the same node id, key and fingerprint, no new activation.

The service is asked for one token, which is thrown away: only it can tell whether it still accepts the fingerprint.
What was in our vault is replaced in one step, after that; when it is the same registration already, it stays: ours may
know more of it, such as a key change under way. The caller holds the vault's lock.
"""

from dataclasses import dataclass

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Report
from rolekeeper.errors import FingerprintRefusedError, RefusedError
from rolekeeper.model import Node, Registration, VaultContents
from rolekeeper.ports import World


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was taken over, and how this machine's hardware compares with it."""

    registration: Registration
    report: Report


def adopt(world: World, found: Node, *, prove: bool, replace_old: bool) -> Adoption:
    """Put `found` into our vault.

    Raises RefusedError `already-registered` when `replace_old` is false and ours holds another registration (the same
    node with another key or fingerprint is one: ours may be the newer), ServiceRefusedError when the service does not
    accept what was found, ServiceError when it cannot be asked.
    """
    registration, accepted = found.registration, found.accepted
    ours = world.vault.load().node
    is_ours = ours is not None and _identity(ours) == _identity(found)
    if ours is not None and not is_ours and not replace_old:
        raise RefusedError(
            "already-registered",
            f"Cannot adopt {registration.node_id}: this machine is {ours.registration.node_id} already, with a "
            "registration of its own",
            "`rolekeeper adopt --force` replaces that registration",
        )
    if prove:
        _prove(world, registration, accepted.fingerprint)
    if not is_ours:
        world.vault.save(VaultContents(found))
    return Adoption(registration, similarity.judge(accepted, None, world.probe.look()))


def _identity(node: Node) -> tuple[Registration, str]:
    return node.registration, node.accepted.fingerprint


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
