"""TLS: which certificates are trusted, and TLS inside the TLS of an HTTPS proxy.

`service.ca_bundle` is trusted; without it, the system's trust store, which holds the CA of an inspecting proxy too. A
machine without a trust store falls back to botocore's bundle: AWS's own endpoints can then be verified, and nothing
else. The environment has no say: SSLKEYLOGFILE and SSL_CERT_FILE are not read.
"""

import functools
import io
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rolekeeper.adapters.ssm.endpoints import botocore_file
from rolekeeper.errors import TrustStoreError

# Debian, Alpine and Arch; RHEL and Fedora, old and new; SUSE; Alpine without the package of the first.
TRUST_STORES = (
    ssl.get_default_verify_paths().openssl_cafile,
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# Debian, Arch, SUSE, and Fedora since its release 43; where it has no hashes, the file alone counts.
CA_DIRECTORY = ssl.get_default_verify_paths().openssl_capath
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.0")
_LARGEST_BUNDLE = 1024 * 1024  # bytes that are searched for a certificate
_PIECE = 16 * 1024  # bytes
NO_TRUST_STORE = "install the package ca-certificates, or name a file of certificates in service.ca_bundle"


def trust_store(ca_bundle: str | None, candidates: Iterable[str] | None = None) -> str:
    """The file of trusted CAs; TrustStoreError when there is none, or `ca_bundle` has no certificates."""
    if ca_bundle is not None:
        return _checked(ca_bundle)
    places = _places() if candidates is None else candidates
    found = next((path for path in places if os.path.isfile(path) and os.path.getsize(path) > 0), None)
    if found is None:
        raise TrustStoreError(
            TrustStoreError.CODE, "Cannot verify any certificate: this machine has no trust store", NO_TRUST_STORE
        )
    return found


def _places() -> Iterator[str]:
    yield from TRUST_STORES
    yield botocore_file("cacert.pem")


def is_systems_own(trusted: str) -> bool:
    """Whether this is a trust store of the system or the administrator, and not the one that botocore brings along."""
    return trusted != botocore_file("cacert.pem")


def directory(trusted: str) -> str | None:
    """The directory that the same system keeps its CAs in, by their hashes; None for any other file, or without one."""
    if trusted not in TRUST_STORES:
        return None
    try:
        names = os.listdir(CA_DIRECTORY)
    except OSError:
        return None
    return CA_DIRECTORY if any(map(_HASHED_NAME.fullmatch, names)) else None


def secured(link: Any, host: str, trusted: str) -> "socket.socket | TlsInTls":
    """`link` with TLS on it, if the file or directory `trusted` verifies `host`; ssl.SSLError when it does not."""
    context = _context(trusted)
    if isinstance(link, ssl.SSLSocket):
        return TlsInTls(link, context, host)
    return context.wrap_socket(link, server_hostname=host)


@functools.cache
def _context(trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificate and name
    context.set_alpn_protocols(["http/1.1"])
    if os.path.isdir(trusted):
        context.load_verify_locations(capath=trusted)
    else:
        context.load_verify_locations(trusted)
    return context


class TlsInTls(io.RawIOBase):
    """TLS over a TLS connection, which ssl.SSLSocket cannot do because it works on file descriptors."""

    def __init__(self, carrier: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._carrier = carrier
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        self._step(self._tls.do_handshake)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                pass
            finally:
                self._carrier.sendall(self._to_send.read())
            piece = self._carrier.recv(_PIECE)
            if piece:
                self._received.write(piece)
            else:
                self._received.write_eof()

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""
        self._step(self._tls.write, data)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, at least a byte; 0 at the end."""
        try:
            return int(self._step(self._tls.read, len(buffer), buffer))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0

    def makefile(self, _mode: str, /) -> io.BufferedReader:
        """What is received, as a file."""
        return io.BufferedReader(self)

    def settimeout(self, seconds: float, /) -> None:
        """The longest that a single step may take."""
        self._carrier.settimeout(seconds)

    def close(self) -> None:
        """End the connection."""
        self._carrier.close()
        super().close()


def _checked(ca_bundle: str) -> str:
    try:
        with open(ca_bundle, "rb") as file:
            usable = b"-----BEGIN " in file.read(_LARGEST_BUNDLE)
    except OSError as error:
        raise _bad_bundle(ca_bundle, error.strerror or "it cannot be opened") from error
    if not usable:
        raise _bad_bundle(ca_bundle, "it holds no PEM certificate")
    return ca_bundle


def _bad_bundle(ca_bundle: str, reason: str) -> TrustStoreError:
    return TrustStoreError(
        TrustStoreError.CODE,
        f"Cannot use the CA bundle {ca_bundle}: {reason}",
        "name a readable file of PEM certificates in service.ca_bundle, or leave it out for the system's trust store",
    )
