"""What pydantic found wrong in one file, in our words: the key path as the user wrote it, a message, and a remedy."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rolekeeper.config.schema import ARRAYS
from rolekeeper.config.values import WRONG_VALUE, toml_type
from rolekeeper.errors import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Tables = Mapping[str, type[BaseModel]]

_UNKNOWN_KEY = "extra_forbidden"
_RANGE_HINT = "write a number from the range that config.toml names"
# pydantic's error type -> message and hint; {found} is TOML's name for the value's type, {header} the table's.
_WORDS = {
    "bool_type": ("must be true or false, not {found}", "write true or false, without quotes"),
    "dict_type": ("must be a table, not {found}", 'write {{ name = "value" }}'),
    "float_type": ("must be a number, not {found}", "write a number without quotes"),
    "greater_than_equal": ("must be at least {ge}", _RANGE_HINT),
    "less_than_equal": ("must be at most {le}", _RANGE_HINT),
    "literal_error": ("must be one of {expected}", "write one of them, in quotes"),
    "missing": ("is missing", "write it below {header}"),
    "model_type": ("must be a table, not {found}", "write {header} on a line of its own, and its keys below"),
    "too_long": ("has more than {max_length} entries", "AWS takes no more: remove some"),
    "tuple_type": ("must be an array, not {found}", "write the values in brackets, separated by commas"),
}
_ARRAY_OF_TABLES = (
    "must be an array of tables, not {found}",
    "write {header}, in double brackets, above the keys of each table",
)
_WORDS_FOR_OTHERS = ("is not valid", "compare it with the commented config.toml that comes with rolekeeper")
_KEY_ITSELF = "[key]"  # the end of pydantic's location when the key of a table is wrong, and not its value
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HINTS_FOR_STRANGERS = {
    "activation_code": (
        "the code itself must not be in the configuration: write it to a file that only root may read and name "
        "that file in activation_code_file, or provide it as the systemd credential activation-code"
    )
}


def problem(where: str, error: "ErrorDetails", tables: Tables) -> Problem:
    """`error` as a Problem of the file `where`; `tables` are the known ones, for suggestions."""
    location = tuple(part for part in error["loc"] if part != _KEY_ITSELF)
    if error["type"] == _UNKNOWN_KEY:
        return Problem(where, key_path(location), "is not a known key", _suggestion(location, tables))
    context = error.get("ctx", {})
    if error["type"] == WRONG_VALUE:
        return Problem(where, key_path(location), context["message"], context["hint"])
    message, hint = _WORDS.get(error["type"], _WORDS_FOR_OTHERS)
    if error["type"] == "tuple_type" and len(location) == 1:
        message, hint = _ARRAY_OF_TABLES
    facts: dict[str, Any] = {**context, "found": toml_type(error["input"]), "header": _header(str(location[0]))}
    return Problem(where, key_path(location), message.format(**facts), hint.format(**facts))


def key_path(location: tuple[int | str, ...]) -> str:
    """A key path as TOML writes it: `credentials_file[0].path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else "." + _key(part) for part in location).removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion of the known name that `name` is nearly; empty when there is none."""
    import difflib  # noqa: PLC0415 - only a wrong configuration needs it

    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _header(table: str) -> str:
    return f"[[{table}]]" if table in ARRAYS else f"[{table}]"


def _suggestion(location: tuple[int | str, ...], tables: Tables) -> str:
    """The table of a known key, or the nearest known key."""
    name = str(location[-1])
    if name in _HINTS_FOR_STRANGERS:
        return _HINTS_FOR_STRANGERS[name]
    homes = [_header(table) for table, model in tables.items() if name in model.model_fields]
    if homes:
        return f"it belongs into {' or '.join(homes)}"
    known = list(tables if len(location) == 1 else tables[str(location[0])].model_fields)
    return nearest(name, known) or f"known here: {', '.join(known)}"
