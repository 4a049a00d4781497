"""DER (X.690), as far as node keys and certificates need it."""

from collections.abc import Iterator

_SEQUENCE, _INTEGER = 0x30, 0x02  # tags
_LONG_LENGTH = 0x80  # with this bit, the length byte says how many bytes the length has


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each of the elements that fill `data`; ValueError when the last one is cut off."""
    at = 0
    while at < len(data):
        tag, length, start = data[at], int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
        if length & _LONG_LENGTH:
            start += length & ~_LONG_LENGTH
            length = int.from_bytes(data[at + 2 : start], "big")
        at = start + length
        if at > len(data):
            raise ValueError("cut off")
        yield tag, data[start:at]


def integers(data: bytes) -> list[bytes]:
    """The integers in the one sequence that `data` is; ValueError when it is anything else."""
    ((tag, content),) = elements(data)
    found = list(elements(content))
    if tag != _SEQUENCE or any(kind != _INTEGER for kind, _ in found):
        raise ValueError("not a sequence of integers")
    return [value for _, value in found]
