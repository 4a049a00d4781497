"""The vault's files as a whole, and VaultContents: one made of the other; no I/O.

Files are a mapping of path below the vault directory to content. What is not whole is an error, never an empty vault:

- The manifest names just the two files in `Store` that are there; where it says they are does not matter, so that a
  vault can be moved. Its absence beside either of them is an error.
- A registration without its fingerprint is an error. A fingerprint without a registration is what SSM Agent leaves
  when a registration failed, and is told as such.
- Files of no great worth that are damaged count as absent, and are named in `damaged`.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from rolekeeper.adapters.vault.agentformat import (
    MalformedError,
    dump,
    encode_manifest,
    parse_manifest,
    parse_object,
    text,
)
from rolekeeper.adapters.vault.records import FINGERPRINT, JOURNAL, MANIFEST, RECORDS, REGISTRATION, Record
from rolekeeper.model import VaultContents

Files = Mapping[str, bytes]

PATHS = (MANIFEST, *(record.path for record in RECORDS))
"""Every file of the vault but its journal and its lock."""

_NAMED = {PurePath(path).name: path for path in (FINGERPRINT, REGISTRATION)}
_EMPTY = VaultContents()


class DamagedFileError(MalformedError):
    """One file of the vault, at `path` below its directory, is not what it should be."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


def decode(files: Files) -> VaultContents:
    """What the files hold; raises DamagedFileError."""
    _check_manifest(files)
    parts: dict[str, Any] = {}
    damaged: list[str] = []
    for record in RECORDS:
        if record.path in files:
            try:
                value = record.parse(files[record.path], _node_id(parts))
            except MalformedError as error:
                if record.essential:
                    raise DamagedFileError(record.path, str(error)) from None
                damaged.append(record.path)
            else:
                parts |= {} if value is None else {record.part: value}
    if "registration" in parts and "fingerprint" not in parts:
        raise DamagedFileError(FINGERPRINT, "the registration's fingerprint is missing")
    return VaultContents(**parts, damaged=tuple(damaged))


def encode(contents: VaultContents, present: Files, directory: Path) -> dict[str, bytes]:
    """The files that hold `contents`; one in `present` that already says its part stays as it is, byte for byte.

    Raises MalformedError for contents that could not be read back.
    """
    node_id = contents.registration.node_id if contents.registration else ""
    files = {
        record.path: _encoded(record, getattr(contents, record.part), node_id, present.get(record.path))
        for record in RECORDS
        if getattr(contents, record.part) != getattr(_EMPTY, record.part)
    }
    named = {name: str(directory / path) for name, path in _NAMED.items() if path in files}
    files |= {MANIFEST: encode_manifest(named)} if named else {}
    _check(files, contents)
    return files


def encode_journal(changes: Mapping[str, bytes | None]) -> bytes:
    """The new content of every file that changes; null for one that goes."""
    return dump({path: None if data is None else data.decode("utf-8") for path, data in changes.items()})


def parse_journal(data: bytes) -> dict[str, bytes | None]:
    """The changes that a journal holds; raises DamagedFileError."""
    try:
        fields = parse_object(data)
        changes = {path: None if fields[path] is None else text(fields, path).encode("utf-8") for path in fields}
    except MalformedError as error:
        raise DamagedFileError(JOURNAL, str(error)) from None
    if not set(changes) <= set(PATHS):
        raise DamagedFileError(JOURNAL, "it names a file that is none of the vault's")
    return changes


def settled(files: Files) -> dict[str, bytes]:
    """The files as they are once the journal among them, if there is one, has been carried out."""
    changes = parse_journal(files[JOURNAL]) if JOURNAL in files else {}
    after = {**files, **changes}
    return {path: data for path, data in after.items() if data is not None and path != JOURNAL}


def _check_manifest(files: Files) -> None:
    present = {name for name, path in _NAMED.items() if path in files}
    if MANIFEST not in files and present:
        raise DamagedFileError(MANIFEST, f"it is missing, and {' and '.join(sorted(present))} is there")
    if MANIFEST not in files:
        return
    try:
        named = parse_manifest(files[MANIFEST])
    except MalformedError as error:
        raise DamagedFileError(MANIFEST, str(error)) from None
    if any(PurePath(named[name]).name != name for name in _NAMED if name in named):
        raise DamagedFileError(MANIFEST, "it names another file than the vault's own")
    for name, path in _NAMED.items():
        if (name in named) is not (name in present):
            raise DamagedFileError(
                path, "the manifest names it, and it is missing" if name in named else "the manifest does not name it"
            )


def _node_id(parts: Mapping[str, Any]) -> str:
    return parts["registration"].node_id if "registration" in parts else ""


def _encoded(record: Record, value: Any, node_id: str, present: bytes | None) -> bytes:
    """The record's file, or the present one when it says the same: SSM Agent's dates are finer than ours."""
    if present is not None:
        try:
            unchanged = record.parse(present, node_id) == value
        except MalformedError:
            unchanged = False
        if unchanged:
            return present
    return record.encode(value, node_id)


def _check(files: Files, contents: VaultContents) -> None:
    """What is written can be read: no caller's mistake makes a vault that the next start cannot read."""
    readable = decode(files)
    for record in RECORDS:
        if record.essential and getattr(readable, record.part) != getattr(contents, record.part):
            raise DamagedFileError(record.path, "it would not be read back as it was meant")
