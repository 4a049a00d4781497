"""STS, as far as role credentials need it to show who they are."""

import base64
import hashlib
from collections.abc import Mapping

from rolekeeper.emulator.calls import Access, Call, Operation, Outcome, arn, role_name
from rolekeeper.emulator.state import State


def get_caller_identity(state: State, call: Call) -> Outcome:
    """Who signed this request."""
    token = call.caller.token
    if token is None:
        user_id = _unique_id("AIDA", call.caller.key_id)
    else:
        user_id = f"{_unique_id('AROA', role_name(token.role))}:{token.node_id}"
    return Outcome(state, {"Arn": arn(state, call.caller), "UserId": user_id, "Account": state.account_id})


def _unique_id(prefix: str, name: str) -> str:
    """IAM's unique id: the same for the same name, so that two answers about one role agree."""
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]


STS_OPERATIONS: Mapping[str, Operation] = {
    "GetCallerIdentity": Operation(Access.CREDENTIALS, {}, get_caller_identity),
}
