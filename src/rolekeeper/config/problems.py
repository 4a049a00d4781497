"""What pydantic found wrong in one file, in our words: the key path as the user wrote it, a message, and a remedy."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rolekeeper.config.values import WRONG_VALUE, toml_type
from rolekeeper.errors import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Tables = Mapping[str, type[BaseModel]]

OUTPUTS = "credentials_file"  # the one that is an array of tables

_UNKNOWN_KEY = "extra_forbidden"
_ARRAY_HINT = "write {header}, in double brackets, above each file's keys"
# pydantic's error type -> message and hint; {found} is TOML's name for the value's type, {header} the table's.
_WORDS = {
    "bool_type": ("must be true or false, not {found}", "write true or false, without quotes"),
    "float_type": ("must be a number, not {found}", "write a number without quotes"),
    "greater_than_equal": ("must be at least {ge}", "write a number from the range that config.toml names"),
    "less_than_equal": ("must be at most {le}", "write a number from the range that config.toml names"),
    "literal_error": ("must be one of {expected}", "write one of them, in quotes"),
    "model_type": ("must be a table, not {found}", "write {header} on a line of its own, and its keys below"),
    "tuple_type": ("must be an array of tables, not {found}", _ARRAY_HINT),
}
_WORDS_FOR_OTHERS = ("is not valid", "compare it with the commented config.toml that comes with rolekeeper")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HINTS_FOR_STRANGERS = {
    "activation_code": (
        "the code itself never stands in a configuration: put it into a file that only root may read and name that in "
        "activation_code_file, or hand it over as the systemd credential activation-code"
    )
}


def problem(where: str, error: "ErrorDetails", tables: Tables) -> Problem:
    """`error` as a Problem of the file `where`; `tables` are the known ones, for suggestions."""
    location = error["loc"]
    if error["type"] == _UNKNOWN_KEY:
        return Problem(where, key_path(location), "is not a known key", _suggestion(location, tables))
    context = error.get("ctx", {})
    if error["type"] == WRONG_VALUE:
        return Problem(where, key_path(location), context["message"], context["hint"])
    message, hint = _WORDS.get(error["type"], _WORDS_FOR_OTHERS)
    facts: dict[str, Any] = {**context, "found": toml_type(error["input"]), "header": _header(str(location[0]))}
    return Problem(where, key_path(location), message.format(**facts), hint.format(**facts))


def key_path(location: tuple[int | str, ...]) -> str:
    """A key path as TOML writes it: `credentials_file[0].path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else "." + _key(part) for part in location).removeprefix(".")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _header(table: str) -> str:
    return f"[[{table}]]" if table == OUTPUTS else f"[{table}]"


def _suggestion(location: tuple[int | str, ...], tables: Tables) -> str:
    """The nearest known key, or the table that a known key belongs into."""
    import difflib  # noqa: PLC0415 - only a wrong configuration needs it

    name = str(location[-1])
    if name in _HINTS_FOR_STRANGERS:
        return _HINTS_FOR_STRANGERS[name]
    known = list(tables if len(location) == 1 else tables[str(location[0])].model_fields)
    homes = [table for table, model in tables.items() if name in model.model_fields]
    if homes:
        return f"it belongs into {_header(homes[0])}"
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known)}"
