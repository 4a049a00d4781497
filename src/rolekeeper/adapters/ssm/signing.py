"""The signature of a request by the node key (docs/protocol.md, section 3).

It is Signature Version 4 in all but the last step. A request of a node is always a POST without a query, with the same
four signed headers. A signature is made for each request that is sent, at the service's time.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from rolekeeper.adapters.ssm.nodekey import sign
from rolekeeper.model import Registration

_ALGORITHM = "AWS4-HMAC-SHA256"  # so the service calls it, although the signature is RSA's
_SIGNED = ("content-type", "host", "x-amz-date", "x-amz-target")
TIME_FORMAT = "%Y%m%dT%H%M%SZ"


def signed(headers: Mapping[str, str], path: str, body: bytes, node: Registration, at: datetime) -> dict[str, str]:
    """`headers` (content-type, host and x-amz-target) with date and signature; VaultError when the key is damaged."""
    dated = {**headers, "x-amz-date": at.strftime(TIME_FORMAT)}
    text = string_to_sign(canonical_request(dated, path, body), at, node.region)
    signature = base64.b64encode(sign(node.key, text.encode("ascii"))).decode("ascii")
    credential = f"{node.node_id}/{_scope(at, node.region)}"
    authorization = f"{_ALGORITHM} Credential={credential}, SignedHeaders={';'.join(_SIGNED)}, Signature={signature}"
    return {**dated, "authorization": authorization}


def canonical_request(headers: Mapping[str, str], path: str, body: bytes) -> str:
    """The request in the one form that both sides hash; names in `headers` are in lower case."""
    lines = [f"{name}:{headers[name]}" for name in _SIGNED]
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(("POST", quote(path, safe="/~"), "", *lines, "", ";".join(_SIGNED), digest))


def string_to_sign(canonical: str, at: datetime, region: str) -> str:
    """What the signature covers."""
    digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
    return "\n".join((_ALGORITHM, at.strftime(TIME_FORMAT), _scope(at, region), digest))


def _scope(at: datetime, region: str) -> str:
    return f"{at:%Y%m%d}/{region}/ssm/aws4_request"
