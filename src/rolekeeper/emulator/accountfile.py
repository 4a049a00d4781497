"""The state file: the account as JSON, 0600, replaced as a whole before the answer that depends on it is sent."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rolekeeper.adapters.files.paths import Attributes
from rolekeeper.adapters.files.replace import describe, read_file, replace_file
from rolekeeper.emulator.account import Account, Activation, Administrator, Node, Role, Tags, Token
from rolekeeper.errors import InputOutputError

VERSION = 2
LIMIT_BYTES = 256 * 1024 * 1024  # a thousand nodes with their tokens take about 2 MB

Value = TypeVar("Value")


def load(path: Path) -> Account | None:
    """The account in a file; None when there is no such file. Raises InputOutputError when it cannot be read."""
    try:
        content = read_file(str(path), LIMIT_BYTES)
        return None if content is None else _account(json.loads(content.decode()))
    except OSError as error:
        reason, hint = error.strerror or str(error), describe(error)[1]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        hint = "restore the file, or remove it to start with a new account"
    raise InputOutputError("emulator-state-unreadable", f"Cannot read the emulator's state in {path}: {reason}", hint)


def save(path: Path, account: Account) -> None:
    """Replace the file. After an InputOutputError it still has its old content."""
    text = json.dumps({"version": VERSION, **asdict(account)}, default=_plain, indent=1)
    try:
        replace_file(str(path), text.encode(), Attributes(mode=0o600))
    except OSError as error:
        message = f"Cannot write the emulator's state to {path}: {error.strerror or error}"
        raise InputOutputError("emulator-state-unwritable", message, describe(error)[1]) from None


def _plain(value: datetime | timedelta) -> str | float:
    return value.isoformat() if isinstance(value, datetime) else value.total_seconds()


def _account(document: Any) -> Account:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r} is not {VERSION}")
    return Account(
        account_id=_text(document["account_id"]),
        region=_text(document["region"]),
        administrator=_restore(Administrator, document["administrator"]),
        roles=_restore_all(Role, document["roles"]),
        activations=_restore_all(Activation, document["activations"]),
        nodes=_restore_all(Node, document["nodes"]),
        tokens=_restore_all(Token, document["tokens"]),
    )


def _restore_all(kind: type[Value], documents: Mapping[str, Any]) -> dict[str, Value]:
    return {key: _restore(kind, document) for key, document in documents.items()}


def _restore(kind: type[Value], document: Mapping[str, Any]) -> Value:
    return kind(**{name: _READERS[hint](document[name]) for name, hint in get_type_hints(kind).items()})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _whole,
    bool: bool,
    datetime: _moment,
    timedelta: lambda value: timedelta(seconds=value),
    tuple[str, ...]: lambda value: tuple(_text(item) for item in value),
    datetime | None: lambda value: None if value is None else _moment(value),
    Tags: lambda value: tuple((_text(key), _text(content)) for key, content in value),
}
