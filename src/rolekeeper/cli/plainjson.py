"""JSON for a command that must start like a bare interpreter.

Importing `json` takes nine tenths of a bare start, nearly all of it for `re`, which only its fallback in Python needs.
The extension `_json` of CPython scans and quotes for it; this module calls the same functions. An interpreter that has
no `_json`, or one that takes other arguments, gets `json` itself.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class _Defaults:
    """What json.JSONDecoder() gives its scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float
    memo: "dict[str, str]" = {}  # noqa: RUF012 - the extension empties it after each document


try:
    from _json import encode_basestring_ascii as _quoted
    from _json import make_scanner

    _scan: "Callable[[str, int], tuple[Any, int]]" = make_scanner(_Defaults)  # type: ignore[arg-type] # as typeshed
except (ImportError, AttributeError, TypeError):  # not CPython, or a later one
    from json import JSONDecoder
    from json import dumps as _quoted

    _scan = JSONDecoder().raw_decode


def loads(text: str) -> "Any":
    """As json.loads; raises ValueError and RecursionError."""
    document = text.strip(" \t\n\r")
    try:
        value, end = _scan(document, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(document):
        raise ValueError("text after the JSON value")
    return value


def dumps(members: "Mapping[str, str | int]") -> str:
    """As json.dumps, of an object of strings and numbers."""
    return "{" + ", ".join(f"{_quoted(name)}: {_written(value)}" for name, value in members.items()) + "}"


def _written(value: "str | int") -> str:
    return _quoted(value) if isinstance(value, str) else str(value)
