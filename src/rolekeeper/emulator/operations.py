"""Every operation that the service knows, by the service's name in a signature's scope, then by the operation's."""

from collections.abc import Mapping

from rolekeeper.emulator.activations import ACTIVATION_OPERATIONS
from rolekeeper.emulator.calls import Operation
from rolekeeper.emulator.hybrid import HYBRID_OPERATIONS
from rolekeeper.emulator.messages import SSM, STS
from rolekeeper.emulator.nodes import NODE_OPERATIONS
from rolekeeper.emulator.sts import STS_OPERATIONS

OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    SSM.service: {**HYBRID_OPERATIONS, **ACTIVATION_OPERATIONS, **NODE_OPERATIONS},
    STS.service: STS_OPERATIONS,
}

NAMES = frozenset(name for operations in OPERATIONS.values() for name in operations)
