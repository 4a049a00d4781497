"""The state on disk: one JSON file, 0600, replaced atomically before the answer that depends on it leaves."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rolekeeper.emulator.state import Activation, Administrator, Node, State, Tags, Token
from rolekeeper.errors import InputOutputError

VERSION = 1

Value = TypeVar("Value")


def load(path: Path) -> State | None:
    """The state in a file, or None when there is no such file. Raises InputOutputError for a damaged one."""
    try:
        return _state(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputOutputError(
            "emulator-state-unreadable",
            f"Cannot read the emulator's state in {path}: {type(error).__name__}: {error}",
            "restore the file, or remove it to start with an empty service",
        ) from None


def save(path: Path, state: State) -> None:
    """Replace the file. Raises InputOutputError; the old content is still there then."""
    text = json.dumps({"version": VERSION, **asdict(state)}, default=datetime.isoformat, indent=1)
    try:
        _replace(path, text.encode())
    except OSError as error:
        raise InputOutputError(
            "emulator-state-unwritable",
            f"Cannot write the emulator's state to {path}: {error.strerror or error}",
            "choose a place that this user may write to and that is not full",
        ) from None


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _state(document: Any) -> State:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r} is not {VERSION}")
    return State(
        account_id=_text(document["account_id"]),
        region=_text(document["region"]),
        administrator=_restore(Administrator, document["administrator"]),
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
    datetime | None: lambda value: None if value is None else _moment(value),
    Tags: lambda value: tuple((_text(key), _text(content)) for key, content in value),
}
