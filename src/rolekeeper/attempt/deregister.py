"""Ending the managed node in AWS, before this machine forgets its registration.

A registration is forgotten only when the node is gone, so a registration is never lost to a mistake:

1. DeregisterManagedInstance, with the operator's credentials or with the node's own role token.
2. If the service knows no such node, it may be gone already, as after a crash between this command's two halves. But
   credentials of another account get the same answer. So a token is requested with the node's own key. The node is
   gone only if that request has the same answer.

The vault is not locked during this, because the operator's credentials may need a person (a second factor). The caller
compares the registration with the vault again before it forgets it.
"""

from collections.abc import Callable

from rolekeeper.attempt.rotate import token_by_any_key
from rolekeeper.errors import NodeUnknownError, RefusedError
from rolekeeper.model import Node, Registration, RoleToken, VaultContents
from rolekeeper.ports import NodeService, RoleCalls


def with_operator(
    contents: VaultContents, node: Node, service: NodeService, deregister: Callable[[Registration], None]
) -> bool:
    """Deregister by `deregister`; False when the node was gone already."""
    registration = node.registration
    try:
        deregister(registration)
    except NodeUnknownError as unknown:
        if _token(contents, node, service) is None:
            return False
        raise RefusedError(
            "node-of-another-account",
            f"Cannot deregister {registration.node_id}: it exists, but not in the account and region "
            f"({registration.region}) of these credentials",
            "use credentials of the node's account, or `rolekeeper deregister --as-node`",
        ) from unknown
    return True


def as_node(contents: VaultContents, node: Node, service: NodeService, calls: RoleCalls) -> bool:
    """Deregister with the node's own role token; False when the node was gone already."""
    token = _token(contents, node, service)
    if token is not None:
        calls.deregister(node.registration, token)
    return token is not None


def _token(contents: VaultContents, node: Node, service: NodeService) -> RoleToken | None:
    """A role token of the node; None when the service does not know the node."""
    try:
        return token_by_any_key(service, contents, node)[1].token
    except NodeUnknownError:
        return None
