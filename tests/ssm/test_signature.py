"""The node key's signature against the recordings of SSM Agent (docs/protocol.md, section 3)."""

import base64
from datetime import UTC, datetime
from email.parser import Parser
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rolekeeper.adapters.ssm.client import NodeCredentials, NodeKeyAuth
from rolekeeper.model import NodeKey

SIGNED_HEADERS = "content-type;host;x-amz-date;x-amz-target"


def replay(recorded: dict[str, Any]) -> tuple[AWSRequest, NodeKeyAuth, dict[str, str]]:
    """The recorded request as botocore would hand it to the signer, our signer at its time, and its own headers."""
    headers = dict(Parser().parsestr(recorded["raw_head"].partition("\r\n")[2]).items())
    url = f"{'https' if recorded['tls'] else 'http'}://{headers['Host']}/"
    sent = {name: headers[name] for name in ("Content-Type", "X-Amz-Target")}
    request = AWSRequest("POST", url, sent, recorded["body"].encode())
    signed_at = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    key = NodeKey(recorded["private_key_pkcs1_b64"], signed_at)
    return (
        request,
        NodeKeyAuth(NodeCredentials(recorded["instance_id"], key, lambda: signed_at), "ssm", "us-east-1"),
        headers,
    )


def accepts(recorded: dict[str, Any], signature: str) -> None:
    key: Any = load_der_public_key(base64.b64decode(recorded["public_key_spki_b64"]))
    text = recorded["string_to_sign"].encode()
    key.verify(base64.b64decode(signature, validate=True), text, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())


@pytest.mark.parametrize("index", range(12))
def test_each_recording_is_signed_as_ssm_agent_signed_it(index: int, kit: Any) -> None:
    recorded = kit.vectors()[index]
    request, signer, theirs = replay(recorded)
    signer.add_auth(request)
    canonical = signer.canonical_request(request)
    assert canonical == recorded["canonical_request"]
    assert signer.string_to_sign(request, canonical) == recorded["string_to_sign"]
    ours, _, signature = request.headers["Authorization"].partition("Signature=")
    assert ours == theirs["Authorization"].partition("Signature=")[0]
    assert f"SignedHeaders={SIGNED_HEADERS}," in ours
    assert len(signature) == 344
    accepts(recorded, signature)
    accepts(recorded, recorded["signature_b64"])


def test_there_are_twelve_recordings(kit: Any) -> None:
    assert len(kit.vectors()) == 12


def test_signing_again_replaces_the_signature(kit: Any) -> None:
    request, signer, _ = replay(kit.vectors()[0])
    signer.add_auth(request)
    first = request.headers["Authorization"]
    signer.add_auth(request)
    assert request.headers.get_all("Authorization") == [request.headers["Authorization"]]
    assert request.headers["Authorization"] != first
