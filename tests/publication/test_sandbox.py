"""The drop-in that a hint names, as text; tests/systemd applies it to the real unit."""

import errno
import os
import stat
from pathlib import Path

import pytest

from rolekeeper.adapters.files.paths import RefusedFileError
from rolekeeper.adapters.outputs import sandbox

UNIT = "rolekeeper.service"
STRANGER = 12345


def remedy(path: str, number: int = errno.EROFS, owner: int | None = None) -> str | None:
    own = os.geteuid() if owner is None else owner
    return sandbox.remedy(UNIT, path, own, OSError(number, os.strerror(number)))


def lines(path: str, number: int = errno.EROFS, owner: int | None = None) -> list[str]:
    told = remedy(path, number, owner)
    assert told is not None
    return told.splitlines()[1:]


@pytest.mark.parametrize("directory", ["/home/nobody-has/.aws", "/run/user/4711/aws"])
def test_a_directory_among_the_hidden_homes_is_shown_and_its_owner_passed_over(directory: str) -> None:
    assert lines(f"{directory}/credentials") == [
        "[Service]",
        f"BindPaths=-{directory}",
        "CapabilityBoundingSet=CAP_DAC_OVERRIDE",
    ]


def test_the_hint_says_where_the_lines_go_and_what_makes_them_count() -> None:
    told = remedy("/home/nobody-has/my aws/credentials")
    assert told is not None
    assert (
        "write the lines below to /etc/systemd/system/rolekeeper.service.d/output-home-nobody-has-my-aws.conf" in told
    )
    assert "`systemctl daemon-reload && systemctl restart rolekeeper.service`" in told


@pytest.mark.parametrize(
    ("directory", "value"),
    [
        ("/home/x y", '"-/home/x y"'),
        ("/home/50%", "-/home/50%%"),
        ("/home/a:b", '"-/home/a:b"'),
        ('/home/"', '"-/home/\\""'),
    ],
)
def test_a_path_is_written_as_unit_files_want_it(directory: str, value: str) -> None:
    assert f"BindPaths={value}" in lines(f"{directory}/credentials")


def test_a_symlink_opens_the_directory_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "credentials").symlink_to("/home/nobody-has/.aws/credentials")
    assert "BindPaths=-/home/nobody-has/.aws" in lines(str(tmp_path / "credentials"))


def test_a_file_that_goes_to_another_user_takes_the_capability_to_read_it_again() -> None:
    assert lines("/etc/credentials", errno.EACCES, STRANGER)[-1] == "CapabilityBoundingSet=CAP_DAC_OVERRIDE"


def test_in_a_directory_that_users_share_files_of_others_take_one_more() -> None:
    assert Path("/dev/shm").stat().st_mode & stat.S_ISVTX
    assert lines("/dev/shm/credentials", errno.EPERM, STRANGER)[-1].endswith("=CAP_DAC_OVERRIDE CAP_FOWNER")


def test_below_tmp_no_drop_in_helps_because_nobody_would_find_the_file() -> None:
    expected = "publish elsewhere: rolekeeper.service has a /tmp of its own, which no other program sees"
    assert remedy("/tmp/aws/credentials") == remedy("/var/tmp/credentials") == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENOTDIR])
def test_what_is_no_work_of_a_sandbox_is_not_blamed_on_it(number: int) -> None:
    assert remedy("/home/nobody-has/credentials", number) is None


def test_a_file_that_we_refuse_keeps_the_remedy_of_the_refusal() -> None:
    refused = RefusedFileError("untrusted-symlink", "a link", "name the real path")
    assert sandbox.remedy(UNIT, "/home/nobody-has/credentials", 0, refused) is None


def test_a_directory_that_is_open_to_us_is_not_blamed_on_the_sandbox_either() -> None:
    owner = Path("/etc").stat().st_uid
    if owner != os.geteuid() or not os.access("/etc", os.W_OK):
        pytest.skip("a directory outside /tmp that is ours takes root")
    assert remedy("/etc/credentials", errno.EPERM) is None


def test_an_error_on_the_way_to_a_hint_leaves_the_error_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing_disk(_path: str) -> os.statvfs_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "statvfs", failing_disk)
    assert remedy("/srv/aws/credentials") is None
