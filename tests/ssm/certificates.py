"""Certificates for tests: an authority, and what it signed, good for a day around a moment."""

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """A CA, whose certificate is `file`."""

    def __init__(self, directory: Path, made: timedelta = timedelta(0)) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        moment = datetime.now(UTC) + made
        self._base = x509.CertificateBuilder().not_valid_before(moment - DAY).not_valid_after(moment + DAY)
        ca = (
            self._base.issuer_name(name("test CA"))
            .subject_name(name("test CA"))
            .public_key(self._key.public_key())
            .serial_number(1)
        )
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        usage = x509.KeyUsage(*(index in {0, 5, 6} for index in range(9)))
        self._certificate = ca.add_extension(usage, critical=True).sign(self._key, SHA256())
        self.file = directory / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def hash_into(self, directory: Path) -> None:
        """Put the certificate under the name by which OpenSSL finds it in a directory: see openssl-rehash(1)."""
        subject = self._certificate.subject.public_bytes()[2:].replace(b"CA", b"ca")  # without its head, in lower case
        number = int.from_bytes(hashlib.sha1(subject).digest()[:4], "little")  # noqa: S324 - OpenSSL's choice
        directory.mkdir(exist_ok=True)
        (directory / f"{number:08x}.0").write_bytes(self.file.read_bytes())

    def server(self, host: str = "127.0.0.1", *, self_signed: bool = False, send_ca: bool = False) -> ssl.SSLContext:
        """A server's context, with a certificate for `host`: a name or an address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain(host, self_signed=self_signed, send_ca=send_ca))
        return context

    def chain(self, host: str = "127.0.0.1", *, self_signed: bool = False, send_ca: bool = False) -> Path:
        """A file with a private key and its certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = key if self_signed else self._key
        issued = self._base.issuer_name(name("service" if self_signed else "test CA"))
        leaf = issued.subject_name(name("service")).public_key(key.public_key()).serial_number(2)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        leaf = leaf.add_extension(x509.SubjectAlternativeName([alternative(host)]), critical=False)
        signed = leaf.add_extension(issuer, critical=False).sign(signer, SHA256())
        chain = self.directory / f"chain-{host.replace(':', '-')}-{self_signed}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        rest = self._certificate.public_bytes(Encoding.PEM) if send_ca else b""
        chain.write_bytes(private + signed.public_bytes(Encoding.PEM) + rest)
        return chain
