"""Finding the real place of a file. The links of an unprivileged user are made by root, as which CI and servers run."""

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import forked

from rolekeeper.adapters.files.paths import Attributes, RefusedFileError, make_directories, place

STRANGER, OWNER = 12345, 12346


def real_path(path: Path | str, owner: int | None = None) -> str:
    with place(str(path), owner=owner) as target:
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


DIRECTORIES = {  # owner and mode of a directory with a link of root's in it, and whether `OWNER`'s file lies behind it
    "root's": (0, 0o755, True),
    "root's, where all may write and none may move": (0, 0o1777, True),
    "root's, where a group may write": (0, 0o770, False),
    "root's, where all may write": (0, 0o757, False),
    "of the file's owner": (OWNER, 0o700, True),
    "of the file's owner, where a group may write": (OWNER, 0o770, False),
    "of another user": (STRANGER, 0o755, False),
    "of another user, where all may write and none may move": (STRANGER, 0o1777, False),
}


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("lies_in", [".", "below"])
@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_link_of_roots_is_followed_only_where_nobody_else_can_have_put_it(
    tmp_path: Path, kind: str, lies_in: str
) -> None:
    uid, mode, is_followed = DIRECTORIES[kind]
    directory = tmp_path / "directory"
    place_of_link = directory / lies_in
    place_of_link.mkdir(parents=True)
    (place_of_link / "link").symlink_to("/file")
    os.chown(directory, uid, uid)
    directory.chmod(mode)
    assert real_path(place_of_link / "plain", OWNER) == f"{place_of_link}/plain"
    if is_followed:
        assert real_path(place_of_link / "link", OWNER) == "/file"
    else:
        with pytest.raises(RefusedFileError, match="link, that others may have put there") as caught:
            real_path(place_of_link / "link", OWNER)
        assert caught.value.code == "untrusted-symlink"


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


@pytest.mark.parametrize("event", ["os.mkdir", "os.chmod", "ctypes.dlsym"])
@pytest.mark.parametrize(
    "parent",
    [
        "ours",
        pytest.param("theirs", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")),
    ],
)
def test_a_directory_that_one_was_killed_at_gets_its_attributes_from_the_next(
    event: str, parent: str, tmp_path: Path
) -> None:
    if parent == "theirs":
        os.chown(tmp_path, STRANGER, STRANGER)
    directory, attributes = tmp_path / "a" / "b", Attributes(0o711)

    def make(killed_at: str = "") -> None:
        def watch(seen: str, _arguments: tuple[object, ...]) -> None:
            if seen == killed_at:
                os._exit(1)

        sys.addaudithook(watch)
        make_directories(str(directory), attributes)

    assert in_child(lambda: make(event)) == 1
    assert not directory.exists()
    assert in_child(make) == 0
    assert [stat.S_IMODE(one.stat().st_mode) for one in (directory, directory.parent)] == [0o711] * 2
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_many_at_once_make_the_same_directories_and_none_of_them_fails(tmp_path: Path) -> None:
    def make(number: int) -> Callable[[], None]:
        def each() -> None:
            for turn in range(8):
                with place(str(tmp_path / f"{turn}" / "b" / f"file-{number}"), Attributes(0o710)) as made:
                    os.close(os.open(made.name, os.O_CREAT | os.O_WRONLY, dir_fd=made.directory))

        return each

    children = [forked(make(number)) for number in range(6)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    for turn in range(8):
        made = tmp_path / f"{turn}" / "b"
        assert stat.S_IMODE(made.stat().st_mode) == 0o710
        assert len(list(made.iterdir())) == 6
    assert not list(tmp_path.rglob("*-new"))


def test_a_directory_that_somebody_makes_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    made, inodes = tmp_path / "new", []

    def make() -> None:
        def watch(seen: str, _arguments: tuple[object, ...]) -> None:
            if seen == "os.mkdir" and not inodes:
                inodes.append(0)
                made.mkdir(0o750)
                inodes[0] = made.stat().st_ino

        sys.addaudithook(watch)
        make_directories(str(made), Attributes(0o711))
        assert inodes == [made.stat().st_ino]

    assert in_child(make) == 0
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()] == [("new", 0o750)]


def in_child(work: Callable[[], None]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1])


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("content", ["a file", "nothing"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_directory_of_roots_that_is_moved_to_a_name_of_ours_is_given_to_nobody(
    tmp_path: Path, when: str, content: str
) -> None:
    """The owner of the parent moves root's directory to every name that ours has, as soon as that user can know it."""
    theirs, roots = tmp_path / "theirs", tmp_path / "theirs" / "root"
    roots.mkdir(parents=True, mode=0o700)
    if content == "a file":
        (roots / "secret").write_text("root's")
    held = os.open(roots, os.O_PATH)
    os.chown(theirs, STRANGER, STRANGER)
    if when == "before":
        roots.rename(theirs / ".aws.0123456789abcdef.rolekeeper-new")

    def make() -> None:
        def move(seen: str, arguments: tuple[object, ...]) -> None:
            if seen == "open" and when == "meanwhile" and roots.exists() and ".aws." in str(arguments[0]):
                for new in theirs.glob(".aws.*"):
                    new.rename(theirs / "ours")
                    roots.rename(new)

        sys.addaudithook(move)
        with contextlib.suppress(RefusedFileError):
            make_directories(str(theirs / "aws"), Attributes(0o755, STRANGER, STRANGER))

    assert in_child(make) == 0
    found = os.fstat(held)
    os.close(held)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
    assert content == "nothing" or [one.read_text() for one in theirs.rglob("secret")] == ["root's"]


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
