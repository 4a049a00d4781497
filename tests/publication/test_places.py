"""Finding the real place of a file. The links of an unprivileged user are made by root, as which CI and servers run."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from rolekeeper.adapters.places import Attributes, RefusedFileError, make_directories, place

STRANGER = 12345


def real_path(path: Path | str) -> str:
    with place(str(path)) as target:
        return str(Path(f"/proc/self/fd/{target.directory}").readlink() / target.name)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_plain_path_is_its_own_place_whether_the_file_exists_or_not(tmp_path: Path) -> None:
    assert real_path(tmp_path / "file") == f"{tmp_path}/file"
    (tmp_path / "file").touch()
    assert real_path(f"{tmp_path}//./file/") == f"{tmp_path}/file"


def test_a_relative_path_starts_at_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with contextlib.chdir(tmp_path):
        assert real_path("file") == f"{tmp_path}/file"
        assert real_path("sub/../file") == f"{tmp_path}/file"


def test_links_of_our_own_are_followed_on_the_way_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real")
    (tmp_path / "real" / "end").symlink_to("deep/file")
    (tmp_path / "absolute").symlink_to(tmp_path / "way" / "end")
    assert real_path(tmp_path / "way" / "end") == f"{tmp_path}/real/deep/file"
    assert real_path(tmp_path / "absolute") == f"{tmp_path}/real/deep/file"


def test_dot_dot_means_the_real_parent_of_a_linked_directory(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real/deep")
    assert real_path(tmp_path / "way" / ".." / "file") == f"{tmp_path}/real/file"


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("link", ["way", "end"])
def test_a_link_of_another_user_is_not_followed(tmp_path: Path, link: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    (tmp_path / "real" / "end").symlink_to("file")
    os.chown(tmp_path / "way" if link == "way" else tmp_path / "real" / "end", STRANGER, -1, follow_symlinks=False)
    with pytest.raises(RefusedFileError) as caught:
        real_path(tmp_path / "way" / "end")
    assert caught.value.code == "untrusted-symlink"
    assert f"{link}, that belongs to user {STRANGER}" in str(caught.value)


@pytest.mark.usefixtures("as_root")
def test_a_directory_of_another_user_may_be_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(0o700)
    os.chown(tmp_path / "theirs", STRANGER, STRANGER)
    assert real_path(tmp_path / "theirs" / "file") == f"{tmp_path}/theirs/file"


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        real_path(tmp_path / "a")


@pytest.mark.parametrize("path", ["/", "", ".", ".."])
def test_a_path_without_a_name_is_no_place_for_a_file(path: str) -> None:
    with pytest.raises(IsADirectoryError):
        real_path(path)


def test_a_file_on_the_way_and_a_missing_directory_are_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        real_path(tmp_path / "file" / "x")
    with pytest.raises(FileNotFoundError):
        real_path(tmp_path / "missing" / "x")


def test_missing_directories_get_the_mode_whatever_the_umask_and_existing_ones_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(0o755)
    before = os.umask(0o077)
    try:
        make_directories(str(tmp_path / "there" / "a" / "b"), Attributes(0o711))
        make_directories(str(tmp_path / "there"), Attributes(0o700))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "there" / name).stat().st_mode) for name in (".", "a", "a/b")]
    assert modes == [0o755, 0o711, 0o711]


def test_a_directory_that_cannot_be_given_its_attributes_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Errno"):
        make_directories(str(tmp_path / "new"), Attributes(0o700, acl=b"no ACL"))
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("as_root")
def test_missing_directories_get_owner_and_group(tmp_path: Path) -> None:
    with place(str(tmp_path / "a" / "b" / "file"), Attributes(0o710, STRANGER, STRANGER + 1)):
        made = [(tmp_path / name).stat() for name in ("a", "a/b")]
    assert [(one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) for one in made] == [
        (STRANGER, STRANGER + 1, 0o710)
    ] * 2


def test_no_descriptor_stays_open_whatever_happens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = open_descriptors()
    real_path(tmp_path / "file")
    make_directories(str(tmp_path / "new"), Attributes(0o700))
    for path in (tmp_path / "file" / "x", tmp_path / "loop", tmp_path / "missing" / "x", Path("/")):
        with pytest.raises(OSError, match="Errno"):
            real_path(path)
    assert open_descriptors() == before
