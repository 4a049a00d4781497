"""Who signed the certificate that a server shows, whether or not it is trusted: for a diagnosis, never for a request.

An inspecting proxy shows certificates of its own making. Its name in them tells a person whose CA to trust.
"""

import socket
import ssl
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from rolekeeper.errors import one_line

_LONGEST = 100  # characters


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
        name = x509.load_der_x509_certificate(shown or b"").issuer
    except ValueError:
        return ""
    kinds = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    words = (str(one.value) for kind in kinds for one in name.get_attributes_for_oid(kind))
    return one_line(", ".join(dict.fromkeys(words)))[:_LONGEST]
