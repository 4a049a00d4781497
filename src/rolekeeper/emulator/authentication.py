"""Who signed a request, by AWS's checks in AWS's order (docs/protocol.md, section 3).

Form, date, signed headers and scope are checked before any key is looked up. Then come the key, its session token, the
signature, and last whether the token has expired. Permission is checked after that: a caller that the service knows,
but that may not call the operation, gets AccessDeniedException.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from rolekeeper.emulator.account import Account
from rolekeeper.emulator.calls import EXPIRED_TOKEN, INVALID_TOKEN, Access, Caller, denied, unknown_node
from rolekeeper.emulator.dialects import STS
from rolekeeper.emulator.messages import AnswerError, Request
from rolekeeper.emulator.signature import (
    Authorization,
    canonical_request,
    check_scope,
    hmac_signature,
    node_signature_matches,
    parse_authorization,
    string_to_sign,
)

_GLOBAL_STS_REGION = "us-east-1"  # clients of sts.amazonaws.com sign for this region, whatever their own is
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A request with everything that its signature covers."""

    request: Request
    authorization: Authorization
    canonical: str
    text: str

    def mismatch(self) -> AnswerError:
        """AWS's refusal, which shows the expected texts."""
        canonical = f"The Canonical String for this request should have been\n'{self.canonical}'"
        text = f"The String-to-Sign should have been\n'{self.text}'"
        return AnswerError("InvalidSignatureException", f"{_MISMATCH}\n\n{canonical}\n\n{text}\n")


def authenticate(request: Request, account: Account, service: str, access: Access, now: datetime) -> Caller:
    """The caller who signed the request; AnswerError when the signature is not valid.

    An operation that needs no signature does not accept a wrong one either.
    """
    if access is Access.ANYBODY and request.header("authorization") is None:
        return Caller(key_id="")
    authorization = parse_authorization(request, now)
    regions = {account.region, _GLOBAL_STS_REGION} if service == STS.service else {account.region}
    check_scope(authorization, regions, service)
    canonical = canonical_request(request, authorization.signed_headers)
    signed = _Signed(request, authorization, canonical, string_to_sign(authorization, canonical))
    by_node = authorization.key_id.startswith("mi-") and access in (Access.NODE, Access.ANYBODY)
    caller = _node_caller(signed, account) if by_node else _credentials_caller(signed, account)
    _check_body_hash(signed)
    if caller.token is not None and caller.token.expires_at <= now:
        raise AnswerError("ExpiredTokenException", EXPIRED_TOKEN)
    return caller


def authorize(caller: Caller, account: Account, service: str, operation: str, access: Access) -> None:
    """Refuse a known caller who may not call the operation. The emulator has no policies beyond that."""
    forbidden = {
        Access.NODE: caller.node is None,
        Access.ADMINISTRATOR: caller.token is not None,
        Access.NOBODY: True,
    }
    if forbidden.get(access, False):
        resource = f"arn:{account.partition}:{service}:{account.region}:{account.account_id}:*"
        reason = f"because no identity-based policy allows the {service}:{operation} action"
        raise denied(account, caller, f"{service}:{operation}", resource, reason)


def _node_caller(signed: _Signed, account: Account) -> Caller:
    key_id = signed.authorization.key_id
    node = account.nodes.get(key_id)
    if node is None:
        raise unknown_node(key_id)
    if not node_signature_matches(node.public_key, signed.authorization.signature, signed.text):
        raise signed.mismatch()
    return Caller(key_id, node=node)


def _credentials_caller(signed: _Signed, account: Account) -> Caller:
    key_id = signed.authorization.key_id
    token = account.tokens.get(key_id)
    secret, session = (token.secret_access_key, token.session_token) if token else _administrator(account, key_id)
    if not _same(signed.request.header("x-amz-security-token") or "", session):
        raise AnswerError("UnrecognizedClientException", INVALID_TOKEN)
    expected = hmac_signature(secret, signed.authorization.scope, signed.text)
    if not _same(signed.authorization.signature, expected):
        raise signed.mismatch()
    return Caller(key_id, token=token)


def _administrator(account: Account, key_id: str) -> tuple[str, str]:
    if key_id != account.administrator.access_key_id:
        raise AnswerError("UnrecognizedClientException", INVALID_TOKEN)
    return account.administrator.secret_access_key, ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _check_body_hash(signed: _Signed) -> None:
    # SSM Agent sends this header unsigned. The signature covers the body anyway, so a wrong value is a client's bug.
    claimed = signed.request.header("x-amz-content-sha256")
    if claimed is not None and claimed != hashlib.sha256(signed.request.body).hexdigest():
        raise signed.mismatch()
