"""The vault on disk: the file vault.json in a directory that only its owner may enter (`contents` says what is in it).

The rules (design, promise 3):

- The directory is 0700 and the file 0600 from their first instant. The next save takes wider modes away.
- A save replaces the whole file with one rename, so a reader and a crash find the old contents or the new ones. Readers
  take no lock. Saving empty contents removes the file.
- No file, or no directory, is an empty vault. Everything else that does not read as a vault is an error, because an
  empty vault means a new registration: a damaged file, another user's file, a symlink that leads nowhere (the disk
  behind it is not mounted), a directory in the layout of SSM Agent.
- A vault may be sealed (`box`). It then stays sealed with the same key, and a plain one stays plain, until `seal_with`
  says otherwise; a new vault is sealed when the configuration says so. Reading a plain vault never needs a key.
- Writers exclude each other with a lock file. A temporary file that a killed writer left may hold a node key; the next
  writer removes it as soon as it has the lock.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from rolekeeper.adapters.files.lock import lock_at
from rolekeeper.adapters.files.paths import Attributes, Place, RefusedFileError, place
from rolekeeper.adapters.files.replace import read_at, remove_file, remove_leftovers, staged, translated
from rolekeeper.adapters.vault import FILE, KEY_MISSING
from rolekeeper.adapters.vault.agentformat import Fields, MalformedError, parse_object
from rolekeeper.adapters.vault.contents import UnknownFormatError, contents_of, encode
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents, VaultKey
from rolekeeper.ports import Clock

_DIRECTORY = Attributes(0o700)
_PRIVATE = Attributes(0o600)
_OTHERS = 0o077
_CODE = "vault-"  # the beginning of the code of an error that the system reports
_AGENT_LAYOUT = {"Manifest", "Store"}
_DAMAGED = (
    "restore it from a backup; without one, `rolekeeper clear` forgets this registration and `rolekeeper register`"
    " makes a new one"
)
_ANOTHER_VERSION = "install the version of rolekeeper that wrote it, or a newer one"


Keys = Callable[[], tuple[VaultKey, ...]]


def _no_keys() -> tuple[VaultKey, ...]:
    raise VaultError(KEY_MISSING, "Cannot use a sealed vault: there is no key", "use the command `rolekeeper`")


class FileVault:
    """The vault in `directory`, as ports.SealableVault.

    `keys` gives the vault keys, and is called only when one is needed. `seals_new`: a vault that is not there yet is
    written sealed, with the first of them.
    """

    def __init__(
        self, directory: str | os.PathLike[str], clock: Clock, keys: Keys = _no_keys, *, seals_new: bool = False
    ) -> None:
        self._directory = os.path.join(os.getcwd(), directory)
        self._file = os.path.join(self._directory, FILE)
        self._clock = clock
        self._keys = keys
        self._seals_new = seals_new
        self._is_known = False  # whether `_key` says what the vault is sealed with
        self._key: VaultKey | None = None

    @contextmanager
    def lock(self, wait: timedelta) -> Iterator[None]:
        """Keep every other writer out, waiting `wait` at most; removes what an interrupted save left behind."""
        with ExitStack() as held:
            with translated(VaultError, f"lock {self._file}", _CODE):
                target = held.enter_context(self._place(missing=_DIRECTORY))
                self._refuse_other_layout(target)
                held.enter_context(lock_at(target, wait, self._clock.sleep))
                remove_leftovers(target)
            self._is_known = False
            yield

    def load(self) -> VaultContents:
        """What is in the vault; an absent file or directory is an empty VaultContents."""
        data = self._read()
        if data is None:
            self._is_known = False
            return VaultContents()
        with self._explained():
            members = parse_object(data)
            key = None
            if "sealed" in members:
                members, key = self._opened(members)
            contents = contents_of(members)
        self._is_known, self._key = True, key
        return contents

    def sealed_with(self) -> str | None:
        """The name of the key that the vault on disk is sealed with; None when it is plain or absent."""
        data = self._read()
        if data is None:
            return None
        with self._explained():
            members = parse_object(data)
            if "sealed" not in members:
                return None
            from rolekeeper.adapters.vault import box  # noqa: PLC0415 - a plain vault never loads it

            return box.key_name(members)

    def seal_with(self, key: VaultKey | None) -> None:
        """Let every later save seal with `key`, or with None save plain; to be called with the lock held."""
        self._is_known, self._key = True, key

    def save(self, contents: VaultContents) -> None:
        """Make the vault hold `contents`, all of it or nothing; to be called with the lock held."""
        data = self._encoded(contents) if contents != VaultContents() else b""
        with translated(VaultError, f"write {self._file}", _CODE), self._place(missing=_DIRECTORY) as target:
            if os.fstat(target.directory).st_mode & _OTHERS:
                os.fchmod(target.directory, _DIRECTORY.mode)
            if not data:
                remove_file(self._file)
            else:
                with staged(target, data, _PRIVATE) as new:
                    new.commit()

    def _encoded(self, contents: VaultContents) -> bytes:
        try:
            data = encode(contents)
        except MalformedError as error:
            raise VaultError(
                "vault-contents-malformed",
                f"Cannot write {self._file}: {error}",
                "the vault is unchanged; please report this, it is a fault in rolekeeper",
            ) from None
        key = self._key_to_save_with()
        if key is None:
            return data
        from rolekeeper.adapters.vault import box  # noqa: PLC0415 - a plain vault never loads it

        return box.seal(data, key)

    def _key_to_save_with(self) -> VaultKey | None:
        if not self._is_known:
            self.load()  # raises for what is damaged: that may be a sealed vault, and is never overwritten in plain
        if not self._is_known:
            self._is_known, self._key = True, self._key_of_new() if self._seals_new else None
        return self._key

    def _key_of_new(self) -> VaultKey:
        try:
            return self._keys()[0]
        except VaultError as error:
            if error.code != KEY_MISSING:
                raise
            raise VaultError(
                KEY_MISSING,
                f"Cannot write {self._file}: vault.seal is set, and there is no key to seal it with",
                "`rolekeeper seal` as root makes one",
            ) from None

    def _opened(self, members: Fields) -> tuple[Fields, VaultKey]:
        """The members of the plain form in this sealed one, and the key that opened it."""
        from rolekeeper.adapters.vault import box  # noqa: PLC0415 - a plain vault never loads it

        name = box.key_name(members)
        keys = self._keys()
        key = next((key for key in keys if key.name == name), None)
        if key is None:
            held = ", ".join(key.name for key in keys)
            raise VaultError(
                "vault-key-other",
                f"Cannot read {self._file}: it is sealed with the key {name}, and the key here is {held}",
                "after `rolekeeper seal --rekey`: `systemctl restart rolekeeper`; after a restore: restore vault and "
                "key from the same backup of this machine",
            )
        return parse_object(box.unseal(members, key)), key

    def _read(self) -> bytes | None:
        with translated(VaultError, f"read {self._file}", _CODE):
            try:
                with self._place() as target:
                    found = read_at(target)
                    if found is None:
                        self._refuse_other_layout(target)
                        return None
            except FileNotFoundError:
                return None
        _check_owner(self._file, found.attributes.uid)
        return found.data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what does not read as a vault into an error that names the file and the remedy."""
        try:
            yield
        except MalformedError as error:
            raise VaultError("vault-damaged", f"Cannot read {self._file}: {error}", _DAMAGED) from None
        except UnknownFormatError as error:
            raise VaultError("vault-format-unknown", f"Cannot read {self._file}: {error}", _ANOTHER_VERSION) from None

    @contextmanager
    def _place(self, missing: Attributes | None = None) -> Iterator[Place]:
        """The open directory and the file's name in it; symlinks lead to the directory only."""
        if os.path.islink(self._file):
            remedy = "put the file itself there; a symlink may lead to the vault's directory"
            raise RefusedFileError("not-a-file", "it is a symlink", remedy)
        on_the_way = self._file
        while on_the_way != (on_the_way := os.path.dirname(on_the_way)):
            if os.path.islink(on_the_way) and not os.path.exists(on_the_way):
                remedy = "mount the disk that it leads to, or correct vault.directory"
                raise RefusedFileError("dangling-symlink", f"the symlink {on_the_way} leads nowhere", remedy)
        with place(self._file, missing) as target:
            _check_owner(self._directory, os.fstat(target.directory).st_uid)
            yield target

    def _refuse_other_layout(self, target: Place) -> None:
        """Never take a directory for empty that holds a registration in another layout."""
        names = set(os.listdir(target.directory))
        if FILE not in names and names & _AGENT_LAYOUT:
            raise VaultError(
                "vault-other-layout",
                f"Cannot use {self._directory}: it holds a vault in the layout of SSM Agent and no {FILE}",
                "move what is in it to another directory and take it over with `rolekeeper adopt --from DIR`",
            )


def _check_owner(path: str, uid: int | None) -> None:
    if uid != os.geteuid():
        raise VaultError(
            "vault-foreign-owner",
            f"Cannot use {path}: it belongs to user {uid}, and this is user {os.geteuid()}",
            "run rolekeeper as the vault's owner, or give the vault to this user with chown -R",
        )
