"""Who signed the certificate that a server shows, whether or not it is trusted: for a diagnosis, never for a request.

An inspecting proxy shows certificates of its own making. Its name in them tells a person whose CA to trust. The two
parts of a name that matter are read from the certificate's DER here (RFC 5280, section 4.1): a library for X.509 would
be larger than the rest of the diagnosis.
"""

import socket
import ssl
from typing import Any

from rolekeeper.adapters.der import elements
from rolekeeper.errors import one_line

_LONGEST = 100  # characters
_VERSION = 0xA0  # the tag of the one optional field in front of the issuer
_BMP = 0x1E  # the tag of a string in UTF-16
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"


def issuer(link: Any, host: str) -> str:
    """The issuer in the certificate at the other end of `link`; empty when it has no name or TLS goes inside TLS."""
    if not isinstance(link, socket.socket) or isinstance(link, ssl.SSLSocket):
        return ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over it
    with context.wrap_socket(link, server_hostname=host) as tls:
        shown = tls.getpeercert(binary_form=True)
    try:
        names = _issuer_names(shown or b"")
    except (StopIteration, ValueError):  # not a certificate
        return ""
    words = (names.get(kind, "") for kind in (_COMMON_NAME, _ORGANIZATION))
    return one_line(", ".join(dict.fromkeys(word for word in words if word)))[:_LONGEST]


def _issuer_names(certificate: bytes) -> dict[bytes, str]:
    """The parts of the issuer's name, by the bytes of their object identifiers."""
    _, signed_certificate = next(elements(certificate))
    _, to_be_signed = next(elements(signed_certificate))
    _serial, _algorithm, issuer, *_ = (value for tag, value in elements(to_be_signed) if tag != _VERSION)
    found: dict[bytes, str] = {}
    for _, one in elements(issuer):
        for _, attribute in elements(one):
            (_, kind), (tag, value) = elements(attribute)
            found.setdefault(kind, value.decode("utf-16-be" if tag == _BMP else "utf-8", "replace"))
    return found
