"""Who signed a request, by the checks that AWS makes and in its order (docs/protocol.md, section 3).

Form, date, signed headers and scope are judged before any key is looked up; then the key, the session token beside it,
the signature, and last whether the token has expired.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from rolekeeper.emulator.account import Account
from rolekeeper.emulator.calls import EXPIRED_TOKEN, INVALID_TOKEN, Access, Caller, arn
from rolekeeper.emulator.hybrid import unknown_node
from rolekeeper.emulator.messages import STS, AnswerError, Request
from rolekeeper.emulator.signature import (
    Authorization,
    canonical_request,
    check_scope,
    hmac_signature,
    node_signature_matches,
    parse_authorization,
    string_to_sign,
)

_GLOBAL_STS_REGION = "us-east-1"  # sts.amazonaws.com signs for this one, whatever region the client is in
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
        """AWS's refusal, which shows what it would have signed."""
        canonical = f"The Canonical String for this request should have been\n'{self.canonical}'"
        text = f"The String-to-Sign should have been\n'{self.text}'"
        return AnswerError("InvalidSignatureException", f"{_MISMATCH}\n\n{canonical}\n\n{text}\n")


def authenticate(request: Request, account: Account, service: str, access: Access, now: datetime) -> Caller:
    """Whoever signed the request; AnswerError when nobody did properly."""
    if access is Access.ANYBODY:
        return Caller(key_id="")
    authorization = parse_authorization(request, now)
    regions = {account.region, _GLOBAL_STS_REGION} if service == STS.service else {account.region}
    check_scope(authorization, regions, service)
    canonical = canonical_request(request, authorization.signed_headers)
    signed = _Signed(request, authorization, canonical, string_to_sign(authorization, canonical))
    caller = _node_caller(signed, account) if access is Access.NODE else _credentials_caller(signed, account)
    _check_body_hash(signed)
    if caller.token is not None and caller.token.expires_at <= now:
        raise AnswerError("ExpiredTokenException", EXPIRED_TOKEN)
    return caller


def authorize(caller: Caller, account: Account, service: str, operation: str, access: Access) -> None:
    """Refuse role credentials what only the administrator may do; the emulator knows no policies beyond that."""
    if access is Access.ADMINISTRATOR and caller.token is not None:
        action = f"{service}:{operation}"
        reason = (
            f"User: {arn(account, caller)} is not authorized to perform: {action} on resource: * "
            f"because no identity-based policy allows the {action} action"
        )
        raise AnswerError("AccessDeniedException", reason)


def _node_caller(signed: _Signed, account: Account) -> Caller:
    key_id = signed.authorization.key_id
    if not key_id.startswith("mi-"):
        raise AnswerError("UnrecognizedClientException", INVALID_TOKEN)
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
    # SSM Agent sends the header unsigned beside a signature that covers the body anyway; a wrong one is a bug.
    claimed = signed.request.header("x-amz-content-sha256")
    if claimed is not None and claimed != hashlib.sha256(signed.request.body).hexdigest():
        raise signed.mismatch()
