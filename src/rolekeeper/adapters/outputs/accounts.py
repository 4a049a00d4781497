"""Users and groups of this machine: their numbers, and whether they can own files here.

In a user namespace (a rootless container, `unshare -r`, PrivateUsers=) only the numbers exist that its map names. The
kernel refuses to give a file to any other one, with EINVAL and no further word (user_namespaces(7)).
"""

import grp
import pwd
from enum import Enum
from pathlib import Path


class Kind(Enum):
    """Users or groups; the value is the word for one of them."""

    USER = "user"
    GROUP = "group"


_MAPS = {Kind.USER: Path("/proc/self/uid_map"), Kind.GROUP: Path("/proc/self/gid_map")}


def number(kind: Kind, name: str | int) -> int | None:
    """The number of a user or group; None when there is none of that name. Names come and go while we run."""
    if isinstance(name, int):
        return name
    try:
        return pwd.getpwnam(name).pw_uid if kind is Kind.USER else grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


def why_not(kind: Kind, name: str | int) -> tuple[str, str] | None:
    """Why a user or group cannot own a file here, and the remedy; None when it can, as far as is known."""
    found = number(kind, name)
    return unknown(kind, name) if found is None else unmapped(kind, found)


def unknown(kind: Kind, name: str | int) -> tuple[str, str]:
    """The reason and the remedy when there is none of that name."""
    return f"there is no {kind.value} {name!r}", f"create the {kind.value}, or correct the configuration"


def unmapped(kind: Kind, one: int) -> tuple[str, str] | None:
    """The reason and the remedy when this user namespace does not have that number; None when it has."""
    if _is_mapped(kind, one):
        return None
    remedy = f"add it to the map ({_MAPS[kind]}) of the container or the unit, or name another {kind.value}"
    return f"this user namespace does not map {kind.value} {one}", remedy


def _is_mapped(kind: Kind, one: int) -> bool:
    try:
        lines = _MAPS[kind].read_text(encoding="ascii").splitlines()
    except OSError:  # without /proc, only the kernel's refusal tells
        return True
    ranges = [tuple(int(part) for part in line.split()) for line in lines]
    return any(first <= one < first + count for first, _, count in ranges)
