"""Whatever is killed at whatever step, the vault holds the old contents or the new ones, whole."""

import os
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import forked
from tests.vault.conftest import FULL, ISSUE, NODE, REGISTERED, UUIDS, names, save

from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.model import Node, VaultContents
from rolekeeper.values import replace

CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.setxattr"}
KILLED = 9
LOCK = ".vault.json.rolekeeper-lock"
ANOTHER = VaultContents(
    Node(replace(NODE.registration, node_id="mi-ffffffffffffffff0"), replace(NODE.accepted, fingerprint=UUIDS[1]))
)


def changes_something(event: str, arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if event == "open" else 0
    return event in CHANGING or (isinstance(flags, int) and bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)))


def ends_before(step: int, work: Callable[[], None]) -> bool:
    """Do `work` in a child that dies just before the file operation number `step`; whether it got that far."""

    def watched() -> None:
        left = step

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if changes_something(event, arguments):
                left -= 1
                if left == 0:
                    os._exit(KILLED)

        sys.addaudithook(watch)
        work()

    status = os.waitstatus_to_exitcode(os.waitpid(forked(watched), 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


@pytest.mark.parametrize(
    ("before", "after"),
    [(REGISTERED, FULL), (FULL, ANOTHER), (FULL, VaultContents()), (VaultContents(), FULL), (None, FULL)],
    ids=["change", "register anew", "forget", "register", "first of all"],
)
def test_a_save_killed_at_any_step_leaves_the_old_or_the_new(
    before: VaultContents | None, after: VaultContents, vault: FileVault, directory: Path, tmp_path: Path
) -> None:
    directory.parent.mkdir()
    if before is not None:
        save(vault, before)
    shutil.copytree(directory.parent, tmp_path / "before")
    seen, killed, step = set(), True, 0
    while killed:
        step += 1
        shutil.rmtree(directory.parent)
        shutil.copytree(tmp_path / "before", directory.parent)
        killed = ends_before(step, lambda: save(vault, after))
        found = vault.load()
        assert found in (before or VaultContents(), after)
        assert killed or found == after
        seen.add(found == after)
        save(vault, after)
        assert vault.load() == after
        assert set(names(directory.parent)) <= {"vault", f"vault/{LOCK}", "vault/vault.json"}
    assert seen == {False, True}
    assert step > 2


def test_temporary_files_of_a_killed_writer_go_with_the_next_lock(vault: FileVault, directory: Path) -> None:
    """One of them may hold a node key, and a machine that was cleared must hold none."""
    save(vault, FULL)
    (directory / ".vault.json.0123456789abcdef.rolekeeper-new").write_bytes(b"half a key")
    (directory / "by-hand").write_bytes(b"not ours")
    with vault.lock(timedelta()):
        assert names(directory) == [LOCK, "by-hand", "vault.json"]


def test_an_error_while_the_lock_is_held_comes_through_as_it_is(vault: FileVault) -> None:
    with pytest.raises(OSError, match="mine"), vault.lock(timedelta()):
        raise OSError("mine")
    with vault.lock(timedelta()):
        """The lock was released."""


def test_two_writers_lose_nothing_of_each_other(vault: FileVault) -> None:
    save(vault, REGISTERED)

    def adds(writer: int) -> None:
        for number in range(15):
            with vault.lock(timedelta(seconds=60)):
                contents = vault.load()
                vault.save(replace(contents, issues={**contents.issues, f"{writer} {number}": ISSUE}))

    children = [forked(lambda writer=writer: adds(writer)) for writer in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(vault.load().issues) == 30


def test_a_reader_without_the_lock_sees_one_moment_of_the_vault(vault: FileVault) -> None:
    save(vault, ANOTHER)

    def flips() -> None:
        for number in range(60):
            save(vault, ANOTHER if number % 2 else FULL)

    child = forked(flips)
    seen = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert vault.load() in (FULL, ANOTHER)
        seen += 1
    assert seen > 10
