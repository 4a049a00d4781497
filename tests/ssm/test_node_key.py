"""Node keys: made, told, signing, and damaged."""

import base64
import contextlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import many
from tests.ssm.conftest import NOON, vectors

from rolekeeper.adapters.ssm.nodekey import RsaKeyMaker, public_key, sign
from rolekeeper.errors import VaultError
from rolekeeper.model import NodeKey, Registration


def verify(public: str, signature: bytes, data: bytes, salt: int = 32) -> None:
    key = load_der_public_key(base64.b64decode(public))
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, data, padding.PSS(padding.MGF1(SHA256()), salt), SHA256())


def der_key(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> NodeKey:
    der = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return NodeKey(base64.b64encode(der).decode(), NOON)


def test_a_new_key_is_rsa_2048_in_pkcs1() -> None:
    key = RsaKeyMaker().new_key(NOON)
    private = load_der_private_key(base64.b64decode(key.private_key), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 2048
    assert der_key(private) == key


def test_two_new_keys_differ() -> None:
    assert RsaKeyMaker().new_key(NOON) != RsaKeyMaker().new_key(NOON)


def test_the_public_half_is_what_ssm_agent_sent_for_the_recorded_keys() -> None:
    for recorded in vectors():
        public = public_key(NodeKey(recorded["private_key_pkcs1_b64"], NOON))
        assert public == recorded["public_key_spki_b64"]
        assert len(public) == 392


def test_a_signature_verifies_with_a_salt_of_32_bytes_and_no_other(node: Registration) -> None:
    signature = sign(node.key, b"data")
    verify(public_key(node.key), signature, b"data")
    for data, salt in ((b"data", 20), (b"other", 32)):
        with pytest.raises(InvalidSignature):
            verify(public_key(node.key), signature, data, salt)


def test_signing_twice_gives_two_signatures(node: Registration) -> None:
    assert sign(node.key, b"data") != sign(node.key, b"data")


@pytest.mark.parametrize(
    "text", ["", "A", "====", "not base64!", "MIIE", "é" * 8, base64.b64encode(b"{}" * 40).decode()]
)
def test_what_is_no_key_is_a_vault_error(text: str) -> None:
    for use in (public_key, lambda key: sign(key, b"data")):
        with pytest.raises(VaultError) as caught:
            use(NodeKey(text, NOON))
        assert caught.value.code == "node-key-unreadable"
        assert "register" in caught.value.hint


def test_a_key_with_strange_characters_in_it_is_damaged(node: Registration) -> None:
    with pytest.raises(VaultError):
        sign(NodeKey(f"!{node.key.private_key}", NOON), b"data")


def test_a_key_of_another_kind_or_too_short_is_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    other = ec.generate_private_key(ec.SECP256R1())
    for private, words in ((other, "PKCS#1 private key"), (short, "RSA key of 2048 bits")):
        with pytest.raises(VaultError, match=words):
            public_key(der_key(private))


def test_a_key_that_is_cut_off_or_has_more_behind_it_is_damaged(node: Registration) -> None:
    der = base64.b64decode(node.key.private_key)
    for damaged in (*(der[:length] for length in range(0, len(der), 7)), der + b"\0"):
        with pytest.raises(VaultError):
            sign(NodeKey(base64.b64encode(damaged).decode(), NOON), b"data")


@many(150)
@given(position=st.integers(0, 1190), flip=st.integers(1, 255))
def test_a_damaged_key_never_signs_wrongly(position: int, flip: int, node: Registration) -> None:
    """Whatever byte is damaged: an error that names the vault, or a signature that its own public half accepts."""
    der = bytearray(base64.b64decode(node.key.private_key))
    der[position % len(der)] ^= flip
    damaged = NodeKey(base64.b64encode(bytes(der)).decode(), node.key.created_at)
    with contextlib.suppress(VaultError):
        verify(public_key(damaged), sign(damaged, b"data"), b"data")


def test_a_key_never_shows_in_a_repr(node: Registration) -> None:
    assert node.key.private_key not in repr(node)
