"""A loopback service that behaves like AWS Systems Manager's hybrid activations, with the part of STS that roles need.

It verifies what AWS verifies, stores what AWS stores, and fails on demand. Of rolekeeper it imports only the errors and
the replacement of files: the daemon's view of the protocol is tested by a second one, written from docs/protocol.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolekeeper.emulator.account import Activation, Node, Role, Token
    from rolekeeper.emulator.emulator import Emulator
    from rolekeeper.emulator.faults import Fault
    from rolekeeper.emulator.requests import RecordedRequest
    from rolekeeper.emulator.server import Tls

__all__ = ["Activation", "Emulator", "Fault", "Node", "RecordedRequest", "Role", "Tls", "Token"]

_HOMES = {
    **dict.fromkeys(("Activation", "Node", "Role", "Token"), "account"),
    "Emulator": "emulator",
    "Fault": "faults",
    "RecordedRequest": "requests",
    "Tls": "server",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the pytest plugin lives in this package and must cost a test run nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
