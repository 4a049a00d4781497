"""The model of a disk itself: it knows the mistakes that power failures punish, and no others."""

from pathlib import Path

import pytest
from tests.powerloss.disk import Disk, Tree
from tests.powerloss.trace import Operation

OLD, NEW = b"old", b"new and longer"
WRITE = [("create", "new"), ("write", "new")]
SAFE_WRITE = [*WRITE, ("fsync", "new")]
RENAME = [("rename", "new")]
SAFE_RENAME = [*RENAME, ("fsync", ".")]
NOTHING = None


def operation(kind: str, name: str, root: Path) -> Operation:
    path = str(root if name == "." else root / name)
    match kind:
        case "write":
            return Operation(kind, path, data=NEW, number=-1)
        case "rename":
            return Operation(kind, path, str(root / "file"))
        case _:
            return Operation(kind, path, number=0o640 if kind == "chmod" else 0o600)


def file(tree: Tree, name: str) -> tuple[bytes | None, int]:
    return next(((data, mode) for path, mode, data in tree if path == name), (NOTHING, 0))


@pytest.mark.parametrize(
    ("steps", "possible"),
    [
        ([], {OLD}),
        (SAFE_WRITE, {OLD}),
        ([*SAFE_WRITE, *RENAME], {OLD, NEW}),
        ([*SAFE_WRITE, *SAFE_RENAME], {NEW}),
        ([*WRITE, *SAFE_RENAME], {b"", NEW[:7], bytes(len(NEW)), NEW}),  # a name that leads to what is not there yet
        ([*WRITE, *RENAME], {OLD, b"", NEW[:7], bytes(len(NEW)), NEW}),
        ([*SAFE_WRITE, *RENAME, ("fsync", "file")], {OLD, NEW}),  # that makes no name durable
        ([("unlink", "file")], {OLD, NOTHING}),
        ([("unlink", "file"), ("fsync", ".")], {NOTHING}),
        ([("unlink", "file"), *SAFE_WRITE, *RENAME], {OLD, NEW, NOTHING}),
    ],
)
def test_of_a_file_survives_what_was_flushed_and_of_the_rest_anything(
    steps: list[tuple[str, str]], possible: set[bytes | None], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(OLD)
    disk = Disk(tmp_path)
    for kind, name in steps:
        disk.apply(operation(kind, name, tmp_path))
    assert {file(tree, "file")[0] for tree in disk.survivors()} == possible
    assert disk.now() in disk.survivors()


def test_a_mode_survives_from_the_next_fsync_on(tmp_path: Path) -> None:
    disk, modes = Disk(tmp_path), []
    for kind in ("create", "chmod", "fsync"):
        disk.apply(operation(kind, "file", tmp_path))
        modes.append({file(tree, "file")[1] for tree in disk.survivors()} - {0})
    assert modes == [{0o600}, {0o600, 0o640}, {0o640}]


def test_a_file_in_a_directory_that_was_not_made_durable_goes_with_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    for kind, name in [("mkdir", "in"), ("create", "in/file"), ("fsync", "in/file"), ("fsync", "in")]:
        disk.apply(operation(kind, name, tmp_path))
    assert {bool(file(tree, "in/file")[1]) for tree in disk.survivors()} == {False, True}
    disk.apply(operation("fsync", ".", tmp_path))
    assert {bool(file(tree, "in/file")[1]) for tree in disk.survivors()} == {True}


def test_where_the_combinations_are_many_each_loss_by_itself_is_among_them(tmp_path: Path) -> None:
    disk, names = Disk(tmp_path), [str(number) for number in range(20)]
    for name in names:
        disk.apply(operation("create", name, tmp_path))
    left = [{path for path, _, data in tree if data is not None} for tree in disk.survivors()]
    assert set() in left
    for name in names:
        assert {name} in left
        assert {*names} - {name} in left
