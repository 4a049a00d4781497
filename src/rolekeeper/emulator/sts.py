"""STS: AssumeRole with the credentials of a node's role, and GetCallerIdentity.

AssumeRole checks, in this order: the form of every parameter, the role's trust, the duration, the session policies and
tags. A role that does not exist is refused like one that does not trust the caller.

Session policies and tags have two limits, as in AWS: 2,048 characters of plain policy text, and a packed size. AWS does
not publish how it packs them. Here the packed size is that of their zlib compression, and 1,024 bytes are 100%.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import ANY_ROLE, Account, Role, new_token
from rolekeeper.emulator.calls import (
    SHORTEST_SESSION,
    Access,
    Call,
    Done,
    Operation,
    arn,
    denied,
    role_name,
    session_arn,
)
from rolekeeper.emulator.constraints import Members, Rule, Several, Text, Whole
from rolekeeper.emulator.messages import AnswerError

LONGEST_PLAIN_POLICIES = 2048  # characters
LARGEST_PACKED_BYTES = 1024
CHAINED_LIMIT = timedelta(hours=1)
DEFAULT_SESSION_SECONDS = 3600
LONGEST_SESSION = timedelta(hours=12)

_ARN = Text(shortest=20, longest=2048)
_TAG_LETTERS = r"\p{L}\p{Z}\p{N}_.:/=+\-@"
_TAG_KEY = Text(required=True, shortest=1, longest=128, pattern=f"^[{_TAG_LETTERS}]+$")
_ROLE_ARN = re.compile("arn:[^:]+:iam::[0-9]{12}:role/.+")

ASSUME_ROLE: Mapping[str, Rule] = {
    "RoleArn": Text(required=True, shortest=20, longest=2048),
    "RoleSessionName": Text(required=True, shortest=2, longest=64, pattern=r"^[\w+=,.@-]*$"),
    "DurationSeconds": Whole(int(SHORTEST_SESSION.total_seconds()), int(LONGEST_SESSION.total_seconds()), as_text=True),
    "ExternalId": Text(shortest=2, longest=1224, pattern=r"^[\w+=,.@:\/-]*$"),
    "Policy": Text(shortest=1, longest=LONGEST_PLAIN_POLICIES, pattern="^[\t\n\r\u0020-\u00ff]+$"),
    "PolicyArns": Several(Members({"arn": _ARN}), longest=10),
    "Tags": Several(
        Members({"Key": _TAG_KEY, "Value": Text(required=True, longest=256, pattern=f"^[{_TAG_LETTERS}]*$")}),
        longest=50,
    ),
    "TransitiveTagKeys": Several(_TAG_KEY, longest=50),
}


def assume_role(account: Account, call: Call) -> Done:
    """Issue credentials for a session of another role."""
    wanted, caller = call.input, call.caller
    role = _trusting_role(account, call)
    requested = _duration(role, call)
    _check_policy(wanted.get("Policy"))
    packed = _packed_size(wanted)
    node_id = caller.token.node_id if caller.token else ""
    expires_at = call.expires_at(requested)
    token = new_token(role.name, wanted["RoleSessionName"], node_id, call.now, expires_at, assumed=True)
    answer = {
        "AssumedRoleUser": {
            "AssumedRoleId": f"{_unique_id('AROA', role_name(role.name))}:{token.session_name}",
            "Arn": session_arn(account, token),
        },
        "Credentials": {
            "AccessKeyId": token.access_key_id,
            "SecretAccessKey": token.secret_access_key,
            "SessionToken": token.session_token,
            "Expiration": token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        **({} if packed is None else {"PackedPolicySize": packed}),
    }
    return account.with_token(token), answer


def _trusting_role(account: Account, call: Call) -> Role:
    role_arn = call.input["RoleArn"]
    if not _ROLE_ARN.fullmatch(role_arn):
        raise AnswerError("ValidationException", f"{role_arn} is invalid")
    role = next((role for role in account.roles.values() if account.role_arn(role.name) == role_arn), None)
    principal = role_name(call.caller.token.role) if call.caller.token else "administrator"
    if (
        role is None
        or not {ANY_ROLE, principal} & set(role.trusts)
        or (role.external_id and role.external_id != call.input.get("ExternalId"))
    ):
        raise denied(account, call.caller, "sts:AssumeRole", role_arn)
    return role


def _duration(role: Role, call: Call) -> timedelta:
    requested = timedelta(seconds=int(call.input.get("DurationSeconds", DEFAULT_SESSION_SECONDS)))
    start = "The requested DurationSeconds exceeds the"
    if call.caller.token is not None and requested > CHAINED_LIMIT:
        reason = f"{start} 1 hour session limit for roles assumed by role chaining"
        raise AnswerError("ValidationException", reason)
    if requested > role.longest_session:
        raise AnswerError("ValidationException", f"{start} MaxSessionDuration set for this role.")
    return requested


def _check_policy(text: str | None) -> None:
    """Refuse a session policy that is not an IAM policy in outline; its actions and resources are not checked."""
    if text is None:
        return
    try:
        policy = json.loads(text)
    except (ValueError, RecursionError):
        raise AnswerError("MalformedPolicyDocument", "This policy contains invalid Json") from None
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    listed = statements if isinstance(statements, list) else [statements]
    if not listed or not all(map(_is_statement, listed)):
        raise AnswerError("MalformedPolicyDocument", "Syntax errors in policy.")


def _is_statement(statement: Any) -> bool:
    return (
        isinstance(statement, dict)
        and statement.get("Effect") in ("Allow", "Deny")
        and bool({"Action", "NotAction"} & set(statement))
        and bool({"Resource", "NotResource"} & set(statement))
    )


def _packed_size(wanted: Mapping[str, Any]) -> int | None:
    """The size of session policies and tags, in percent of what is allowed; None without any."""
    policies = [wanted.get("Policy", ""), *(one.get("arn", "") for one in wanted.get("PolicyArns", ()))]
    if sum(map(len, policies)) > LONGEST_PLAIN_POLICIES:
        reason = f"The plain text of all session policies exceeds {LONGEST_PLAIN_POLICIES} characters"
        raise AnswerError("ValidationException", reason)
    tags = [text for tag in wanted.get("Tags", ()) for text in (tag["Key"], tag["Value"])]
    if len({key.lower() for key in tags[::2]}) < len(tags[::2]):
        raise AnswerError("InvalidParameterValue", "Duplicate tag keys found. Tag keys are case insensitive.")
    packed = "\0".join(filter(None, [*policies, *tags]))
    if not packed:
        return None
    percent = -(-100 * len(zlib.compress(packed.encode(), 9)) // LARGEST_PACKED_BYTES)
    if percent > 100:  # noqa: PLR2004 - percent
        raise AnswerError(
            "PackedPolicyTooLarge", f"Packed size of session policies and tags is {percent}% of the limit"
        )
    return percent


def get_caller_identity(account: Account, call: Call) -> Done:
    """The identity of the caller who signed this request."""
    token = call.caller.token
    if token is None:
        user_id = _unique_id("AIDA", call.caller.key_id)
    else:
        user_id = f"{_unique_id('AROA', role_name(token.role))}:{token.session_name}"
    return account, {"Arn": arn(account, call.caller), "UserId": user_id, "Account": account.account_id}


def _unique_id(prefix: str, name: str) -> str:
    """IAM's unique id: the same for the same name, so that two answers about one role agree."""
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]


STS_OPERATIONS: Mapping[str, Operation] = {
    "AssumeRole": Operation(Access.CREDENTIALS, ASSUME_ROLE, assume_role),
    "GetCallerIdentity": Operation(Access.CREDENTIALS, {}, get_caller_identity),
}
