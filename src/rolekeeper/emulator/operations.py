"""Every operation that the emulator knows, by the service's name in a signature's scope, then by the operation's."""

from collections.abc import Mapping

from rolekeeper.emulator.administration import ADMINISTRATION_OPERATIONS
from rolekeeper.emulator.calls import Access, Operation
from rolekeeper.emulator.dialects import EC2MESSAGES, SSM, SSMMESSAGES, STS
from rolekeeper.emulator.hybrid import HYBRID_OPERATIONS
from rolekeeper.emulator.sts import STS_OPERATIONS

# What SSM Agent requests besides the hybrid operations. The emulator answers as AWS answers a role that may not.
_DENIED = Operation(Access.NOBODY)
_MESSAGES = ("AcknowledgeMessage", "DeleteMessage", "FailMessage", "GetEndpoint", "GetMessages", "SendReply")

OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    SSM.service: {
        **HYBRID_OPERATIONS,
        **ADMINISTRATION_OPERATIONS,
        **dict.fromkeys(("ListAssociations", "ListInstanceAssociations"), _DENIED),
    },
    EC2MESSAGES.service: dict.fromkeys(_MESSAGES, _DENIED),
    SSMMESSAGES.service: dict.fromkeys(("CreateControlChannel", "CreateDataChannel"), _DENIED),
    STS.service: STS_OPERATIONS,
}

NAMES = frozenset(name for operations in OPERATIONS.values() for name in operations)
