"""Signature Version 4 from its public rules, and the node key's variant of it (docs/protocol.md, section 3).

This module shares nothing with botocore's signer, so that two independent implementations of the rules have to agree.
Every function is pure; the caller passes the time.

- The canonical request is the method, the path (encoded once more), the sorted query, the signed headers (names in
  lower case, values trimmed and their inner spaces collapsed), their names, and the SHA-256 of the body.
- The string to sign is the algorithm, the date, the scope and the SHA-256 of the canonical request.
- Ordinary credentials sign it with an HMAC chain, in lower-case hex. A node key signs it with RSASSA-PSS, SHA-256 and a
  salt of exactly 32 bytes, in padded standard base64.
"""

import base64
import binascii
import hashlib
import hmac
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_plus

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rolekeeper.emulator.messages import AnswerError, Request

ALGORITHM = "AWS4-HMAC-SHA256"  # the node key's signatures carry this name too
TERMINATOR = "aws4_request"
CLOCK_TOLERANCE = timedelta(minutes=5)
SALT_BYTES = 32
KEY_BITS = 2048
DATE_FORMAT = "%Y%m%dT%H%M%SZ"

_MUST_BE_SIGNED = (
    ("host", "'Host' or ':authority'"),
    ("x-amz-date", "'X-Amz-Date'"),
    ("x-amz-target", "'X-Amz-Target'"),  # otherwise a signature for one operation would fit another
)
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_CREDENTIAL_PARTS = 5
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Scope:
    """The day, region and service that a signature is made for: the middle of `Credential=`."""

    date: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header. `date` is the X-Amz-Date beside it."""

    key_id: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str
    date: str


def parse_authorization(request: Request, now: datetime) -> Authorization:
    """Parse the header, and check in AWS's order what needs no key: form, date, signed headers."""
    header = (request.header("authorization") or "").strip()
    if not header.startswith("AWS4-"):
        raise AnswerError("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    parameters = _parameters(rest, header)
    date = request.header("x-amz-date") or ""
    _check_complete(parameters, date, header)
    check_date(date, now)
    signed = tuple(name.lower() for name in parameters["SignedHeaders"].split(";"))
    _check_signed_headers(request, signed)
    if algorithm != ALGORITHM:
        reason = f"Unsupported AWS 'algorithm': '{algorithm}' (only {ALGORITHM} for now). "
        raise AnswerError("IncompleteSignatureException", reason)
    key_id, scope = _credential(parameters["Credential"])
    return Authorization(key_id, scope, signed, parameters["Signature"], date)


def key_id_of(request: Request) -> str:
    """The access key id or node id in a signature, verified or not; empty when it is absent or malformed."""
    _, found, rest = (request.header("authorization") or "").partition("Credential=")
    return rest.split("/")[0] if found else ""


def _parameters(text: str, header: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            reason = f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."
            raise AnswerError("IncompleteSignatureException", reason)
        if name in parameters:
            reason = f"Authorization header has more than one '{name}' parameter. Authorization={header}"
            raise AnswerError("IncompleteSignatureException", reason)
        parameters[name] = value
    return parameters


def _check_complete(parameters: dict[str, str], date: str, header: str) -> None:
    missing = [
        f"Authorization header requires '{name}' parameter. " for name in _PARAMETERS if not parameters.get(name)
    ]
    if not date:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing:
        raise AnswerError("IncompleteSignatureException", "".join(missing) + f"Authorization={header}")


def _check_signed_headers(request: Request, signed: tuple[str, ...]) -> None:
    # Content-Type need not be signed: some SDKs leave it out, and AWS accepts their requests.
    for name, spelling in _MUST_BE_SIGNED:
        if name not in signed and (name == "host" or request.header(name) is not None):
            reason = f"{spelling} must be a 'SignedHeader' in the AWS Authorization."
            raise AnswerError("InvalidSignatureException", reason)
    for number, name in enumerate(signed):
        if request.header(name) is None or name in signed[:number]:
            reason = f"'{name}' is a 'SignedHeader' in the AWS Authorization, but not one header of the request."
            raise AnswerError("InvalidSignatureException", reason)


def _credential(text: str) -> tuple[str, Scope]:
    parts = text.split("/")
    if len(parts) != _CREDENTIAL_PARTS:
        example = "keyid/date/region/service/term"
        reason = f"Credential must have exactly 5 slash-delimited elements, e.g. {example}, got '{text}'"
        raise AnswerError("IncompleteSignatureException", reason)
    key_id, date, region, service, terminator = parts
    return key_id, Scope(date, region, service, terminator)


def check_date(date: str, now: datetime) -> None:
    """Refuse a malformed date, and a date more than five minutes from the service's clock."""
    sent_at = _moment(date)
    if sent_at is None:
        reason = f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        raise AnswerError("IncompleteSignatureException", reason)
    now = now.astimezone(UTC).replace(microsecond=0)
    earliest, latest = now - CLOCK_TOLERANCE, now + CLOCK_TOLERANCE
    if sent_at < earliest:
        reason = f"Signature expired: {date} is now earlier than {_basic(earliest)} ({_basic(now)} - 5 min.)"
        raise AnswerError("InvalidSignatureException", reason)
    if sent_at > latest:
        reason = f"Signature not yet current: {date} is still later than {_basic(latest)} ({_basic(now)} + 5 min.)"
        raise AnswerError("InvalidSignatureException", reason)


def _moment(date: str) -> datetime | None:
    try:
        moment = datetime.strptime(date, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment if _basic(moment) == date else None  # strptime also accepts fewer digits and lower case


def _basic(moment: datetime) -> str:
    return moment.strftime(DATE_FORMAT)


def check_scope(authorization: Authorization, regions: Iterable[str], service: str) -> None:
    """Refuse a signature that was made for another region, service or day; the message names every mismatch."""
    scope, day = authorization.scope, authorization.date[:8]
    mismatches = []
    if scope.region not in regions:
        mismatches.append(f"Credential should be scoped to a valid region, not '{scope.region}'. ")
    if scope.service != service:
        mismatches.append(f"Credential should be scoped to correct service: '{service}'. ")
    if scope.terminator != TERMINATOR:
        mismatches.append(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{scope.terminator}'. "
        )
    if scope.date != day:
        rule = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"
        mismatches.append(f"{rule}: '{scope.date}' != '{day}', from '{authorization.date}'. ")
    if mismatches:
        raise AnswerError("InvalidSignatureException", "".join(mismatches))


def canonical_request(request: Request, signed_headers: Iterable[str]) -> str:
    """The request in the form that is signed."""
    path, _, query = request.target.partition("?")
    names = sorted(signed_headers)
    lines = [f"{name}:{_collapsed(request, name)}" for name in names]
    digest = hashlib.sha256(request.body).hexdigest()
    return "\n".join(
        [request.method, _canonical_path(path), _canonical_query(query), *lines, "", ";".join(names), digest]
    )


def _collapsed(request: Request, name: str) -> str:
    values = [value for header, value in request.headers if header == name]
    return ",".join(_SPACES.sub(" ", value.strip(" \t")) for value in values)


def _canonical_path(path: str) -> str:
    normal = posixpath.normpath("/" + path.lstrip("/"))
    slash = "/" if path.endswith("/") and normal != "/" else ""
    return quote(normal + slash, safe="/-_.~")


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encoded(text: str) -> str:
    return quote(unquote_plus(text), safe="-_.~")


def string_to_sign(authorization: Authorization, canonical: str) -> str:
    """What the signature covers."""
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    return f"{ALGORITHM}\n{authorization.date}\n{authorization.scope}\n{digest}"


def hmac_signature(secret_access_key: str, scope: Scope, text: str) -> str:
    """The signature of ordinary credentials, in hex."""
    key = f"AWS4{secret_access_key}".encode()
    for part in (scope.date, scope.region, scope.service, scope.terminator, text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def node_signature_matches(public_key: str, signature: str, text: str) -> bool:
    """Whether a node key made this signature: PSS with a salt of exactly 32 bytes, in canonical padded base64."""
    try:
        raw = strict_base64(signature)
        padding = PSS(mgf=MGF1(SHA256()), salt_length=SALT_BYTES)
        parse_public_key(public_key).verify(raw, text.encode(), padding, SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def strict_base64(text: str) -> bytes:
    """Decode padded standard base64; ValueError for any other spelling of the same bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not the canonical base64 of these bytes")
    return raw


def parse_public_key(text: str) -> RSAPublicKey:
    """The RSA-2048 key in a base64 SubjectPublicKeyInfo; ValueError for anything else."""
    try:
        key = load_der_public_key(strict_base64(text))
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, RSAPublicKey) or key.key_size != KEY_BITS:
        raise ValueError(f"not an RSA key of {KEY_BITS} bits")
    return key
