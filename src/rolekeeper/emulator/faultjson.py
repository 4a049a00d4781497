"""Faults in JSON, for the control interface: the fields of `faults.Fault`; the name of a duration says its unit."""

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.faults import Fault
from rolekeeper.errors import UsageError


def fault_from_json(document: Any) -> Fault:
    """A fault from its JSON form; UsageError for unknown keys and wrong types."""
    if not isinstance(document, dict) or "operation" not in document:
        raise UsageError("fault-invalid", "Cannot read the fault", 'an object with at least "operation"')
    unknown = sorted(set(document) - set(_JSON))
    if unknown:
        raise UsageError("fault-invalid", f"Cannot use {', '.join(unknown)}", f"known are {', '.join(sorted(_JSON))}")
    options = {_JSON[key].name: _JSON[key].read(key, value) for key, value in document.items()}
    return Fault(**options)


def seconds(key: str, value: Any) -> timedelta:
    """A duration from a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _mistyped(key, "a number of seconds")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise _mistyped(key, "a number of seconds that fits into a duration") from None


def _mistyped(key: str, wanted: str) -> UsageError:
    return UsageError("fault-invalid", f"Cannot use this {key}", f"{key} is {wanted}")


def _of(*kinds: type) -> Callable[[str, Any], Any]:
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)

    def read(key: str, value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _mistyped(key, names)
        return value

    return read


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _mistyped(key, "a list of names")
    return tuple(value)


def _headers(key: str, value: Any) -> dict[str, str | None]:
    if not isinstance(value, dict) or not all(one is None or isinstance(one, str) for one in value.values()):
        raise _mistyped(key, "an object of strings, or null for a header that is left out")
    return value


def _bytes(key: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        raise _mistyped(key, "base64") from None


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    read: Callable[[str, Any], Any]


_none = type(None)
_PLAIN: Mapping[str, Callable[[str, Any], Any]] = {
    "operation": _of(str),
    "times": _of(int, _none),
    "apply": _of(bool, _none),
    "error": _of(str),
    "message": _of(str),
    "status": _of(int),
    "error_in_header": _of(bool),
    "body": _of(str),
    "content_type": _of(str),
    "fields": _of(dict),
    "remove": _names,
    "headers": _headers,
    "hang": _of(bool),
    "drop": _of(bool),
    "cut_body": _of(int),
    "cut_connection": _of(int),
}
# JSON has neither durations nor bytes: the keys say unit and encoding.
_JSON: Mapping[str, _Key] = {
    **{name: _Key(name, read) for name, read in _PLAIN.items()},
    "body_base64": _Key("body", _bytes),
    "delay_seconds": _Key("delay", seconds),
    "token_lifetime_seconds": _Key("token_lifetime", seconds),
}
