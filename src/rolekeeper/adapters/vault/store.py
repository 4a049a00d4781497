"""The vault: a directory of files that only its owner can read (vaultrecords.py lists them).

The rules (design, promise 3):

- Directories are 0700 and files 0600 from their first instant; wider modes are tightened by the next save.
- A file that is not a regular one of at most 1 MiB, or that belongs to somebody else, is an error; so is one that is
  damaged, but for those of no great worth. Nothing at all, or no directory, is an empty vault.
- A save changes what differs and nothing else. One file is replaced atomically. Several go into the journal first,
  which is replaced atomically: with that the save is made. Then each file is replaced, and the journal goes. Whoever
  finds a journal reads the vault as if it had been carried out; the next writer carries it out.
- Readers take no lock. They read until two readings in a row agree, so they see the vault as it was at one moment.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePath

from rolekeeper.adapters.files import paths
from rolekeeper.adapters.files.lock import lock
from rolekeeper.adapters.files.paths import Attributes, RefusedFileError, make_directories
from rolekeeper.adapters.files.replace import describe, read_file, remove_file, replace_file
from rolekeeper.adapters.vault.contents import (
    PATHS,
    DamagedFileError,
    decode,
    encode,
    encode_journal,
    parse_journal,
    settled,
)
from rolekeeper.adapters.vault.records import FINGERPRINT, JOURNAL, MANIFEST
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents
from rolekeeper.ports import Clock

_DIRECTORY = Attributes(0o700)
_FILE = Attributes(0o600)
_OTHERS = 0o077
_STORE = str(PurePath(FINGERPRINT).parent)
_LEFTOVER = ".rolekeeper-new"  # the end of the name of what atomicfile was writing when it was killed
_MOST_READINGS = 100  # a writer changes a few files in one save; to meet one this often means that something is amiss


class FileVault:
    """The vault below `directory`, as ports.Vault."""

    def __init__(self, directory: str | Path, clock: Clock) -> None:
        self._directory = Path(directory).absolute()
        self._clock = clock

    @contextmanager
    def lock(self, wait: timedelta) -> Iterator[None]:
        """Keep every other writer out, waiting `wait` at most; finishes what an interrupted save left to do."""
        with ExitStack() as held:
            with _translated(f"lock {self._directory}"):
                self._check_directory()
                self._make_directories()
                held.enter_context(lock(str(self._directory / MANIFEST), wait, self._clock.sleep))
                self._sweep()
            self._settle()
            yield

    def load(self) -> VaultContents:
        """What is in the vault; an absent or empty vault directory is an empty VaultContents."""
        try:
            return decode(settled(self._read()))
        except DamagedFileError as error:
            raise self._damaged(error) from None

    def save(self, contents: VaultContents) -> None:
        """Make the vault hold `contents`, all of it or nothing; to be called with the lock held."""
        self._settle()
        present = self._read()
        changes = self._changes(contents, present)
        with _translated(f"write {self._directory}"):
            self._make_directories()
            self._tighten(present)
            if len(changes) == 1:
                self._carry_out(changes)
            elif changes:
                self._replace(JOURNAL, encode_journal(changes))
        # With the journal in place the save is made. What cannot be carried out now (a disk that filled up since) is
        # left to the next writer, who reports it: an error here would say that the old contents are still there.
        with suppress(VaultError):
            self._settle()

    def _changes(self, contents: VaultContents, present: Mapping[str, bytes]) -> dict[str, bytes | None]:
        try:
            wanted = encode(contents, present, self._directory)
        except DamagedFileError as error:
            raise VaultError(
                "vault-contents-malformed",
                f"Cannot write {self._directory / error.path}: {error}",
                "the vault is unchanged; please report this, it is a fault in rolekeeper",
            ) from None
        return {path: wanted.get(path) for path in PATHS if wanted.get(path) != present.get(path)}

    def _settle(self) -> None:
        """Carry out the journal, if there is one."""
        journal = self._read_file(JOURNAL)
        if journal is None:
            return
        try:
            changes = parse_journal(journal)
        except DamagedFileError as error:
            raise self._damaged(error) from None
        with _translated(f"write {self._directory}"):
            self._make_directories()
            self._carry_out({**changes, JOURNAL: None})

    def _carry_out(self, changes: Mapping[str, bytes | None]) -> None:
        for path, data in changes.items():
            if data is None:
                remove_file(str(self._directory / path))
            else:
                self._replace(path, data)

    def _replace(self, path: str, data: bytes) -> None:
        replace_file(str(self._directory / path), data, _FILE)

    def _make_directories(self) -> None:
        make_directories(str(self._directory / _STORE), _DIRECTORY)

    def _tighten(self, present: Iterable[str]) -> None:
        """Take away what others may do with the vault: it may have been copied here by hand."""
        modes = {self._directory: _DIRECTORY.mode, self._directory / _STORE: _DIRECTORY.mode}
        modes |= {self._directory / path: _FILE.mode for path in present}
        for place, mode in modes.items():
            if place.stat().st_mode & _OTHERS:
                place.chmod(mode)

    def _sweep(self) -> None:
        """Remove what a writer that was killed left unfinished: a file may hold a key, a directory is empty."""
        for directory in (self._directory, self._directory / _STORE):
            for name in paths.names_in(str(directory)):
                if name.endswith(_LEFTOVER):
                    _remove(directory / name)

    def _read(self) -> dict[str, bytes]:
        """The files as they were at one moment."""
        before = self._read_once()
        for _ in range(_MOST_READINGS):
            after = self._read_once()
            if after == before:
                return after
            before = after
        raise VaultError(
            "vault-busy",
            f"Cannot read {self._directory}: it changes all the time",
            "find out which program writes there; rolekeeper changes a few files an hour",
        )

    def _read_once(self) -> dict[str, bytes]:
        with _translated(f"read {self._directory}"):
            if not self._check_directory():
                return {}
        found = {path: self._read_file(path) for path in (JOURNAL, *PATHS)}
        return {path: data for path, data in found.items() if data is not None}

    def _check_directory(self) -> bool:
        """Whether the vault's directory is there. A link to nowhere is an error: the disk behind it is missing."""
        try:
            status = self._directory.stat()
        except FileNotFoundError:
            if self._directory.is_symlink():
                raise
            return False
        _check_owner(self._directory, status)
        return True

    def _read_file(self, path: str) -> bytes | None:
        place = self._directory / path
        with _translated(f"read {place}"):
            try:
                status = place.lstat()
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(status.st_mode):
                raise RefusedFileError("not-a-file", "it is not a regular file", _STRANGE)
            _check_owner(place, status)
            return read_file(str(place))

    def _damaged(self, error: DamagedFileError) -> VaultError:
        place = self._directory / error.path
        hint = _BROKEN_JOURNAL.format(place) if error.path == JOURNAL else _DAMAGED
        return VaultError("vault-damaged", f"Cannot read {place}: {error}", hint)


_DAMAGED = (
    "restore the whole vault directory from a backup; without one, `rolekeeper clear` forgets this registration and"
    " `rolekeeper register` makes a new one"
)
_BROKEN_JOURNAL = "restore the whole vault directory from a backup; without one, move {} away: its change is then lost"
_STRANGE = "find out what put it there, and move it away"


def _remove(leftover: Path) -> None:
    try:
        remove_file(str(leftover))
    except IsADirectoryError:
        with suppress(FileNotFoundError):  # one who is at it now, without the lock, has removed it
            leftover.rmdir()


def _check_owner(place: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise VaultError(
            "vault-foreign-owner",
            f"Cannot use {place}: it belongs to user {status.st_uid}, and this is user {os.geteuid()}",
            "run rolekeeper as the vault's owner, or give the vault to this user with chown -R",
        )


@contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turn what the system says into an error that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        code, remedy = describe(error)
        raise VaultError(f"vault-{code}", f"Cannot {action}: {error.strerror}", remedy) from error
