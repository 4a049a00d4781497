import grp
import os
import pwd
import resource
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.configloader import raw_config_parse
from tests.sinks import Sink, new_token

from rolekeeper.adapters.files.lock import lock
from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile

VECTORS = Path(__file__).parent.parent / "vectors"
STRANGER = 12345
TEMPORARY = "[default]\naws_access_key_id = ASIAOLD\naws_secret_access_key = s\naws_session_token = t\n"
ACL_NAME = "system.posix_acl_access"
ACL = struct.pack("<I", 2) + b"".join(  # rw- for the owner, r-- for one user, nothing for the others
    struct.pack("<HHI", *entry)
    for entry in [(1, 6, 2**32 - 1), (2, 4, STRANGER), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


def names(directory: Path) -> set[str]:
    """What is in the directory besides the lock, which stays."""
    return {path.name for path in directory.iterdir() if not path.name.endswith(".rolekeeper-lock")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(act: Callable[[], None]) -> OutputError:
    with pytest.raises(OutputError) as caught:
        act()
    assert caught.value.message.startswith("Cannot ")
    assert caught.value.hint
    return caught.value


def refused_by_both(sink: Sink, output: CredentialsFile, token: RoleToken) -> OutputError:
    """`prepare` foresees what `publish` says."""
    foreseen = refusal(lambda: sink.prepare(output))
    said = refusal(lambda: sink.publish(output, token))
    assert (foreseen.code, foreseen.message) == (said.code, said.message)
    assert output.path in said.message
    return said


def test_a_token_is_published_where_botocore_finds_it(sink: Sink, file: Path) -> None:
    sink.publish(sink.output(), new_token(1))
    assert raw_config_parse(str(file)) == {
        "default": {
            "aws_access_key_id": "ASIA0000000000000001",
            "aws_secret_access_key": "secret/1",
            "aws_session_token": "token==1",
            "x_security_token_expires": "2026-11-23T19:00:00Z",
            "x_rolekeeper_key_id": "ASIA0000000000000001",
        }
    }
    assert mode(file) == 0o600
    assert names(file.parent) == {"credentials"}


def test_a_published_token_is_held_and_no_other_is(sink: Sink, file: Path) -> None:
    one, two = new_token(1), new_token(2)
    assert not sink.holds(sink.output(), one.access_key_id, one.expires_at)
    sink.publish(sink.output(), one)
    assert sink.holds(sink.output(), one.access_key_id, one.expires_at)
    assert sink.holds(sink.output(), one.access_key_id, one.expires_at + timedelta(milliseconds=999))
    assert not sink.holds(sink.output(), two.access_key_id, one.expires_at)
    assert not sink.holds(sink.output(), one.access_key_id, two.expires_at)
    assert not sink.holds(sink.output(profile="other"), one.access_key_id, one.expires_at)
    file.write_text(file.read_text() + "aws_security_token = stale\n")
    assert not sink.holds(sink.output(), one.access_key_id, one.expires_at)


def test_a_profile_that_lost_its_secret_holds_nothing(sink: Sink, file: Path) -> None:
    one = new_token(1)
    sink.publish(sink.output(), one)
    file.write_text(file.read_text().replace("secret/1", ""))
    assert not sink.holds(sink.output(), one.access_key_id, one.expires_at)


def test_a_file_that_cannot_be_parsed_holds_nothing_and_says_why(sink: Sink, file: Path) -> None:
    file.write_text("[default]\n[default]\n")
    one = new_token(1)
    assert not sink.holds(sink.output(), one.access_key_id, one.expires_at)
    assert refusal(lambda: sink.prepare(sink.output())).code == "duplicate-section"


def test_preparing_creates_only_the_directory(sink: Sink, tmp_path: Path) -> None:
    sink.prepare(sink.output(path=str(tmp_path / "a" / "b" / "credentials"), mode=0o640))
    assert names(tmp_path / "a" / "b") == set()
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o710


@pytest.mark.parametrize(("of_file", "of_directory"), [(0o600, 0o700), (0o640, 0o710), (0o644, 0o711), (0o604, 0o701)])
def test_a_missing_directory_lets_search_who_may_read(
    sink: Sink, tmp_path: Path, of_file: int, of_directory: int
) -> None:
    path = tmp_path / "new" / "credentials"
    sink.publish(sink.output(path=str(path), mode=of_file), new_token(1))
    assert (mode(path), mode(path.parent)) == (of_file, of_directory)


def test_preparing_leaves_an_existing_file_as_it_is(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    before = file.stat()
    sink.prepare(sink.output())
    assert file.stat().st_ino == before.st_ino
    assert file.read_text() == TEMPORARY
    assert names(file.parent) == {"credentials"}


def test_ssm_agents_victim_keeps_all_other_bytes(sink: Sink, file: Path) -> None:
    before = (VECTORS / "foreign-profiles.before.ini").read_bytes()
    file.write_bytes(before)
    assert refused_by_both(sink, sink.output(), new_token(1)).code == "long-lived-keys"
    assert file.read_bytes() == before
    sink.publish(sink.output(replace_long_lived_keys=True), new_token(1))
    new_lines = b" = secret/1\naws_session_token = token==1\nx_security_token_expires = 2026-11-23T19:00:00Z\n"
    new_lines += b"x_rolekeeper_key_id = ASIA0000000000000001\n"
    expected = before.replace(b"=AKIAOLD", b" = ASIA0000000000000001").replace(b"=OLDSECRET\n", new_lines)
    assert file.read_bytes() == expected


def test_two_profiles_share_a_file_with_windows_newlines(sink: Sink, file: Path) -> None:
    file.write_bytes(b"; mine\r\n[other]\r\nx = 1")
    sink.publish(sink.output(), new_token(1))
    sink.publish(sink.output(profile="second"), new_token(2))
    sink.publish(sink.output(), new_token(3))
    parsed = raw_config_parse(str(file))
    assert [parsed[name].get("aws_session_token") for name in parsed] == [None, "token==3", "token==2"]
    assert file.read_bytes().startswith(b"; mine\r\n[other]\r\nx = 1\r\n\r\n[default]\r\n")
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("file-not-utf8", b"[default]\nx = \xe4\n"),
        ("file-not-utf8", b"\xef\xbb\xbf[default]\n"),
        ("unparsable-file", b"[default]\nx\n"),
        ("unparsable-file", b"[default]\nx =\n  nested without a delimiter\n"),
        ("duplicate-key", b"[other]\nx = 1\nx = 2\n"),
        ("profile-spelled-with-blanks", b"[ default ]\n"),
        ("file-too-large", b"#" * (4 * 1024 * 1024 + 1)),
    ],
)
def test_a_file_that_is_not_ours_to_mend_is_left_alone(sink: Sink, file: Path, code: str, content: bytes) -> None:
    file.write_bytes(content)
    assert refused_by_both(sink, sink.output(), new_token(1)).code == code
    assert file.read_bytes() == content
    assert names(file.parent) == {"credentials"}


def test_no_error_shows_what_is_in_the_file(sink: Sink, file: Path) -> None:
    file.write_text("[default]\nx =\n  hunter2\n")
    error: BaseException | None = refused_by_both(sink, sink.output(), new_token(1))
    assert error is not None
    assert error.__context__ is None or error.__suppress_context__
    assert "hunter2" not in str(error)
    assert error.__cause__ is None


def test_a_file_in_place_of_the_directory_is_refused(sink: Sink, file: Path) -> None:
    file.write_text("")
    error = refused_by_both(sink, sink.output(path=f"{file}/credentials"), new_token(1))
    assert error.code == "no-such-directory"


@pytest.mark.usefixtures("as_root")
def test_a_link_of_roots_in_the_home_of_the_files_owner_is_published_through(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".aws").symlink_to("../real")
    os.chown(tmp_path / "home", STRANGER, STRANGER)
    output, token = sink.output(path=str(tmp_path / "home" / ".aws" / "credentials"), owner=STRANGER), new_token(1)
    sink.publish(output, token)
    assert (tmp_path / "real" / "credentials").stat().st_uid == STRANGER
    assert sink.holds(output, token.access_key_id, token.expires_at)
    os.chown(tmp_path / "home", STRANGER + 1, STRANGER + 1)
    assert refused_by_both(sink, output, new_token(2)).code == "untrusted-symlink"


def test_an_existing_file_keeps_its_mode_unless_configured_otherwise(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    file.chmod(0o644)
    sink.publish(sink.output(), new_token(1))
    assert mode(file) == 0o644
    sink.publish(sink.output(keep_mode=False, mode=0o640), new_token(2))
    assert mode(file) == 0o640


def test_an_existing_file_keeps_its_acl_unless_configured_otherwise(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    try:
        os.setxattr(file, ACL_NAME, ACL)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    sink.publish(sink.output(), new_token(1))
    assert os.getxattr(file, ACL_NAME) == ACL
    sink.publish(sink.output(keep_mode=False), new_token(2))
    assert ACL_NAME not in os.listxattr(file)
    assert mode(file) == 0o600


@pytest.mark.parametrize("changes", [{}, {"keep_mode": False}, {"mode": 0o640, "keep_mode": False}])
def test_an_existing_file_keeps_its_extended_attributes_whatever_is_configured(
    sink: Sink, file: Path, changes: dict[str, object]
) -> None:
    file.write_text(TEMPORARY)
    set_extended(file, "user.origin", b"backup\0of 2026")
    set_extended(file, "user.empty", b"")
    for number in (1, 2):
        sink.publish(sink.output(**changes), new_token(number))
        assert extended(file) == {"user.origin": b"backup\0of 2026", "user.empty": b""}
        assert "token==" in file.read_text()


@pytest.mark.usefixtures("as_root")
def test_an_existing_file_keeps_its_selinux_label(sink: Sink, file: Path) -> None:
    """Where no SELinux runs, root may set any; a kernel with SELinux takes only a label that its policy knows."""
    name, label = "security.selinux", b"system_u:object_r:admin_home_t:s0\0"
    file.write_text(TEMPORARY)
    set_extended(file, name, label)
    for number in (1, 2):
        sink.publish(sink.output(), new_token(number))
        assert os.getxattr(file, name) == label
        assert "token==" in file.read_text()


@pytest.mark.usefixtures("as_root")
def test_a_file_that_another_user_left_there_loses_its_extended_attributes(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    set_extended(file, "user.origin", b"theirs")
    os.chown(file, STRANGER, STRANGER)
    sink.publish(sink.output(), new_token(1))
    assert extended(file) == {}


def set_extended(file: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(file, name, value)
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")


def extended(file: Path) -> dict[str, bytes]:
    return {name: os.getxattr(file, name) for name in os.listxattr(file) if name.startswith("user.")}


@pytest.mark.usefixtures("as_root")
def test_a_file_that_another_user_left_there_gives_him_nothing(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    file.chmod(0o666)
    os.chown(file, STRANGER, STRANGER)
    sink.publish(sink.output(), new_token(1))
    assert (file.stat().st_uid, file.stat().st_gid, mode(file)) == (0, os.getegid(), 0o600)


@pytest.mark.usefixtures("as_root")
def test_the_group_that_somebody_gave_an_existing_file_stays_unless_configured_otherwise(
    sink: Sink, file: Path
) -> None:
    file.write_text(TEMPORARY)
    file.chmod(0o640)
    os.chown(file, -1, STRANGER)
    sink.publish(sink.output(), new_token(1))
    assert (file.stat().st_gid, mode(file)) == (STRANGER, 0o640)
    sink.publish(sink.output(group=STRANGER + 1), new_token(2))
    assert (file.stat().st_gid, mode(file)) == (STRANGER + 1, 0o640)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(("owner", "group"), [(STRANGER, STRANGER + 1), (str(STRANGER), str(STRANGER + 1))])
def test_owner_and_group_are_given_to_file_and_new_directory(
    sink: Sink, tmp_path: Path, owner: str | int, group: str | int
) -> None:
    path = tmp_path / "new" / "credentials"
    sink.publish(sink.output(path=str(path), owner=owner, group=group, mode=0o640), new_token(1))
    for made in (path, path.parent):
        assert (made.stat().st_uid, made.stat().st_gid) == (STRANGER, STRANGER + 1)
    sink.publish(sink.output(path=str(path), owner=owner, group=group), new_token(2))
    assert (path.stat().st_uid, mode(path)) == (STRANGER, 0o640)


def test_owner_and_group_may_be_names(sink: Sink, file: Path) -> None:
    owner, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    sink.publish(sink.output(owner=owner, group=group), new_token(1))
    assert (file.stat().st_uid, file.stat().st_gid) == (os.geteuid(), os.getegid())


@pytest.mark.parametrize("kind", ["user", "group"])
def test_an_unknown_name_is_an_error_with_a_remedy(sink: Sink, kind: str) -> None:
    output = sink.output(**{{"user": "owner", "group": "group"}[kind]: "nobody-of-that-name"})
    error = refused_by_both(sink, output, new_token(1))
    assert error.code == f"unknown-{kind}"
    assert "nobody-of-that-name" in error.message
    assert f"create the {kind}" in error.hint


def test_a_writer_of_ours_waits_for_another_and_says_how_to_find_it(
    sink: Sink, file: Path, naps: list[timedelta]
) -> None:
    with lock(str(file), timedelta(0), naps.append):
        error = refusal(lambda: sink.publish(sink.output(), new_token(1)))
    assert error.code == "locked"
    assert "fuser .credentials.rolekeeper-lock" in error.hint
    assert sum(naps, timedelta()) == timedelta(seconds=10)
    assert not file.exists()


def test_a_process_that_may_open_no_more_files_is_told_which_limit_to_raise(sink: Sink, file: Path) -> None:
    file.write_text(TEMPORARY)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        error = refused_by_both(sink, sink.output(), new_token(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert error.code == "too-many-open-files"
    assert "LimitNOFILE=" in error.hint
    assert file.read_text() == TEMPORARY


@pytest.fixture
def interfere() -> Iterator[list[Callable[[], object]]]:
    """What to do whenever the new file gets its mode, that is after the old was read and before it is replaced.

    An audit hook sees the interpreter change the mode, so nothing of ours has to be replaced. It cannot be taken away
    again, but does nothing once its list is empty.
    """
    acts: list[Callable[[], object]] = []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "os.chmod" and acts and isinstance(args[0], int):
            acts.pop(0)()

    sys.addaudithook(hook)
    yield acts
    acts.clear()


def test_a_change_by_somebody_else_in_the_meantime_is_kept(
    sink: Sink,
    file: Path,
    interfere: list[Callable[[], object]],
) -> None:
    file.write_text(TEMPORARY)
    interfere += [
        lambda: file.write_text(TEMPORARY + "[theirs]\nx = 1\n"),
        lambda: file.chmod(0o640),
        file.unlink,
    ]
    sink.publish(sink.output(), new_token(1))
    assert interfere == []
    assert set(raw_config_parse(str(file))) == {"default"}
    interfere.append(lambda: file.write_text(file.read_text() + "[theirs]\nx = 2\n"))
    sink.publish(sink.output(), new_token(2))
    assert raw_config_parse(str(file))["theirs"] == {"x": "2"}
    assert raw_config_parse(str(file))["default"]["aws_session_token"] == "token==2"


def test_a_file_that_keeps_changing_is_given_up(sink: Sink, file: Path, interfere: list[Callable[[], object]]) -> None:
    file.write_text(TEMPORARY)
    interfere += [lambda: file.write_text(file.read_text() + "# and again\n")] * 100
    assert refusal(lambda: sink.publish(sink.output(), new_token(1))).code == "file-keeps-changing"
    assert len(interfere) == 95
    assert file.read_text() == TEMPORARY + "# and again\n" * 5
    assert names(file.parent) == {"credentials"}


def test_a_path_with_dollar_and_tilde_is_taken_literally(sink: Sink, tmp_path: Path) -> None:
    path = tmp_path / "~" / "$HOME" / "credentials"
    sink.publish(sink.output(path=str(path)), new_token(1))
    assert "token==1" in path.read_text()
