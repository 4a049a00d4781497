"""Binding the accepted fingerprint to the hardware of this moment, because an operator says that this is the machine.

Only the service decides which fingerprint it accepts. So a token is requested first, with the accepted fingerprint and
whatever the hardware is. Then one save binds the fingerprint to this hardware. Until then nothing changes: a crash
or a refusal leaves the vault as it was, and the same command can be run again. The threshold stays as it is.

The token that comes with the answer is dropped, as in `adopt`: the daemon requests its own. The caller holds the
vault's lock.
"""

from datetime import timedelta

from rolekeeper.attempt.look import look_until
from rolekeeper.attempt.rotate import token_by_any_key
from rolekeeper.core import keyrotation, similarity
from rolekeeper.core.similarity import Comparison
from rolekeeper.errors import FingerprintRefusedError
from rolekeeper.model import Hardware, Node, Registration, VaultContents
from rolekeeper.ports import World
from rolekeeper.values import Value, replace


class Acceptance(Value):
    """The node as it is in the vault now, the hardware, and how that compared with the hash bound before."""

    node: Node
    hardware: Hardware
    comparison: Comparison


def accept(world: World, contents: VaultContents, node: Node, between: timedelta) -> Acceptance:
    """Bind the fingerprint of `node`, which `contents` holds, to this hardware; `between` is the pause of two looks.

    A component that cannot be read keeps its old value. Raises FingerprintRefusedError when the service expects another
    fingerprint, other ServiceRefusedErrors and ServiceErrors as they come, and VaultError.
    """
    before = node.accepted
    hardware = look_until(world, between, lambda seen: not seen.transient)
    by = _accepted_by_service(world, contents, node)
    bound = similarity.merge_measured(before.hardware_hash, hardware)
    contents = keyrotation.accepted(contents, by)
    now = Node(by, replace(before, hardware_hash=bound))
    world.vault.save(replace(contents, node=now, measured=bound))
    return Acceptance(now, hardware, similarity.compare(before.hardware_hash, hardware, before.threshold))


def _accepted_by_service(world: World, contents: VaultContents, node: Node) -> Registration:
    """The registration, with the key that the service accepts."""
    try:
        return token_by_any_key(world.service, contents, node)[0]
    except FingerprintRefusedError as refused:
        raise FingerprintRefusedError(
            refused.code,
            f"Cannot accept this hardware for {node.registration.node_id}: {refused.message}",
            "the service expects another fingerprint, so another machine or SSM Agent has used this node: find it, or "
            "register with a new activation (`rolekeeper register --force`)",
            refused.request_id,
        ) from refused
