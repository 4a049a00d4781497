"""STS, as far as role credentials need it to show who they are."""

import base64
import hashlib
from collections.abc import Mapping

from rolekeeper.emulator.account import Account
from rolekeeper.emulator.calls import Access, Call, Done, Operation, arn, role_name


def get_caller_identity(account: Account, call: Call) -> Done:
    """Who signed this request."""
    token = call.caller.token
    if token is None:
        user_id = _unique_id("AIDA", call.caller.key_id)
    else:
        user_id = f"{_unique_id('AROA', role_name(token.role))}:{token.node_id}"
    return account, {"Arn": arn(account, call.caller), "UserId": user_id, "Account": account.account_id}


def _unique_id(prefix: str, name: str) -> str:
    """IAM's unique id: the same for the same name, so that two answers about one role agree."""
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]


STS_OPERATIONS: Mapping[str, Operation] = {
    "GetCallerIdentity": Operation(Access.CREDENTIALS, {}, get_caller_identity),
}
