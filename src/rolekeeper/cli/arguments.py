"""What arguments of several verbs may be; raises UsageError."""

from datetime import timedelta

from rolekeeper import durations
from rolekeeper.errors import UsageError


def duration(name: str, text: str) -> timedelta:
    """The duration that the option `name` is given."""
    try:
        return durations.parse(text)
    except ValueError as error:
        raise UsageError("argument-invalid", f"{name} {text!r} is no duration", "write 45s or 5min") from error
