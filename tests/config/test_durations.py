"""Durations: what people write, and what they get."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper import durations

MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("90s", 90),
        ("90sec", 90),
        ("5min", 300),
        ("5m", 300),
        ("1h", 3600),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("1h 30min", 5400),
        ("1h30min", 5400),
        ("1 h 30 min", 5400),
        ("  10s ", 10),
        ("1.5h", 5400),
        ("0.000001s", 0.000001),
        ("0s", 0),
    ],
)
def test_a_number_with_a_unit_is_a_duration_and_several_add_up(text: str, seconds: float) -> None:
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "10", "s", "ten s", "-5s", "5 s 10", "1,5s", "10S", "5\tmin", "٣s", "1.s", "1..5s"]
)
def test_anything_else_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        durations.parse(text)


def test_an_unknown_unit_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'parsecs' is not a unit of time; known are ms, s, sec, m, min, h, d, w"):
        durations.parse("12 parsecs")


@pytest.mark.parametrize("text", ["36501d", "999999999999999w", "999999999999999w " * 100])
def test_a_duration_that_would_overflow_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a hundred years"):
        durations.parse(text)


def test_an_error_shows_no_more_than_the_beginning_of_a_long_text() -> None:
    with pytest.raises(ValueError, match=r"^'x{40}\.\.\.' is not a duration$"):
        durations.parse("x" * 10_000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (10, "10s"),
        (90, "1min 30s"),
        (3600, "1h"),
        (5400, "1h 30min"),
        (0.25, "250ms"),
        (0.0015, "1.5ms"),
        (864_000, "10d"),
    ],
)
def test_a_duration_is_written_in_the_largest_units_that_fit(seconds: float, text: str) -> None:
    assert durations.text(timedelta(seconds=seconds)) == text


@given(st.integers(min_value=0, max_value=durations.LONGEST // MICROSECOND))
def test_every_duration_reads_back_exactly_as_it_was_written(microseconds: int) -> None:
    duration = timedelta(microseconds=microseconds)
    assert durations.parse(durations.text(duration)) == duration


@given(st.text(alphabet="0123456789.smhdwinec -"))
def test_any_text_is_a_duration_within_bounds_or_a_value_error(text: str) -> None:
    try:
        found = durations.parse(text)
    except ValueError:
        return
    assert timedelta(0) <= found <= durations.LONGEST
