"""Durations as people write them: numbers with units, added up: "90s", "5min", "1h 30min", "30d".

Units are ms, s (sec), min (m), h, d and w. A bare number is no duration, because it does not show its unit.
"""

import re
from datetime import timedelta

HINT = 'write a number with its unit, such as "90s", "5min", "1h 30min" or "30d"'
LONGEST = timedelta(days=36_500)

_MICROSECONDS = {
    "ms": 1_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_WRITTEN_UNITS = ("d", "h", "min", "s")
_PART = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?[ ]*([a-z]+)[ ]*")
_WHOLE = re.compile(rf"[ ]*(?:{_PART.pattern})+")
_SHOWN_CHARACTERS = 40


def parse(text: str) -> timedelta:
    """The duration that `text` says, exact to the microsecond; ValueError, in words for a user, when it says none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a duration")
    microseconds = sum(_part(*part.groups(default="0")) for part in _PART.finditer(text))
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"{_shown(text)} is longer than a hundred years")
    return timedelta(microseconds=microseconds)


def text(duration: timedelta) -> str:
    """The shortest way to write `duration` (not negative) that `parse` reads back."""
    rest = duration // timedelta(microseconds=1)
    parts = []
    for unit in _WRITTEN_UNITS:
        count, rest = divmod(rest, _MICROSECONDS[unit])
        parts.append(f"{count}{unit}" if count else "")
    whole, fraction = divmod(rest, _MICROSECONDS["ms"])
    parts.append(f"{whole}.{fraction:03}".rstrip("0").rstrip(".") + "ms" if rest else "")
    return " ".join(filter(None, parts)) or "0s"


def _part(whole: str, fraction: str, unit: str) -> int:
    if unit not in _MICROSECONDS:
        raise ValueError(f"{_shown(unit)} is not a unit of time; known are {', '.join(_MICROSECONDS)}")
    return int(whole) * _MICROSECONDS[unit] + int(fraction.ljust(6, "0")) * _MICROSECONDS[unit] // 1_000_000


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
