"""What the daemon publishes for an endpoint, and whether it can still be used.

A document is a file in the endpoint directory, named as the endpoint. Lines of `name: value` come first, then an empty
line, then the body of the answer, byte for byte:

    authorization: the token that a request must bring
    issued_at: 1796086442.0            on the service's clock, as is expires_at; seconds since 1970
    expires_at: 1796090042.0
    issued_boot: 5123.4                this machine's CLOCK_BOOTTIME at the issue, in seconds
    boot_id: 3d12f1d2-...              the boot in which issued_boot counts

    {"AccessKeyId": ...}

An endpoint that has no credentials yet has a document of its authorization alone. The expiry is judged by
CLOCK_BOOTTIME, because the wall clock may step; only a document of another boot is judged by the wall clock.
adapters/outputs/endpoint.py writes the documents.
"""

from __future__ import annotations

from os import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, close, read
from os import open as open_descriptor
from time import CLOCK_BOOTTIME, clock_gettime, time

BOOT_ID = "/proc/sys/kernel/random/boot_id"
LARGEST = 64 * 1024  # bytes of a document; a session token is at most 4 KiB
LONGEST_NAME = 64
_OPEN = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC
_PUNCTUATION = "._-"


class Document:
    """One endpoint's document: `authorization` in bytes, and the answer's `body`, empty while there is none."""

    __slots__ = ("_boot_id", "_expires_at", "_expires_boot", "authorization", "body")

    def __init__(self, data: bytes) -> None:
        """Raises ValueError when `data` is no document."""
        head, _, self.body = data.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in head.decode("ascii").splitlines())
        try:
            self.authorization = fields["authorization"].encode()
            if self.body:
                self._expires_at = float(fields["expires_at"])
                self._expires_boot = float(fields["issued_boot"]) + self._expires_at - float(fields["issued_at"])
                self._boot_id = fields["boot_id"].replace("-", "")
        except KeyError as error:
            raise ValueError from error

    def is_expired(self, boot_id: str) -> bool:
        """Whether the credentials in the body have expired, in the boot of this id."""
        if self._boot_id == boot_id:
            return self._expires_boot <= clock_gettime(CLOCK_BOOTTIME)
        return self._expires_at <= time()


class Directory:
    """The documents in a directory.

    `prefix` comes before each file's name: systemd puts one before the credentials that it loads from a directory.
    `boot_id` is the service manager's name for this boot, for a sandbox that hides the kernel's.
    """

    __slots__ = ("_path", "boot_id")

    def __init__(self, path: str, prefix: str = "", boot_id: str = "") -> None:
        self._path = f"{path}/{prefix}"
        self.boot_id = (boot_id or _kernels_boot_id()).replace("-", "")

    def find(self, name: str) -> Document | None:
        """The endpoint's document; None when there is no such endpoint. Raises OSError and ValueError."""
        if not is_name(name):
            return None
        try:
            return Document(_contents(self._path + name))
        except FileNotFoundError:
            return None


def is_name(text: str) -> bool:
    """Whether this can be an endpoint's name (identifiers.NAME): no other is ever put into a path."""
    letters = "".join(one for one in text if one not in _PUNCTUATION)
    return text[:1] not in ("", ".") and f"{letters}0".isalnum() and text.isascii() and len(text) <= LONGEST_NAME


def _contents(path: str) -> bytes:
    descriptor = open_descriptor(path, _OPEN)
    try:
        data = read(descriptor, LARGEST + 1)
    finally:
        close(descriptor)
    if len(data) > LARGEST:
        raise ValueError
    return data


def _kernels_boot_id() -> str:
    """Empty where the kernel does not say: no document is then of this boot."""
    try:
        return _contents(BOOT_ID).decode("ascii").strip()
    except OSError:
        return ""
