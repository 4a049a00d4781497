"""Grafana's own schema of dashboards, asked about the file argv[1]: what is wrong with it, a line each.

Run by the interpreter that has grafana-foundation-sdk, whose classes are generated from Grafana's schema. It drops what
it does not know and checks no type, so both are done here: nothing may be lost on the way through the classes, and each
value has to be of its declared type.
"""

import enum
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard


def lost(written: Any, known: Any, where: str = "") -> Iterator[str]:
    """What of the file is not in what the classes have kept."""
    if isinstance(written, dict) and isinstance(known, dict):
        for key, value in written.items():
            yield from lost(value, known[key], f"{where}.{key}") if key in known else [f"{where}.{key}: unknown"]
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for number, (one, other) in enumerate(zip(written, known, strict=True)):
            yield from lost(one, other, f"{where}[{number}]")
    elif written != known:
        yield f"{where}: {written!r} became {known!r}"


def wrong(value: Any, hint: Any, where: str = "") -> Iterator[str]:
    """What in a value is not of its type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = [list(wrong(value, one, where)) for one in arguments]
        yield from [] if not all(found) else max(found, key=lambda messages: len(messages[0].partition(": ")[0]))
    elif typing.get_origin(hint) is list and isinstance(value, list):
        for number, one in enumerate(value):
            yield from wrong(one, arguments[0], f"{where}[{number}]")
    elif typing.get_origin(hint) is dict and isinstance(value, dict):
        for key, one in value.items():
            yield from wrong(one, arguments[1], f"{where}.{key}")
    elif is_class(type(value)) and (hint is object or isinstance(value, hint)):  # object: the options of a panel type
        for name, kind in typing.get_type_hints(type(value)).items():
            yield from wrong(getattr(value, name), kind, f"{where}.{name}")
    elif isinstance(value, dict) and isinstance(hint, type) and is_class(hint):  # left as it was written
        parsed = hint.from_json(value)
        yield from lost(value, encoded(parsed), where)
        yield from wrong(parsed, hint, where)
    elif not fits(value, hint):
        yield f"{where}: {value!r} is no {getattr(hint, '__name__', hint)}"


def fits(value: Any, hint: Any) -> bool:
    if hint is object:
        return True
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if not isinstance(hint, type):
        return False
    if issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    return type(value) in ((int, float) if hint is float else (hint,))


def encoded(value: Any) -> Any:
    return json.loads(encoder.JSONEncoder().encode(value))


def is_class(kind: type) -> bool:
    """Whether it is one of the schema's classes."""
    return kind.__module__.startswith("grafana_foundation_sdk.")


plugins.register_default_plugins()
file = json.loads(Path(sys.argv[1]).read_text())
whole = dashboard.Dashboard.from_json(file)
for message in (*lost(file, encoded(whole)), *wrong(whole, dashboard.Dashboard)):
    sys.stdout.write(f"{message}\n")
