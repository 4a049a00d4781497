"""What several verbs print, and the exit codes that belong to outcomes."""

import json
from typing import Any

from rolekeeper.core.jsonvalues import encode
from rolekeeper.errors import (
    HardwareError,
    OutputError,
    RefusedError,
    ServiceError,
    ServiceRefusedError,
    TrustStoreError,
    UnregisteredError,
    VaultError,
)
from rolekeeper.model import AttemptReport, Outcome

_EXIT_CODES = {
    Outcome.ISSUED: 0,
    Outcome.FAILED: ServiceError.exit_code,
    Outcome.REFUSED: RefusedError.exit_code,
    Outcome.FINGERPRINT_REFUSED: ServiceRefusedError.exit_code,
    Outcome.NODE_UNKNOWN: ServiceRefusedError.exit_code,
    Outcome.HARDWARE_UNREADABLE: HardwareError.exit_code,
    Outcome.UNPUBLISHED: OutputError.exit_code,
    Outcome.VAULT_UNREADABLE: VaultError.exit_code,
    Outcome.UNREGISTERED: UnregisteredError.exit_code,
}
REPORTED = (
    "outcome",
    "code",
    "message",
    "hint",
    "request_id",
    "expires_at",
    "published",
    "fingerprint",
)


def exit_code(outcome: Outcome, code: str) -> int:
    """What a command ends with that tells of an attempt's outcome."""
    return TrustStoreError.exit_code if code == TrustStoreError.CODE else _EXIT_CODES[outcome]


def print_json(document: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(encode(document), indent=2))


def print_report(report: AttemptReport) -> None:
    """Print an attempt's outcome as JSON; a file is named once, however many profiles in it were published."""
    whole = encode(report) | {"published": list(dict.fromkeys(output.name for output in report.published))}
    print_json({name: whole[name] for name in REPORTED})
