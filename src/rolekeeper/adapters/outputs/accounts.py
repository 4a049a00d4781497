"""The users and groups that the configuration names as an output's owner and group.

Names are looked up at each publication, because users and groups come and go while the daemon runs. One that is
missing is the fault of that output alone.

In a user namespace (a rootless container, `unshare -r`, PrivateUsers=) only the numbers exist that its map names. The
kernel refuses to give a file to any other one, with EINVAL and no further word (user_namespaces(7)).
"""

import grp
import pwd
from enum import Enum
from os import geteuid

from rolekeeper.errors import OutputError


class Kind(Enum):
    """Users or groups; the value is the word for one of them."""

    USER = "user"
    GROUP = "group"


_MAPS = {Kind.USER: "/proc/self/uid_map", Kind.GROUP: "/proc/self/gid_map"}


def user_number(name: str | int | None, where: str) -> int:
    """The user's number, None for ours; OutputError `unknown-user`, which calls the output `where`."""
    return geteuid() if name is None else _number(Kind.USER, name, where)


def group_number(name: str | int | None, where: str) -> int | None:
    """The group's number, None for no group in particular; OutputError `unknown-group`."""
    return None if name is None else _number(Kind.GROUP, name, where)


def refuse_unmapped(user: int, group: int | None, where: str) -> None:
    """Raise OutputError `unmapped-user` or `unmapped-group` when the user namespace does not have one of them."""
    for kind, found in ((Kind.USER, user), (Kind.GROUP, group)):
        why = None if found is None else _unmapped(kind, found)
        if why is not None:
            raise OutputError(f"unmapped-{kind.value}", f"Cannot publish to {where}: {why[0]}", why[1])


def why_not(kind: Kind, name: str | int) -> tuple[str, str] | None:
    """Why a user or group cannot own a file here, and the remedy; None when it can, as far as is known."""
    found = _found(kind, name)
    return _unknown(kind, name) if found is None else _unmapped(kind, found)


def _number(kind: Kind, name: str | int, where: str) -> int:
    found = _found(kind, name)
    if found is None:
        reason, remedy = _unknown(kind, name)
        raise OutputError(f"unknown-{kind.value}", f"Cannot publish to {where}: {reason}", remedy)
    return found


def _found(kind: Kind, name: str | int) -> int | None:
    if isinstance(name, int):
        return name
    try:
        return pwd.getpwnam(name).pw_uid if kind is Kind.USER else grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


def _unknown(kind: Kind, name: str | int) -> tuple[str, str]:
    return f"there is no {kind.value} {name!r}", f"create the {kind.value}, or correct the configuration"


def _unmapped(kind: Kind, one: int) -> tuple[str, str] | None:
    if _is_mapped(kind, one):
        return None
    remedy = f"add it to the map ({_MAPS[kind]}) of the container or the unit, or name another {kind.value}"
    return f"this user namespace does not map {kind.value} {one}", remedy


def _is_mapped(kind: Kind, one: int) -> bool:
    try:
        with open(_MAPS[kind], encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:  # without /proc, only the kernel's refusal shows it
        return True
    ranges = [tuple(int(part) for part in line.split()) for line in lines]
    return any(first <= one < first + count for first, _, count in ranges)
