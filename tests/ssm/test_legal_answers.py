"""Answers that another service may well give: unusual, and as good as any (docs/protocol.md, section 2)."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.ssm.conftest import NOON, ssm_client, token_fields

from rolekeeper.errors import FingerprintRefusedError
from rolekeeper.model import Registration

FINGERPRINT = "45b3eee3-0e73-4a83-9e10-d1a6ffe55249"
ID = "x-AMZN-requestID: 5f3f0c53-5a7f-4c0c-9d21-3b8f0e6e2f10\r\n"


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A service that reads one request, and says just these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as request:
                length = 0
                while (line := request.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                request.read(length)
                peer.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.join()


def sized(body: bytes, status: str = "HTTP/1.1 200 OK", headers: str = ID) -> bytes:
    return f"{status}\r\n{headers}cOnTeNt-LeNgTh: {len(body)}\r\n\r\n".encode() + body


def chunked(body: bytes) -> bytes:
    pieces = b"".join(
        b"%x;note=1\r\n%s\r\n" % (len(body[i : i + 97]), body[i : i + 97]) for i in range(0, len(body), 97)
    )
    return f"HTTP/1.1 200 OK\r\n{ID}Transfer-Encoding: Chunked\r\n\r\n".encode() + pieces + b"0\r\nTrailer: x\r\n\r\n"


SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "with lengths and names in any case": sized,
    "in chunks, with extensions and a trailer": chunked,
    "until the connection ends": lambda body: f"HTTP/1.0 200 Fine\r\n{ID}\r\n".encode() + body,
    "after a 100 that nobody asked for": lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + sized(body),
    "as plain JSON and without a request id": lambda body: sized(body, headers="Content-Type: application/json\r\n"),
    "with another success": lambda body: sized(body, "HTTP/1.1 201"),
}
FIELDS: dict[str, dict[str, Any]] = {
    "as ever": {},
    "with fields that nobody knows": {"RoleArn": "arn:aws:iam::123456789012:role/x", "Extra": {"deep": [1, None]}},
    "with a small access key id": {"AccessKeyId": "asia_3d3zfm53cndsws5e"},
    "with the shortest and the longest of values": {"SecretAccessKey": "x", "SessionToken": "/+=" * 5000},
}


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_is_taken_however_it_is_told(shape: str, fields: str, node: Registration) -> None:
    expiry = int(NOON.timestamp()) + 3600
    told = token_fields(**FIELDS[fields], TokenExpirationDate=expiry)
    with saying(SHAPES[shape](json.dumps(told, indent=1).encode())) as url:
        token = ssm_client(url).request_role_token(node, FINGERPRINT).token
    found = (token.access_key_id, token.secret_access_key, token.session_token)
    assert found == tuple(told[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    assert token.expires_at == NOON + timedelta(hours=1)


@pytest.mark.parametrize("status", ["HTTP/1.1 400 Bad Request", "HTTP/1.1 403", "HTTP/1.0 500 Oops"])
@pytest.mark.parametrize("prefix", ["", "com.amazonaws.ssm#", "com.amazon.coral.service#", "ssm#x#"])
@pytest.mark.parametrize("name", ["message", "Message"])
def test_a_refusal_is_understood_however_it_is_told(status: str, prefix: str, name: str, node: Registration) -> None:
    code = "MachineFingerprintDoesNotMatch"
    body = json.dumps({"__type": f"{prefix}{code}", name: f"Fingerprint does not match {FINGERPRINT}", "x": 1})
    with saying(sized(body.encode(), status)) as url, pytest.raises(FingerprintRefusedError) as refused:
        ssm_client(url).request_role_token(node, FINGERPRINT)
    assert refused.value.code == code
    assert refused.value.message.endswith(f"{code}: Fingerprint does not match {FINGERPRINT}")
