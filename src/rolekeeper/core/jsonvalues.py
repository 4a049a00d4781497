"""Values to JSON and back: how the supervisor and an attempt talk, and what vault.json and status.json hold.

A datetime travels as RFC 3339 UTC, a timedelta as seconds; everything else as what JSON has for it. `decode` builds
exactly the type that it is given and raises ValueError for anything else: a broken pipe cannot bring in half a value.
Unknown fields are ignored, so that a newer version may add some.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rolekeeper.values import Value, fields

T = TypeVar("T")
Json = Any


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds when there are any: `2026-11-23T16:46:21Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(moment: datetime) -> str:
    """The same to the second, for a text that a person reads."""
    return rfc3339(moment.replace(microsecond=0))


def encode(value: Any) -> Json:
    """What `json.dumps` takes, for a Value, a tuple, a mapping, an enum, a time, or what JSON has itself."""
    if isinstance(value, Value):
        return {name: encode(field) for name, field in fields(value).items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def to_json(value: Any) -> bytes:
    """A value as a JSON object, a field a line.

    Without json's `indent`: that leaves cycles behind, which add up in a process that lives for months.
    """
    members = ",\n".join(f"  {json.dumps(name)}: {json.dumps(member)}" for name, member in encode(value).items())
    return f"{{\n{members}\n}}\n".encode()


def decode(kind: type[T], value: Json) -> T:
    """The value of type `kind` that `encode` turned into `value`; ValueError when it is not one."""
    try:
        decoded: T = _decode(kind, value)
    except (TypeError, KeyError, AttributeError, OverflowError, StopIteration) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error
    return decoded


def _decode(kind: Any, value: Json) -> Any:
    origin = get_origin(kind)
    if origin is UnionType:
        return _decode_optional(get_args(kind), value)
    if origin is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in _decode_plain(list, value))
    if origin is not None:  # Mapping
        return {str(key): _decode(get_args(kind)[1], item) for key, item in value.items()}
    if issubclass(kind, Value):
        return _decode_value(kind, value)
    if kind is datetime:
        return _aware(datetime.fromisoformat(value))
    if kind is timedelta:
        return timedelta(seconds=_decode_plain(float, value))
    if issubclass(kind, Enum):
        return kind(value)
    return _decode_plain(kind, value)


def _decode_optional(kinds: tuple[Any, ...], value: Json) -> Any:
    """One of several kinds: None, and plain kinds that JSON tells apart."""
    if value is None and NoneType in kinds:
        return None
    candidates = [kind for kind in kinds if kind is not NoneType]
    if len(candidates) == 1:
        return _decode(candidates[0], value)
    return _decode_plain(next(kind for kind in candidates if type(value) is kind), value)


def _decode_value(kind: Any, value: Json) -> Any:
    hints = _hints(kind)
    return kind(**{name: _decode(hints[name], item) for name, item in value.items() if name in hints})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a value's fields. Only annotations in quotes need evaluation, which takes longer than decoding."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found |= getattr(base, "__annotations__", {})
    return get_type_hints(kind) if any(isinstance(hint, str) for hint in found.values()) else found


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no offset from UTC")
    return moment


def _decode_plain(kind: Any, value: Json) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value
