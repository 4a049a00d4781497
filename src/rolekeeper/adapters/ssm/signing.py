"""The signatures of requests: by the node key (docs/protocol.md, section 3), and by role credentials (section 2.4).

Both are Signature Version 4 up to the last step. With role credentials that is an HMAC, and the session token is signed
too; with the node key it is an RSA signature. A request is always a POST without a query. A signature is made for each
request that is sent, at the service's time.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from rolekeeper.adapters.ssm.nodekey import sign
from rolekeeper.model import Registration, RoleToken

_ALGORITHM = "AWS4-HMAC-SHA256"  # so the service calls it, although the signature of a node is RSA's
_SIGNED = ("content-type", "host", "x-amz-date", "x-amz-target")
_SIGNED_WITH_TOKEN = ("content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target")
TIME_FORMAT = "%Y%m%dT%H%M%SZ"


def signed(headers: Mapping[str, str], path: str, body: bytes, node: Registration, at: datetime) -> dict[str, str]:
    """`headers` (content-type, host and x-amz-target) with date and signature; VaultError when the key is damaged."""
    dated = {**headers, "x-amz-date": at.strftime(TIME_FORMAT)}
    text = string_to_sign(canonical_request(dated, path, body), at, node.region)
    signature = base64.b64encode(sign(node.key, text.encode("ascii"))).decode("ascii")
    return _authorized(dated, node.node_id, _scope(at, node.region), _SIGNED, signature)


def signed_with_token(
    headers: Mapping[str, str], path: str, body: bytes, token: RoleToken, region: str, at: datetime
) -> dict[str, str]:
    """`headers`, as for `signed`, with date, session token and the signature of role credentials."""
    dated = {**headers, "x-amz-date": at.strftime(TIME_FORMAT), "x-amz-security-token": token.session_token}
    text = string_to_sign(canonical_request(dated, path, body, _SIGNED_WITH_TOKEN), at, region)
    key = f"AWS4{token.secret_access_key}".encode("ascii")
    for part in _scope(at, region).split("/"):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    signature = hmac.digest(key, text.encode("ascii"), "sha256").hex()
    return _authorized(dated, token.access_key_id, _scope(at, region), _SIGNED_WITH_TOKEN, signature)


def canonical_request(headers: Mapping[str, str], path: str, body: bytes, names: tuple[str, ...] = _SIGNED) -> str:
    """The request in the one form that both sides hash; `names` are the signed headers, in lower case and sorted."""
    lines = [f"{name}:{headers[name]}" for name in names]
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(("POST", quote(path, safe="/~"), "", *lines, "", ";".join(names), digest))


def string_to_sign(canonical: str, at: datetime, region: str) -> str:
    """What the signature covers."""
    digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
    return "\n".join((_ALGORITHM, at.strftime(TIME_FORMAT), _scope(at, region), digest))


def _authorized(
    headers: dict[str, str], key_id: str, scope: str, names: tuple[str, ...], signature: str
) -> dict[str, str]:
    authorization = f"Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return {**headers, "authorization": f"{_ALGORITHM} {authorization}"}


def _scope(at: datetime, region: str) -> str:
    return f"{at:%Y%m%d}/{region}/ssm/aws4_request"
