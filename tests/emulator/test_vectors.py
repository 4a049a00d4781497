"""Requests that the real SSM Agent signed, with the keys that it used (docs/protocol.md, section 3)."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.emulator.conftest import VECTORS

from rolekeeper.emulator.constraints import check
from rolekeeper.emulator.dialects import SSM, check_head
from rolekeeper.emulator.messages import AnswerError, Request
from rolekeeper.emulator.operations import OPERATIONS
from rolekeeper.emulator.signature import (
    Authorization,
    canonical_request,
    hmac_signature,
    node_signature_matches,
    parse_authorization,
    parse_public_key,
    string_to_sign,
)


def recorded(name: str) -> list[Any]:
    return json.loads((VECTORS / name).read_text())  # type: ignore[no-any-return]


SIGNED = recorded("signed-requests.json")
REGISTERED = recorded("register-requests.json")
REPORTED = recorded("update-instance-information-requests.json")


def request_of(vector: Any) -> Request:
    head, *lines = vector["raw_head"].strip().split("\r\n")
    method, target, _ = head.split(" ")
    headers = tuple((name.lower(), value) for name, _, value in (line.partition(": ") for line in lines))
    return Request(method, target, headers, vector["body"].encode())


def authorization_of(request: Request) -> Authorization:
    sent_at = datetime.strptime(request.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return parse_authorization(request, sent_at)


def verifies(vector: Any, request: Request) -> bool:
    """Whether a request carries its signer's signature, however it fails."""
    try:
        authorization = authorization_of(request)
    except (AnswerError, ValueError):
        return False
    text = string_to_sign(authorization, canonical_request(request, authorization.signed_headers))
    if secret := vector.get("secret_access_key"):
        return authorization.signature == hmac_signature(secret, authorization.scope, text)
    return node_signature_matches(vector["public_key_spki_b64"], authorization.signature, text)


@pytest.mark.parametrize("vector", SIGNED + REPORTED)
def test_the_canonical_request_and_the_string_to_sign_are_the_recorded_ones(vector: Any) -> None:
    request = request_of(vector)
    authorization = authorization_of(request)
    canonical = canonical_request(request, authorization.signed_headers)
    assert canonical == vector["canonical_request"]
    assert string_to_sign(authorization, canonical) == vector["string_to_sign"]


@pytest.mark.parametrize("vector", SIGNED + REPORTED)
def test_the_recorded_signature_is_accepted(vector: Any) -> None:
    assert verifies(vector, request_of(vector))


def flipped(text: str, place: int, bit: int) -> str:
    raw = bytearray(text.encode("latin-1"))
    raw[place] ^= 1 << bit
    return raw.decode("latin-1")


def with_header(request: Request, name: str, change: Callable[[str], str]) -> Request:
    headers = tuple((header, change(value) if header == name else value) for header, value in request.headers)
    return replace(request, headers=headers)


def one_bit_off(vector: Any, bit: int) -> Iterator[Request]:
    """The same request with one bit changed: anywhere in the signature, and in everything that it covers."""
    request = request_of(vector)
    start = (request.header("authorization") or "").index("Signature=") + len("Signature=")
    for place in range(start, len(request.header("authorization") or "")):
        yield with_header(request, "authorization", lambda value, place=place: flipped(value, place, bit))
    for name in authorization_of(request).signed_headers:
        yield with_header(request, name, lambda value: flipped(value, len(value) // 2, bit))
    yield replace(request, body=flipped(request.body.decode(), 5, bit).encode("latin-1"))


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("vector", SIGNED + REPORTED)
def test_one_bit_changed_is_refused(vector: Any, bit: int) -> None:
    accepted = [request for request in one_bit_off(vector, bit) if verifies(vector, request)]
    assert accepted == []


@pytest.mark.parametrize("vector", SIGNED + REGISTERED + REPORTED)
def test_recorded_requests_have_the_right_head_name_their_operation_and_fit_its_constraints(vector: Any) -> None:
    request = request_of(vector)
    check_head(request, SSM)
    operation = SSM.operation(request)
    assert operation == vector["op"]
    check(OPERATIONS["ssm"][operation].members, json.loads(vector["body"]))


@pytest.mark.parametrize("vector", REGISTERED)
def test_the_public_key_of_a_recorded_registration_is_read(vector: Any) -> None:
    assert parse_public_key(json.loads(vector["body"])["PublicKey"]).key_size == 2048


@pytest.mark.parametrize("vector", SIGNED)
def test_a_recorded_key_does_not_verify_another_text(vector: Any) -> None:
    text = re.sub("^AWS4", "AWS5", vector["string_to_sign"])
    assert not node_signature_matches(vector["public_key_spki_b64"], vector["signature_b64"], text)
