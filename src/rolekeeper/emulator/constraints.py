"""Constraints on the members of a request, as tables, and AWS's words for their violations.

A value of the wrong JSON type is a SerializationException. One ValidationException names all other violations. Its
message leaves out the values of sensitive members, as AWS does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rolekeeper.emulator.messages import AnswerError


@dataclass(frozen=True, slots=True)
class Text:
    """A string: its length in characters, the values allowed, and a pattern as AWS writes it."""

    required: bool = False
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    allowed: tuple[str, ...] = ()
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer; in a form (`as_text`), its decimal digits."""

    lowest: int
    highest: int
    required: bool = False
    as_text: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: epoch seconds, whole or not."""

    required: bool = False


@dataclass(frozen=True, slots=True)
class Several:
    """A list."""

    item: "Rule"
    shortest: int = 0
    longest: int | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """A structure. It may have members that the table does not name, as in AWS."""

    members: Mapping[str, "Rule"] = field(default_factory=dict)
    required: bool = False


Rule = Text | Whole | Moment | Several | Members


def check(members: Mapping[str, Rule], document: Mapping[str, Any]) -> None:
    """Raise SerializationException or ValidationException unless the document fits."""
    problems = list(_members(members, "", document))
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        raise AnswerError("ValidationException", f"{len(problems)} validation {noun} detected: {'; '.join(problems)}")


def _members(members: Mapping[str, Rule], path: str, document: Mapping[str, Any]) -> Iterator[str]:
    for name, rule in members.items():
        place = path + name[0].lower() + name[1:]
        value = document.get(name)
        if value is not None:
            yield from _value(rule, place, value)
        elif rule.required:
            yield f"Value null at '{place}' failed to satisfy constraint: Member must not be null"


def _value(rule: Rule, path: str, value: Any) -> Iterator[str]:
    match rule:
        case Text():
            yield from _text(rule, path, _of_type(value, str, "a String"))
        case Whole():
            is_text = rule.as_text and isinstance(value, str) and re.fullmatch("-?[0-9]{1,9}", value)
            yield from _whole(rule, path, int(value) if is_text else _of_type(value, int, "an Integer"))
        case Moment():
            _of_type(value, (int, float), "a Timestamp")
        case Several():
            yield from _several(rule, path, _of_type(value, list, "a List"))
        case Members():
            yield from _members(rule.members, f"{path}.", _of_type(value, dict, "a Structure"))


def _of_type(value: Any, kinds: type | tuple[type, ...], wanted: str) -> Any:
    # In Python, true and false are integers too.
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise AnswerError("SerializationException", f"{type(value).__name__} can not be converted to {wanted}")
    return value


def _text(rule: Text, path: str, value: str) -> Iterator[str]:
    shown = "Value" if rule.sensitive else f"Value '{value}'"
    failed = f"{shown} at '{path}' failed to satisfy constraint: Member must"
    if len(value) < rule.shortest:
        yield f"{failed} have length greater than or equal to {rule.shortest}"
    if rule.longest is not None and len(value) > rule.longest:
        yield f"{failed} have length less than or equal to {rule.longest}"
    if rule.pattern and not _expression(rule.pattern).search(value):
        yield f"{failed} satisfy regular expression pattern: {rule.pattern}"
    if rule.allowed and value not in rule.allowed:
        yield f"{failed} satisfy enum value set: [{', '.join(rule.allowed)}]"


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    # Java's \w is ASCII, its $ here is the very end; \p{L}\p{Z}\p{N} are letters, separators and digits of any script.
    unicode = pattern.replace(r"\p{L}\p{Z}\p{N}_", r"\w\s")
    return re.compile(unicode.replace("$", r"\Z"), re.ASCII if unicode == pattern else 0)


def _whole(rule: Whole, path: str, value: int) -> Iterator[str]:
    failed = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value"
    if value < rule.lowest:
        yield f"{failed} greater than or equal to {rule.lowest}"
    if value > rule.highest:
        yield f"{failed} less than or equal to {rule.highest}"


def _several(rule: Several, path: str, value: list[Any]) -> Iterator[str]:
    failed = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have length"
    if len(value) < rule.shortest:
        yield f"{failed} greater than or equal to {rule.shortest}"
    if rule.longest is not None and len(value) > rule.longest:
        yield f"{failed} less than or equal to {rule.longest}"
    for number, item in enumerate(value, start=1):
        yield from _value(rule.item, f"{path}.{number}.member", item)
