"""SMBIOS 3.0 tables for dmidecode to read, as the kernel shows them below /sys/firmware/dmi/tables.

Types 0 (BIOS), 1 (system), 4 (processor), 17 (memory device) and 127 (end of table), with no more fields than
dmidecode wants to see; each `serial` makes another machine.
"""

import struct
from pathlib import Path

_UUID = bytes.fromhex("11111111222233334444555555555555")
_UNKNOWN = b"\xff"


def write(directory: Path, serial: str) -> None:
    """Write `smbios_entry_point` and `DMI` for the machine with that serial number."""
    tables = b"".join((_bios(), _system(serial), _processor(serial), _memory(serial), _structure(127, 127)))
    entry = bytearray(b"_SM3_\0\x18\x03\x00\x00\x01\0" + struct.pack("<IQ", len(tables), 0x20))
    entry[5] = -sum(entry) & 0xFF
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "smbios_entry_point").write_bytes(entry)
    (directory / "DMI").write_bytes(tables)


def _structure(kind: int, handle: int, body: bytes = b"", *strings: str) -> bytes:
    ending = b"".join(text.encode() + b"\0" for text in strings) + b"\0" if strings else b"\0\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + ending


def _bios() -> bytes:
    body = bytes([1, 2]) + b"\0\xf0" + bytes([3, 0]) + bytes(10) + bytes([1, 0, 255, 255])
    return _structure(0, 0, body, "ACME BIOS", "1.0", "01/01/2024")


def _system(serial: str) -> bytes:
    return _structure(1, 1, bytes([1, 2, 3, 4]) + _UUID + bytes([6, 5, 6]), "ACME", "Box 1", "1", serial, "SKU", "Fam")


def _processor(serial: str) -> bytes:
    body = (
        bytes([1, 3, 2, 2]) + bytes(8) + bytes([3, 0]) + bytes(6) + bytes([0x41, 1]) + _UNKNOWN * 6 + bytes([4, 0, 0])
    )
    return _structure(4, 4, body, "CPU 1", "ACME", "Core", serial)


def _memory(serial: str) -> bytes:
    body = bytes(2) + b"\xfe\xff" + bytes([64, 0, 64, 0, 0, 4, 9, 0, 1, 2, 7, 0, 0]) + bytes(2) + bytes([3, 4, 0, 0])
    return _structure(17, 17, body, "DIMM 0", "BANK 0", "ACME", serial)
