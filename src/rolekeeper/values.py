"""Frozen values, compared by what they hold: dataclasses that cost nothing to define.

`@dataclass` compiles half a dozen methods a class whenever its module is loaded, 0.6 ms each time. An attempt lives for
a tenth of a second and loads ninety such classes, so that took a third of it. Here all classes share the same methods.

    class Node(Value, hidden=("key",)):
        id: str
        key: str
        tags: Mapping[str, str] = NOTHING

Fields are the annotations, those of the base class first. A field without a value in the class must be given. `hidden`
names the fields that `repr` leaves out, such as secrets.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

NOTHING: Mapping[Any, Any] = MappingProxyType({})
"""The default of a field that is a mapping."""


@dataclass_transform(frozen_default=True)
class Value:
    """Base of all values; assignment to a field raises AttributeError, a wrong argument TypeError."""

    __match_args__: ClassVar[tuple[str, ...]] = ()  # the names of the fields, as the match statement wants them
    __hidden: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, *, hidden: tuple[str, ...] = ()) -> None:
        own = (name for name in cls.__annotations__ if name not in cls.__match_args__)
        cls.__match_args__ = (*cls.__match_args__, *own)  # type: ignore[misc]
        cls.__hidden = cls.__hidden | frozenset(hidden)

    def __init__(self, *positional: Any, **named: Any) -> None:
        kind, names = type(self), self.__match_args__
        given = dict(zip(names, positional, strict=False)) | named
        if len(given) < len(positional) + len(named) or not given.keys() <= set(names):
            raise TypeError(f"{kind.__name__} has the fields {names}, each at most once")
        for name in names:
            if name not in given and not hasattr(kind, name):
                raise TypeError(f"{kind.__name__} needs {name}")
            self.__dict__[name] = given[name] if name in given else getattr(kind, name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot assign {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__dict__.items() if name not in self.__hidden)
        return f"{type(self).__qualname__}({', '.join(shown)})"


V = TypeVar("V", bound=Value)


def fields(value: Value) -> dict[str, Any]:
    """What it holds, by name."""
    return dict(value.__dict__)


def replace(value: V, **changes: Any) -> V:
    """The same value with other fields."""
    return type(value)(**{**value.__dict__, **changes})
