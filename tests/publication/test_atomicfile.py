import errno
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from rolekeeper.adapters.files.lock import lock, remove_lock
from rolekeeper.adapters.files.paths import Attributes, RefusedFileError, place
from rolekeeper.adapters.files.replace import (
    Contents,
    describe,
    read_at,
    read_file,
    remove_file,
    replace_file,
    staged,
)

STRANGER = 12345
PRIVATE = Attributes(0o600)
NO_WAIT = timedelta(0)
ACL_NAME = "system.posix_acl_access"


def acl(named_user: int, permissions: int, mask: int) -> bytes:
    """A POSIX ACL as the kernel stores it: rw- for the owner, `permissions` for one named user, nothing for others."""
    entries = [(1, 6, 2**32 - 1), (2, permissions, named_user), (4, 0, 2**32 - 1), (16, mask, 2**32 - 1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [*entries, (32, 0, 2**32 - 1)])


def set_acl(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_holds_the_bytes_and_has_the_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(str(tmp_path / "file"), b"new\0\xff", Attributes(0o644))
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"new\0\xff"
    assert mode(tmp_path / "file") == 0o644
    assert names(tmp_path) == {"file"}


def test_an_open_reader_keeps_the_old_file_and_a_new_one_sees_the_new(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        replace_file(str(file), b"new", PRIVATE)
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new"


def test_the_file_is_flushed_before_it_takes_the_name_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, rename, calls = os.fsync, os.rename, list[str]()

    def seen_flush(descriptor: int) -> None:
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def seen_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", seen_flush)
    monkeypatch.setattr(os, "rename", seen_rename)
    replace_file(str(tmp_path / "file"), b"new", PRIVATE)
    assert calls == ["file", "rename", "directory"]
    replace_file(str(tmp_path / "file"), b"newer", PRIVATE, durable=False)
    assert calls[3:] == ["rename"]
    remove_file(str(tmp_path / "file"))
    assert calls[4:] == ["directory"]


def test_what_a_crash_left_behind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".file.0123456789abcdef.rolekeeper-new").write_bytes(b"half")
    (tmp_path / ".file.0123456789abcdef.rolekeeper-new").chmod(0o666)
    replace_file(str(tmp_path / "file"), b"new", PRIVATE)
    assert names(tmp_path) == {"file"}
    assert mode(tmp_path / "file") == 0o600


def test_the_file_is_private_while_it_is_written_and_checked(tmp_path: Path) -> None:
    seen = []

    def check(written: bytes) -> None:
        (path,) = tmp_path.iterdir()
        seen.append((written, path.read_bytes(), stat.S_IMODE(path.stat().st_mode)))

    with (
        place(str(tmp_path / "file")) as target,
        staged(target, b"new", Attributes(0o644), check=check) as new,
    ):
        assert names(tmp_path) == {new.temporary}
        new.commit()
    assert seen == [(b"new", b"new", 0o600)]
    assert mode(tmp_path / "file") == 0o644


def test_what_is_not_committed_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with place(str(tmp_path / "file")) as target, staged(target, b"new", PRIVATE) as new:
        assert names(tmp_path) == {"file", new.temporary}
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == b"old"


REPLACED = {
    "by another file": lambda new, _: (new.unlink(), new.write_bytes(b"theirs")),
    "by a link to the old one": lambda new, old: (new.unlink(), new.hardlink_to(old)),  # which no rename replaces
    "by a directory": lambda new, _: (new.unlink(), new.mkdir()),
    "by nothing": lambda new, _: new.unlink(),
}


@pytest.mark.parametrize("act", REPLACED.values(), ids=REPLACED)
def test_what_somebody_put_in_the_place_of_our_new_file_is_not_taken_for_it(
    tmp_path: Path, act: Callable[[Path, Path], object]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with place(str(file)) as target, staged(target, b"new", PRIVATE) as new:
        act(tmp_path / new.temporary, file)
        with pytest.raises(RefusedFileError) as caught:
            new.commit()
    assert caught.value.code == "file-replaced"
    assert file.read_bytes() in (b"old", b"theirs")


def test_a_check_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def check(_: str) -> None:
        raise ValueError("not what it should be")

    with (
        pytest.raises(ValueError, match="not what"),
        place(str(tmp_path / "file")) as target,
        staged(target, b"new", PRIVATE, check=check) as new,
    ):
        new.commit()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_a_link_stays_and_its_target_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/file")
    replace_file(str(tmp_path / "link"), b"new", PRIVATE)
    assert (tmp_path / "link").readlink() == Path("real/file")
    assert (tmp_path / "real" / "file").read_bytes() == b"new"
    assert not (tmp_path / "real" / "file").is_symlink()


def test_another_name_of_the_old_file_keeps_the_old_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    replace_file(str(tmp_path / "file"), b"new", PRIVATE)
    assert (tmp_path / "other").read_bytes() == b"old"


def test_an_acl_is_given_with_the_mode_that_belongs_to_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o600)
    set_acl(file, ACL_NAME, acl(STRANGER, 4, 4))
    with place(str(file)) as target:
        old = read_at(target)
    assert old is not None
    replace_file(str(file), b"new", old.attributes)
    assert os.getxattr(file, ACL_NAME) == acl(STRANGER, 4, 4)
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o640  # the mask stands where the group's bits do


def test_a_default_acl_of_the_directory_opens_the_file_to_nobody(tmp_path: Path) -> None:
    set_acl(tmp_path, "system.posix_acl_default", acl(STRANGER, 6, 6))
    replace_file(str(tmp_path / "file"), b"new", Attributes(0o640))
    assert ACL_NAME not in os.listxattr(tmp_path / "file")
    assert mode(tmp_path / "file") == 0o640


@pytest.mark.parametrize("special", ["fifo", "directory", "socket"])
def test_only_regular_files_are_read_or_replaced_and_nothing_waits(tmp_path: Path, special: str) -> None:
    path = tmp_path / "special"
    with socket.socket(socket.AF_UNIX) as listener:
        {"fifo": os.mkfifo, "directory": os.mkdir, "socket": lambda path: listener.bind(str(path))}[special](path)
        for act in (read_file, lambda path: replace_file(path, b"new", PRIVATE)):
            with pytest.raises(RefusedFileError) as caught:
                act(str(path))
            assert caught.value.code == "not-a-file"
    assert names(tmp_path) == {"special"}


def test_a_device_is_refused() -> None:
    with pytest.raises(RefusedFileError):
        read_file("/dev/null")


def test_reading_tells_bytes_and_attributes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    (tmp_path / "file").chmod(0o604)
    with place(str(tmp_path / "file")) as target:
        contents = read_at(target)
    attributes = Attributes(0o604, os.geteuid(), (tmp_path / "file").stat().st_gid)
    assert contents == Contents(b"x" * 100, attributes, links=1, is_written=False)
    assert read_file(str(tmp_path / "file")) == b"x" * 100


def test_what_is_not_there_reads_as_none(tmp_path: Path) -> None:
    assert read_file(str(tmp_path / "file")) is None
    assert read_file(str(tmp_path / "missing" / "file")) is None


def test_a_file_is_read_up_to_the_limit_and_refused_above_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_file(str(tmp_path / "file"), 10) == b"x" * 10
    with pytest.raises(RefusedFileError, match="more than 9 bytes") as caught:
        read_file(str(tmp_path / "file"), 9)
    assert caught.value.code == "file-too-large"


def test_removing_may_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove_file(str(tmp_path / "file"))
    remove_file(str(tmp_path / "file"))
    remove_file(str(tmp_path / "missing" / "file"))
    assert names(tmp_path) == set()


def limited_write(tmp_path: Path, on_limit: str) -> subprocess.CompletedProcess[str]:
    """Replace `file` by 100 kB in a process whose files may have 4 kB: the write stops in the middle."""
    script = f"""
import resource, signal, sys
from rolekeeper.adapters.files.paths import Attributes, place
from rolekeeper.adapters.files.replace import describe, read_at, read_file, remove_file, replace_file, staged
from rolekeeper.adapters.files.lock import lock
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGXFSZ, signal.{on_limit})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    replace_file(sys.argv[1], b"n" * 100_000, Attributes(0o600))
except OSError as error:
    print(*describe(error), sep="; ")
"""
    command = [sys.executable, "-B", "-c", script, str(tmp_path / "file")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    assert limited_write(tmp_path, "SIG_IGN").stdout.startswith("file-size-limit; raise the limit")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_a_writer_killed_half_way_leaves_the_old_file_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    assert limited_write(tmp_path, "SIG_DFL").returncode < 0
    assert (tmp_path / "file").read_bytes() == b"old"
    (half,) = tmp_path.glob(".file.*.rolekeeper-new")
    assert (half.stat().st_size, mode(half)) == (4096, 0o600)
    replace_file(str(tmp_path / "file"), b"new", PRIVATE)
    assert names(tmp_path) == {"file"}


def test_a_lock_is_private_and_keeps_others_out(tmp_path: Path) -> None:
    naps: list[timedelta] = []
    path = str(tmp_path / "file")
    with lock(path, NO_WAIT, naps.append):
        assert mode(tmp_path / ".file.rolekeeper-lock") == 0o600
        with (
            pytest.raises(RefusedFileError, match="another process has locked it") as caught,
            lock(path, timedelta(seconds=1), naps.append),
        ):
            pytest.fail("two held it")
    assert (caught.value.code, "fuser .file.rolekeeper-lock" in caught.value.remedy) == ("locked", True)
    assert sum(naps, timedelta()) == timedelta(seconds=1)
    with lock(path, NO_WAIT, naps.append):
        """Free again."""


def test_a_lock_that_is_held_is_not_removed_and_one_that_is_free_is(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with lock(path, NO_WAIT, lambda _: None):
        remove_lock(path)
        assert names(tmp_path) == {".file.rolekeeper-lock"}
    remove_lock(path)
    assert names(tmp_path) == set()


def test_never_two_hold_a_lock_whose_file_is_removed_again_and_again(tmp_path: Path) -> None:
    path, holders, seen = str(tmp_path / "file"), [0], []

    def holds() -> None:
        for _ in range(100):
            with lock(path, timedelta(seconds=60), lambda _: time.sleep(0)):
                holders[0] += 1
                time.sleep(0)  # another thread may come in between
                seen.append(holders[0])
                holders[0] -= 1
            remove_lock(path)

    with ThreadPoolExecutor(4) as threads:
        for ended in [threads.submit(holds) for _ in range(4)]:
            ended.result()
    assert seen == [1] * 400


def test_nothing_is_written_into_a_file_that_somebody_moved_to_the_locks_name(tmp_path: Path) -> None:
    (tmp_path / ".file.rolekeeper-lock").write_bytes(b"keep me")
    with lock(str(tmp_path / "file"), NO_WAIT, lambda _: None):
        assert (tmp_path / ".file.rolekeeper-lock").read_bytes() == b"keep me"


def test_a_lock_that_is_given_back_in_time_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with ExitStack() as held:
        held.enter_context(lock(path, NO_WAIT, lambda _: None))
        with lock(path, timedelta(seconds=1), lambda _: held.close()):
            """The first nap gave it back."""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    script = """
import os, sys
from datetime import timedelta
from rolekeeper.adapters.files.paths import Attributes, place
from rolekeeper.adapters.files.replace import describe, read_at, read_file, remove_file, replace_file, staged
from rolekeeper.adapters.files.lock import lock
with lock(sys.argv[1], timedelta(0), lambda _: None):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9
    with lock(path, NO_WAIT, lambda _: None):
        """The holder is gone."""


def test_a_file_that_somebody_linked_to_the_locks_name_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"keep me")
    for link in (Path.hardlink_to, Path.symlink_to):
        link(tmp_path / ".file.rolekeeper-lock", tmp_path / "precious")
        with pytest.raises(RefusedFileError), lock(str(tmp_path / "file"), NO_WAIT, lambda _: None):
            pytest.fail("that is no lock")
        assert (tmp_path / "precious").read_bytes() == b"keep me"
        (tmp_path / ".file.rolekeeper-lock").unlink()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.ENOSPC, "no-space", "free"),
        (errno.EDQUOT, "quota-exceeded", "quota"),
        (errno.EROFS, "read-only", "ReadWritePaths="),
        (errno.EACCES, "permission-denied", "sandbox"),
        (errno.EPERM, "not-permitted", "immutable"),
        (errno.EBUSY, "mounted-file", "mount the directory"),
        (errno.EIO, "disk-error", "kernel's log"),
        (errno.EMFILE, "too-many-open-files", "LimitNOFILE="),
        (errno.ENFILE, "too-many-open-files", "fs.file-max"),
        (errno.EBADMSG, "file-error", "kernel's log"),
    ],
)
def test_every_error_has_a_code_and_a_remedy(number: int, code: str, word: str) -> None:
    described, remedy = describe(OSError(number, os.strerror(number)))
    assert described == code
    assert word in remedy


def test_a_name_too_long_for_our_temporary_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as caught:
        replace_file(str(tmp_path / ("n" * 250)), b"new", PRIVATE)
    assert describe(caught.value)[0] == "name-too-long"
    assert names(tmp_path) == set()
