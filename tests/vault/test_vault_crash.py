"""Whatever is killed at whatever step, the vault holds the old contents or the new ones, whole."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.errors import VaultError
from rolekeeper.model import VaultContents

CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.setxattr"}
KILLED, FAILED = 9, 3


def changes_something(event: str, arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if event == "open" else 0
    return event in CHANGING or (isinstance(flags, int) and bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)))


def ends_before(step: int, work: Callable[[], None]) -> bool:
    """Do `work` in a child that dies just before the file operation number `step`; whether it got that far."""
    child = os.fork()
    if child == 0:
        left = step

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if changes_something(event, arguments):
                left -= 1
                if left == 0:
                    os._exit(KILLED)

        try:
            sys.addaudithook(watch)
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent has to know, and pytest must not go on here
            os._exit(FAILED)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


def writes(vault: FileVault, contents: VaultContents) -> Callable[[], None]:
    def work() -> None:
        with vault.lock(timedelta()):
            vault.save(contents)

    return work


def with_other_key(full: VaultContents) -> VaultContents:
    assert full.registration is not None
    assert full.pending_key is not None
    changed = replace(full.registration, key=full.pending_key)
    return replace(full, registration=changed, superseded_key=full.registration.key, pending_key=None)


def as_another_node(full: VaultContents) -> VaultContents:
    assert full.registration is not None
    assert full.fingerprint is not None
    return VaultContents(
        registration=replace(full.registration, node_id="mi-ffffffffffffffff0"),
        fingerprint=replace(full.fingerprint, fingerprint="ffffffff-0000-4000-8000-000000000000"),
    )


Change = Callable[[VaultContents], VaultContents]
STEPS: dict[str, tuple[Change, Change]] = {
    "register": (
        lambda full: VaultContents(pending_registration=full.pending_registration),
        lambda full: replace(full, pending_registration=None, held_token=None),
    ),
    "begin to rotate": (lambda full: replace(full, pending_key=None), lambda full: full),
    "promote the new key": (lambda full: replace(full, superseded_key=None), with_other_key),
    "register anew": (lambda full: full, as_another_node),
    "forget": (lambda full: full, lambda _: VaultContents()),
    "first of all": (lambda _: VaultContents(), lambda full: full),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_save_killed_at_any_step_leaves_the_old_or_the_new(name: str, tmp_path: Path, full: VaultContents) -> None:
    before, after = (make(full) for make in STEPS[name])
    directory = tmp_path / "vault"
    vault = FileVault(directory, SystemClock())
    writes(vault, before)()
    shutil.copytree(directory, tmp_path / "before")
    seen, killed, step = set(), True, 0
    while killed:
        step += 1
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "before", directory)
        killed = ends_before(step, writes(vault, after))
        found = vault.load()
        assert found in (before, after)
        assert killed or found == after
        seen.add(found == after)
        writes(vault, after)()
        assert vault.load() == after
        assert not [path for path in directory.rglob("*") if "-new" in path.name or path.name == "Journal"]
    assert seen == {False, True}
    assert step > 3


def step_that_commits(directory: Path, before: VaultContents, after: VaultContents) -> int:
    """The first step at which a save that is killed has left a journal."""
    number = 0
    vault = FileVault(directory, SystemClock())
    while not (directory / "Journal").exists():
        number += 1
        writes(vault, before)()
        assert ends_before(number, writes(vault, after))
    return number


def test_finishing_an_interrupted_save_may_itself_be_interrupted(tmp_path: Path, full: VaultContents) -> None:
    before, after = (make(full) for make in STEPS["register anew"])
    committed = step_that_commits(tmp_path / "search", before, after)
    killed, step = True, 0
    while killed:
        step += 1
        vault = FileVault(tmp_path / str(step), SystemClock())
        writes(vault, before)()
        assert ends_before(committed, writes(vault, after))
        killed = ends_before(step, writes(vault, vault.load()))
        assert vault.load() == after
    assert step > 5


def test_a_journal_left_by_a_crash_is_carried_out_by_the_next_lock(
    vault: FileVault, directory: Path, full: VaultContents
) -> None:
    step_that_commits(directory, VaultContents(), full)
    assert vault.load() == full
    with vault.lock(timedelta()):
        assert not (directory / "Journal").exists()
    assert vault.load() == full


def test_temporary_files_of_a_killed_writer_go_with_the_next_lock(
    vault: FileVault, directory: Path, full: VaultContents
) -> None:
    """One of them may hold a node key, and a machine that was cleared must hold none."""
    writes(vault, full)()
    leftovers = [
        directory / ".PendingKey.0123456789abcdef.rolekeeper-new",
        directory / "Store" / ".RegistrationKey.0123456789abcdef.rolekeeper-new",
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"half a key")
    writes(vault, VaultContents())()
    assert not [leftover for leftover in leftovers if leftover.exists()]


def test_a_directory_that_a_killed_command_was_making_goes_with_the_next_lock(
    vault: FileVault, directory: Path
) -> None:
    """Two that make the vault at once share its name; the slower one may be killed when the quicker one is done."""
    writes(vault, VaultContents())()
    leftover = directory / ".Store.0123456789abcdef.rolekeeper-new"
    leftover.mkdir(0o700)
    with vault.lock(timedelta()):
        assert not leftover.exists()


HOLDER = """
import sys
from datetime import timedelta
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
with FileVault(sys.argv[1], SystemClock()).lock(timedelta()):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_another_holds_is_refused(vault: FileVault, directory: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(VaultError, match="another process has locked it") as caught,
            vault.lock(timedelta(seconds=0.2)),
        ):
            pytest.fail("two hold the lock")
        assert (caught.value.code, bool(caught.value.hint)) == ("vault-locked", True)
        holder.kill()
    with vault.lock(timedelta()):
        """A lock ends with its process."""


def test_an_error_while_the_lock_is_held_comes_through_as_it_is(vault: FileVault) -> None:
    with pytest.raises(OSError, match="mine"), vault.lock(timedelta()):
        raise OSError("mine")
    with vault.lock(timedelta()):
        """The lock was released."""


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent has to know, and pytest must not go on here
            os._exit(FAILED)
        os._exit(0)
    return child


def test_two_writers_lose_nothing_of_each_other(vault: FileVault, registered: VaultContents) -> None:
    writes(vault, registered)()

    def adds(writer: int) -> Callable[[], None]:
        def work() -> None:
            for number in range(15):
                with vault.lock(timedelta(seconds=60)):
                    contents = vault.load()
                    uuid = f"{writer:08x}-{number:04x}-4000-8000-000000000000"
                    vault.save(replace(contents, trials={**contents.trials, uuid: uuid}))

        return work

    children = [in_child(adds(writer)) for writer in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(vault.load().trials) == 30


def test_a_reader_without_the_lock_sees_one_moment_of_the_vault(vault: FileVault, full: VaultContents) -> None:
    one, other = (make(full) for make in STEPS["register anew"])
    writes(vault, one)()

    def flips() -> None:
        for number in range(40):
            writes(vault, one if number % 2 else other)()

    child = in_child(flips)
    seen = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert vault.load() in (one, other)
        seen += 1
    assert seen > 10


def test_a_vault_that_never_stands_still_is_an_error(vault: FileVault, directory: Path, full: VaultContents) -> None:
    writes(vault, full)()

    def restless() -> None:
        def change(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and arguments[0] == "Manifest":
                with (directory / "MeasuredHash").open("ab") as file:
                    file.write(b" ")

        sys.addaudithook(change)
        with pytest.raises(VaultError) as caught:
            vault.load()
        assert caught.value.code == "vault-busy"

    assert os.waitpid(in_child(restless), 0)[1] == 0
