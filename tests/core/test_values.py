"""Values: frozen, compared by what they hold, made by position or by name, and silent about what is hidden."""

from collections.abc import Mapping

import pytest

from rolekeeper.values import NOTHING, Value, fields, replace


class Name(Value):
    first: str
    last: str = "Doe"


class Person(Name, hidden=("secret",)):
    secret: str = ""
    tags: Mapping[str, str] = NOTHING


class Other(Value):
    first: str
    last: str = "Doe"


def test_fields_come_by_position_or_by_name_and_those_of_the_base_first() -> None:
    jane = Person("Jane", secret="s")
    assert fields(jane) == {"first": "Jane", "last": "Doe", "secret": "s", "tags": {}}
    assert Person(secret="s", first="Jane") == jane == Person("Jane", "Doe", "s")
    assert replace(jane, last="Roe") == Person("Jane", "Roe", "s")


def test_values_are_equal_when_kind_and_fields_are() -> None:
    assert Name("Jane") == Name(last="Doe", first="Jane")
    assert hash(Name("Jane")) == hash(Name(last="Doe", first="Jane"))
    assert Name("Jane") != Name("John")
    assert Name("Jane") != Other("Jane")
    assert len({Name("Jane"), Name("Jane"), Other("Jane")}) == 2


def test_a_value_is_frozen() -> None:
    jane = Name("Jane")
    with pytest.raises(AttributeError, match="frozen"):
        jane.first = "John"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del jane.first
    assert jane == Name("Jane")


def test_what_is_hidden_is_not_shown() -> None:
    assert repr(Person("Jane", secret="s3cret")) == "Person(first='Jane', last='Doe', tags=mappingproxy({}))"


def test_a_value_matches_by_position_and_by_name() -> None:
    match Person("Jane", "Roe"):
        case Name(first, last="Roe"):
            assert first == "Jane"
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    ("positional", "named"),
    [((), {}), (("a", "b", "c"), {}), (("a",), {"first": "b"}), (("a",), {"middle": "b"}), ((), {"last": "b"})],
)
def test_wrong_fields_are_a_type_error(positional: tuple[str, ...], named: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="Name"):
        Name(*positional, **named)
