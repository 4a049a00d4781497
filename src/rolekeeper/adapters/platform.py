"""What this machine says of itself in a health report, as SSM Agent says it (docs/protocol.md, section 2.4).

Unknown facts are left out: a report without them is better than none.
"""

import shlex
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from rolekeeper.adapters import netlink
from rolekeeper.model import HealthFacts

OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))  # os-release(5), in this order
_LONGEST = 255  # characters


def facts(
    version: str, os_release: Iterable[Path] = OS_RELEASE, network: Callable[[int], Iterable[bytes]] = netlink.dump
) -> HealthFacts:
    """The facts of this moment; `version` is rolekeeper's."""
    system = _os_release(os_release)
    return HealthFacts(
        agent_version=version,
        computer_name=_presentable(socket.gethostname()),
        ip_address=_address(network),
        platform_name=_presentable(system.get("NAME", "")),
        platform_version=_presentable(system.get("VERSION_ID", "")),
    )


def _os_release(paths: Iterable[Path]) -> dict[str, str]:
    for path in paths:
        with suppress(OSError, ValueError):
            words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
            return dict(word.split("=", 1) for word in words if "=" in word)
    return {}


def _address(network: Callable[[int], Iterable[bytes]]) -> str:
    """The first IPv4 address, in the kernel's order."""
    with suppress(OSError):
        return next(filter(None, map(netlink.ipv4_address, network(netlink.ADDRESSES))), "")
    return ""


def _presentable(text: str) -> str:
    return "".join(one for one in text if one.isascii() and one.isprintable())[:_LONGEST]
