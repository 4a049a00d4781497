"""The node key: RSA-2048, kept as base64 of its PKCS#1 DER, signing with RSASSA-PSS.

The formats are those of docs/protocol.md, sections 2.1, 3 and 4.

A signature is checked against the public half before it is handed out. That replaces OpenSSL's test of the private key
on loading, which takes thirty times as long as the signature: a damaged key is noticed all the same, and the wrong
signature of a damaged RSA key, which could give the key away, never leaves this module.
"""

import base64
import binascii
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from rolekeeper.errors import VaultError
from rolekeeper.model import NodeKey

KEY_BITS = 2048
_PUBLIC_EXPONENT = 65537
_SALT_BYTES = 32
_PADDING = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT_BYTES)


class RsaKeyMaker:
    """Makes node keys, as ports.KeyMaker."""

    def new_key(self, created_at: datetime) -> NodeKey:
        """A new RSA-2048 key."""
        key = rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_BITS)
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return NodeKey(base64.b64encode(der).decode("ascii"), created_at)


def public_key(key: NodeKey) -> str:
    """The public half as the service takes it: base64 of the SubjectPublicKeyInfo DER. VaultError when damaged."""
    der = _load(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode("ascii")


def sign(key: NodeKey, data: bytes) -> bytes:
    """RSASSA-PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes. VaultError when the key is damaged."""
    private = _load(key)
    try:
        signature = private.sign(data, _PADDING, hashes.SHA256())
        private.public_key().verify(signature, data, _PADDING, hashes.SHA256())
    except (InvalidSignature, ValueError) as error:
        raise _unreadable("its numbers do not fit together") from error
    return signature


def _load(key: NodeKey) -> rsa.RSAPrivateKey:
    try:
        der = base64.b64decode(key.private_key, validate=True)
        private = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unreadable("it is not base64 of a PKCS#1 private key") from error
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < KEY_BITS:
        raise _unreadable(f"it is not an RSA key of {KEY_BITS} bits")
    return private


def _unreadable(reason: str) -> VaultError:
    return VaultError(
        "node-key-unreadable",
        f"Cannot use the node key in the vault: {reason}",
        "restore the vault from a backup, or register again with a new activation (`rolekeeper register --force`)",
    )
