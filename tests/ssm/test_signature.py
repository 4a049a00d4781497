"""The node key's signature against the recordings of SSM Agent (docs/protocol.md, section 3)."""

import base64
from datetime import UTC, datetime
from email.parser import Parser
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.ssm.conftest import vectors

from rolekeeper.adapters.ssm.signing import canonical_request, signed, string_to_sign
from rolekeeper.model import NodeKey, Registration

SIGNED_HEADERS = "content-type;host;x-amz-date;x-amz-target"


def replay(recorded: dict[str, Any]) -> tuple[dict[str, str], bytes, datetime]:
    """The headers that SSM Agent sent, with names in lower case, its body, and the time of its signature."""
    headers = {
        name.lower(): value for name, value in Parser().parsestr(recorded["raw_head"].partition("\r\n")[2]).items()
    }
    signed_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return headers, recorded["body"].encode(), signed_at


def accepts(recorded: dict[str, Any], signature: str) -> None:
    key: Any = load_der_public_key(base64.b64decode(recorded["public_key_spki_b64"]))
    text = recorded["string_to_sign"].encode()
    key.verify(base64.b64decode(signature, validate=True), text, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())


@pytest.mark.parametrize("index", range(12))
def test_each_recording_is_signed_as_ssm_agent_signed_it(index: int) -> None:
    recorded = vectors()[index]
    theirs, body, at = replay(recorded)
    sent = {name: theirs[name] for name in ("host", "content-type", "x-amz-target")}
    canonical = canonical_request({**sent, "x-amz-date": theirs["x-amz-date"]}, "/", body)
    assert canonical == recorded["canonical_request"]
    assert string_to_sign(canonical, at, "us-east-1") == recorded["string_to_sign"]
    node = Registration(recorded["instance_id"], "us-east-1", NodeKey(recorded["private_key_pkcs1_b64"], at))
    ours = signed(sent, "/", body, node, at)
    assert {**ours, "authorization": ""} == {**sent, "x-amz-date": theirs["x-amz-date"], "authorization": ""}
    head, _, signature = ours["authorization"].partition("Signature=")
    assert head == theirs["authorization"].partition("Signature=")[0]
    assert f"SignedHeaders={SIGNED_HEADERS}," in head
    assert len(signature) == 344
    accepts(recorded, signature)
    accepts(recorded, recorded["signature_b64"])


def test_there_are_twelve_recordings() -> None:
    assert len(vectors()) == 12
