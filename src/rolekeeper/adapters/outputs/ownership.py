"""The users and groups that the configuration names as an output's owner and group.

Names are looked up at each publication, because users and groups come and go while the daemon runs. One that is
missing is the fault of that output alone.
"""

import grp
import pwd
from collections.abc import Callable
from os import geteuid

from rolekeeper.errors import OutputError


def user_number(name: str | int | None, where: str) -> int:
    """The user's number, None for ours; OutputError `unknown-user`, which calls the output `where`."""
    if name is None:
        return geteuid()
    return _number(name, "user", lambda text: pwd.getpwnam(text).pw_uid, where)


def group_number(name: str | int | None, where: str) -> int | None:
    """The group's number, None for no group in particular; OutputError `unknown-group`."""
    if name is None:
        return None
    return _number(name, "group", lambda text: grp.getgrnam(text).gr_gid, where)


def _number(name: str | int, kind: str, look_up: Callable[[str], int], where: str) -> int:
    if isinstance(name, int):
        return name
    try:
        return look_up(name)
    except KeyError:
        if name.isdecimal():
            return int(name)
    hint = f"create the {kind}, or correct the configuration"
    raise OutputError(f"unknown-{kind}", f"Cannot publish to {where}: there is no {kind} {name!r}", hint)
