"""What several verbs print."""

import json
from typing import Any

from rolekeeper.core.jsonvalues import encode
from rolekeeper.model import AttemptReport, OutputKind, OutputName

REPORTED = ("outcome", "code", "message", "hint", "request_id", "expires_at", "published", "fingerprint")


def print_json(document: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(encode(document), indent=2))


def print_report(report: AttemptReport) -> None:
    """Print an attempt's outcome as JSON; a file is named once, however many profiles in it are current."""
    current = dict.fromkeys(one.name.name for one in report.outputs if one.is_current and report.expires_at)
    whole = encode(report) | {"published": list(current)}
    print_json({name: whole[name] for name in REPORTED})


def label(name: OutputName) -> str:
    """How messages name an output."""
    if name.kind is OutputKind.ENDPOINT:
        return f"endpoint {name.name}"
    return f"{name.name} [{name.profile}]" if name.profile else name.name
