"""The digest: one name for the bytes of all files of a configuration, wherever they are."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rolekeeper.config.files import LARGEST_FILE, digest
from rolekeeper.config.load import load_settings


def configuration(directory: Path) -> Path:
    (directory / "conf.d").mkdir(parents=True)
    (directory / "conf.d" / "a.toml").write_text("[service]\nfips = true\n")
    (directory / "conf.d" / "notes.txt").write_text("not read")
    (directory / "config.toml").write_text("[refresh]\nat = 0.4\n")
    return directory / "config.toml"


def test_the_digest_of_the_files_is_that_in_the_settings(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    assert load_settings(path).digest == load_settings(None, path).digest == digest(path)
    absent = tmp_path / "none" / "config.toml"
    assert load_settings(None, absent).digest == digest(absent)
    assert len({digest(path), digest(absent)}) == 2


def test_the_digest_does_not_depend_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = configuration(tmp_path / "one"), configuration(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "one")
    (tmp_path / "one" / "link.toml").symlink_to("config.toml")
    assert digest(Path("config.toml")) == digest(Path("link.toml")) == digest(one) == digest(other)


def add(directory: Path) -> None:
    (directory / "conf.d" / "b.toml").touch()


def rename(directory: Path) -> None:
    (directory / "conf.d" / "a.toml").rename(directory / "conf.d" / "c.toml")


def remove(directory: Path) -> None:
    (directory / "config.toml").unlink()


def empty(directory: Path) -> None:
    os.truncate(directory / "config.toml", 0)


def comment(directory: Path) -> None:
    (directory / "config.toml").write_text("# [refresh]\n# at = 0.4\n")


def move_a_byte(directory: Path) -> None:
    """The same bytes in the same order, divided otherwise between two files."""
    (directory / "config.toml").write_text("[refresh]\nat = 0.4\n[")
    (directory / "conf.d" / "a.toml").write_text("service]\nfips = true\n")


@pytest.mark.parametrize("change", [add, rename, remove, empty, comment, move_a_byte])
def test_each_change_of_the_files_changes_the_digest(tmp_path: Path, change: Callable[[Path], None]) -> None:
    before = digest(configuration(tmp_path))
    change(tmp_path)
    assert before != digest(tmp_path / "config.toml")


def test_an_empty_file_is_not_an_absent_one_and_no_file_looks_like_two(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    remove(tmp_path)
    absent = digest(path)
    path.touch()
    assert digest(path) != absent
    path.write_bytes(b"#")
    two = digest(path)
    (tmp_path / "conf.d" / "a.toml").unlink()
    for separator in (b"", b"\0", b"\0\0", b"\0" + b"23\0"):
        path.write_bytes(b"#conf.d/a.toml" + separator + b"[service]\nfips = true\n")
        assert digest(path) != two


def test_a_file_that_is_not_read_changes_nothing(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    before = digest(path)
    (tmp_path / "conf.d" / "notes.txt").write_text("changed")
    assert digest(path) == before


def test_files_that_cannot_be_read_have_no_digest(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    (tmp_path / "conf.d" / "b.toml").mkdir()
    assert digest(path) is None
    (tmp_path / "conf.d" / "b.toml").rmdir()
    (tmp_path / "conf.d" / "b.toml").write_text("#\n" * LARGEST_FILE)
    assert digest(path) is None


def test_the_digest_loads_neither_pydantic_nor_a_parser() -> None:
    script = (
        "import sys; from rolekeeper.config import files; files.digest();"
        "print(sorted({'pydantic', 'tomllib', 'botocore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
