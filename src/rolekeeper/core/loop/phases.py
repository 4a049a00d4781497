"""Where the loop is, in the words of status.json."""

from enum import StrEnum


class Phase(StrEnum):
    """A phase of the loop; docs/states.md draws how they follow each other."""

    UNREGISTERED = "unregistered"
    ATTEMPTING = "attempting"
    WAITING = "waiting"
    BACKING_OFF = "backing-off"
    HIBERNATING = "hibernating"
    STOPPING = "stopping"
