"""The node key: RSA-2048, kept as base64 of its PKCS#1 DER, signing with RSASSA-PSS.

The formats are those of docs/protocol.md, sections 2.1, 3 and 4.

A refresh loads one key and makes one signature, so only what these two need is imported with this module: the key is
built from the numbers in its DER, because cryptography's module for key formats takes twice as long to import as all
that signing needs.

A signature is checked against the public half before it is handed out. That replaces OpenSSL's test of the private key
on loading, which takes thirty times as long as the signature. It finds a damaged key too, and the wrong signature of a
damaged RSA key, which could give the key away, never leaves this module.
"""

import base64
import binascii
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rolekeeper.adapters.der import integers
from rolekeeper.errors import VaultError
from rolekeeper.model import NodeKey

KEY_BITS = 2048
_PUBLIC_EXPONENT = 65537
_SALT_BYTES = 32
_NUMBERS = 8  # n, e, d, p, q, d mod (p-1), d mod (q-1), 1/q mod p
_PADDING = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT_BYTES)


class RsaKeyMaker:
    """Makes node keys, as ports.KeyMaker."""

    def new_key(self, created_at: datetime) -> NodeKey:
        """A new RSA-2048 key."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

        key = rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_BITS)
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return NodeKey(base64.b64encode(der).decode("ascii"), created_at)


def public_key(key: NodeKey) -> str:
    """The public half as the service takes it: base64 of the SubjectPublicKeyInfo DER. VaultError when damaged."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

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
        n, e, d, p, q, dp, dq, qi = _numbers(base64.b64decode(key.private_key, validate=True))
    except (binascii.Error, ValueError) as error:
        raise _unreadable("it is not base64 of a PKCS#1 private key") from error
    if n.bit_length() < KEY_BITS:
        raise _unreadable(f"it is not an RSA key of {KEY_BITS} bits")
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
    try:
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise _unreadable("its numbers do not fit together") from error


def _numbers(der: bytes) -> list[int]:
    """The eight numbers of an RSAPrivateKey (RFC 8017, A.1.2); ValueError when `der` is not one, or has more in it."""
    version, *found = integers(der)
    numbers = [int.from_bytes(number, "big", signed=True) for number in found]
    if version != b"\0" or len(numbers) != _NUMBERS or min(numbers) <= 0:
        raise ValueError("not an RSA private key with two primes")
    return numbers


def _unreadable(reason: str) -> VaultError:
    return VaultError(
        "node-key-unreadable",
        f"Cannot use the node key in the vault: {reason}",
        "restore the vault from a backup, or register again with a new activation (`rolekeeper register --force`)",
    )
