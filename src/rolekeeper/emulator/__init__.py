"""A loopback service that behaves like AWS Systems Manager's hybrid activations, with STS behind it.

It verifies what AWS verifies, keeps what AWS keeps, and fails on demand. It imports nothing of the daemon, so that what
the daemon believes about the protocol is checked by something that was written from docs/protocol.md alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolekeeper.emulator.emulator import Emulator
    from rolekeeper.emulator.server import Tls

__all__ = ["Emulator", "Tls"]

_HOMES = {"Emulator": "rolekeeper.emulator.emulator", "Tls": "rolekeeper.emulator.server"}


def __getattr__(name: str) -> Any:
    """Import on first use: the pytest plugin lives in this package and must cost a test run nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
