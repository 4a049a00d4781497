"""Every operation that the service knows: who may call it, what its input must look like, and what it does."""

from collections.abc import Mapping
from dataclasses import dataclass

from rolekeeper.emulator import activations, hybrid, nodes, sts
from rolekeeper.emulator.calls import Access, Handler
from rolekeeper.emulator.constraints import Rule
from rolekeeper.emulator.wire import SSM, STS


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    access: Access
    members: Mapping[str, Rule]
    handler: Handler


# By the service's name in a signature's scope, then by the operation's.
OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    SSM.service: {
        "RegisterManagedInstance": Operation(Access.ANYBODY, hybrid.REGISTER, hybrid.register),
        "RequestManagedInstanceRoleToken": Operation(Access.NODE, hybrid.REQUEST_TOKEN, hybrid.request_token),
        "UpdateManagedInstancePublicKey": Operation(Access.NODE, hybrid.UPDATE_KEY, hybrid.update_key),
        "UpdateInstanceInformation": Operation(Access.CREDENTIALS, hybrid.REPORT, hybrid.report),
        "CreateActivation": Operation(Access.ADMINISTRATOR, activations.CREATE, activations.create),
        "DescribeActivations": Operation(Access.ADMINISTRATOR, activations.DESCRIBE, activations.describe),
        "DeleteActivation": Operation(Access.ADMINISTRATOR, activations.DELETE, activations.delete),
        "DescribeInstanceInformation": Operation(Access.ADMINISTRATOR, nodes.DESCRIBE, nodes.describe),
        "DeregisterManagedInstance": Operation(Access.ADMINISTRATOR, nodes.DEREGISTER, nodes.deregister),
        "UpdateManagedInstanceRole": Operation(Access.ADMINISTRATOR, nodes.UPDATE_ROLE, nodes.update_role),
    },
    STS.service: {"GetCallerIdentity": Operation(Access.CREDENTIALS, {}, sts.get_caller_identity)},
}

NAMES = frozenset(name for operations in OPERATIONS.values() for name in operations)
