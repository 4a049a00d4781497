"""An output in a directory in which somebody else may write: he gets no token, and root writes nowhere else.

Root publishes for real; the intruder is a real unprivileged user, in a process of its own, where the order of the two
does not matter, and root doing what he could have done, where it does.
"""

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conftest import LONGEST
from tests.sinks import file_sink

from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken

NOBODY = 65534
LEAST, LEAST_PUBLISHED = 300, 10  # publications while the intruder is at it, and those of them that succeed
MET = {"lock-unusable", "not-a-file", "untrusted-symlink", "file-replaced"}  # refusals that show that he is at it
FORESEEN = {"", "file-being-written", "file-keeps-changing", "no-such-directory"} | MET
FORESEEN |= {os.strerror(errno.ENOTEMPTY)}  # a directory of his took the name that a new one of ours was about to take
SECRET = "secret-of-the-token"
TOKEN = RoleToken("ASIA0000000000000001", SECRET, "session-token", datetime(2100, 1, 1, tzinfo=UTC))
PRECIOUS = "[root]\naws_secret_access_key = precious\n"
LOCK, NEW = ".credentials.rolekeeper-lock", ".credentials.0123456789abcdef.rolekeeper-new"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def publish(path: Path, **changes: object) -> str:
    """The code of the refusal, or the reason where that has none of its own; empty when it is published."""
    try:
        sink = file_sink(lambda _: None)
        sink.publish(sink.output(path=str(path), **changes), TOKEN)
    except OutputError as error:
        told = error.hint and error.message.isprintable() and error.code != "file-error"
        return error.code if told else error.message.rpartition(": ")[2]
    return ""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory in which the group of nobody may write, and which he can reach."""
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    place = tmp_path / "shared"
    place.mkdir()
    os.chown(place, 0, NOBODY)
    place.chmod(0o770)
    return place


def made_by_nobody(act: Callable[[Path], object], path: Path) -> None:
    act(path)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def mkfile(path: Path) -> None:
    path.write_text("")
    path.chmod(0o666)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        at = os.open(path.parent, os.O_PATH)
        bound.bind(f"/proc/self/fd/{at}/{path.name}")
        os.close(at)


def link_to(name: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(path.parent / name)


def hard_link_to(name: str) -> Callable[[Path], None]:
    return lambda path: path.hardlink_to(path.parent / name)


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero, which never ends


IN_THE_WAY: dict[tuple[str, str], tuple[Callable[[Path], None], str]] = {
    (NEW, "file"): (mkfile, ""),
    (NEW, "symlink"): (link_to("precious"), ""),
    (NEW, "hard link"): (hard_link_to("precious"), ""),
    (NEW, "FIFO"): (os.mkfifo, ""),
    (NEW, "socket"): (listener, ""),
    (NEW, "directory"): (Path.mkdir, ""),
    (LOCK, "file"): (mkfile, ""),
    (LOCK, "symlink"): (link_to("precious"), "lock-unusable"),
    (LOCK, "hard link"): (hard_link_to("precious"), "lock-unusable"),
    (LOCK, "FIFO"): (os.mkfifo, "lock-unusable"),
    (LOCK, "socket"): (listener, "lock-unusable"),
    (LOCK, "directory"): (Path.mkdir, "lock-unusable"),
    ("credentials", "file"): (mkfile, ""),
    ("credentials", "symlink"): (link_to("precious"), "untrusted-symlink"),
    ("credentials", "hard link"): (hard_link_to("precious"), ""),
    ("credentials", "FIFO"): (os.mkfifo, "not-a-file"),
    ("credentials", "socket"): (listener, "not-a-file"),
    ("credentials", "directory"): (Path.mkdir, "not-a-file"),
    ("credentials", "device"): (device, "not-a-file"),
}


@pytest.mark.parametrize(("name", "kind"), IN_THE_WAY, ids=lambda value: value)
def test_what_lies_in_the_way_gives_nothing_away_and_is_named(shared: Path, name: str, kind: str) -> None:
    act, code = IN_THE_WAY[name, kind]
    (shared / "precious").write_text(PRECIOUS)
    (shared / "precious").chmod(0o600)
    if kind == "hard link":
        act(shared / name)
    else:
        made_by_nobody(act, shared / name)
    before = (shared / "precious").stat()
    assert publish(shared / "credentials") == code
    after = (shared / "precious").stat()
    assert (shared / "precious").read_text() == PRECIOUS
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)
    if not code:
        found = (shared / "credentials").lstat()
        assert (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (stat.S_IFREG, 0o600, 0)
    holders = [path for path in shared.iterdir() if path.is_file() and SECRET in path.read_text()]
    assert holders == ([] if code else [shared / "credentials"])


PUT_THERE = {  # mode, owner and content of a file of root's that somebody moved to the output's name
    "readable by all": (0o644, 0, "# notes\n", {}, "", 0o600),
    "readable by a group": (0o640, 0, "", {}, "", 0o600),
    "with secrets, for the group": (0o600, 0, PRECIOUS, {"mode": 0o640, "group": NOBODY}, "file-untrusted", 0o600),
    "with secrets, for all": (0o600, 0, PRECIOUS, {"mode": 0o644}, "file-untrusted", 0o600),
    "with secrets, for a user": (0o600, 0, PRECIOUS, {"owner": 12345}, "file-untrusted", 0o600),
    "with a comment, for a user": (0o600, 0, "# precious\n", {"owner": 12345}, "file-untrusted", 0o600),
    "with secrets, for root": (0o600, 0, PRECIOUS, {}, "", 0o600),
    "of ours, for the group": (0o600, 0, "[default]\n\naws_session_token = x\n", {"mode": 0o640}, "", 0o640),
    "of the group already": (0o640, 0, PRECIOUS, {"mode": 0o640, "keep_mode": False}, "", 0o640),
}


@pytest.mark.parametrize("case", PUT_THERE)
def test_a_file_that_was_moved_there_gives_nobody_more_than_he_had(shared: Path, case: str) -> None:
    mode, owner, text, changes, code, new_mode = PUT_THERE[case]
    path = shared / "credentials"
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, 0)
    assert publish(path, **changes) == code
    assert stat.S_IMODE(path.stat().st_mode) == new_mode
    assert code == "" or path.read_text() == text


MOVED = {  # a link of root's in the shared directory, where it leads to, and the names that nobody gives which names
    "to the file's name": ("latest", "../outside/credentials", "latest", "credentials", "credentials"),
    "to a directory's name": ("latest", "../outside", "latest", "aws", "aws/credentials"),
    "in its directory": ("theirs/credentials", "../../outside/credentials", "theirs", "aws", "aws/credentials"),
}


@pytest.mark.parametrize("text", [PRECIOUS, None], ids=["there", "absent"])
@pytest.mark.parametrize("case", MOVED)
def test_a_link_of_roots_that_nobody_moved_there_leads_root_nowhere(shared: Path, case: str, text: str | None) -> None:
    link, target, old, new, path = MOVED[case]
    outside = shared.parent / "outside"
    outside.mkdir(mode=0o700)
    if text is not None:
        (outside / "credentials").write_text(text)
    (shared / link).parent.mkdir(mode=0o755, exist_ok=True)
    (shared / link).symlink_to(target)
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    subprocess.run([*nobody, "mv", "-T", old, new], cwd=shared, check=True)
    assert publish(shared / path) == "untrusted-symlink"
    assert {one.name: one.read_text() for one in outside.iterdir()} == ({"credentials": text} if text else {})


@pytest.mark.parametrize("place", ["parent", "directory"])
def test_a_directory_that_nobody_else_may_write_in_keeps_the_files_mode(tmp_path: Path, place: str) -> None:
    directory = tmp_path / "parent" / "aws"
    directory.mkdir(parents=True)
    path = directory / "credentials"
    path.write_text("")
    path.chmod(0o640)
    assert publish(path) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (directory if place == "directory" else directory.parent).chmod(0o777)
    assert publish(path) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Nobody, in a tight loop: whatever he can put in the place of whatever is in the directory, and a look for the secret.
INTRUDER = """
import os, random, sys
at, secret = sys.argv[1], sys.argv[2]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir(at)
assert not os.access("../outside", os.R_OK)
def present():
    new = [name for name in os.listdir(".") if name.endswith(".rolekeeper-new")]
    return [turn.choice(new or [".credentials.x.rolekeeper-new"]), ".credentials.rolekeeper-lock", "credentials"]
def clear(name):
    try:
        os.rmdir(name)
    except OSError:
        os.unlink(name)
def own(name):
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
def mine(name):
    os.link("mine", name)
acts = [clear, own, mine, mine, mine, os.mkfifo, os.mkdir, lambda name: os.symlink("../outside", name),
        lambda name: os.link("credentials", name),
        lambda name: os.rename(names[0], name), lambda name: os.rename("credentials", name),
        lambda _: (os.rename("inner", "away"), os.symlink("../outside", "inner")),
        lambda _: os.symlink("away", "inner"),
        lambda name: os.rename("latest", name), lambda _: os.rename("later", "inner"),
        lambda _: os.mkdir("inner", 0o777), lambda _: os.unlink("inner"), lambda _: os.rename("away", "inner"),
        lambda name: os.rename(name, "inner/" + name), lambda name: os.rename("inner/" + name, name)]
own("mine")
print("ready", flush=True)
turn = random.Random(7)
while True:
    names = present()
    name = turn.choices(names, (8, 1, 8))[0]
    try:
        turn.choice(acts)(name)
    except OSError:
        pass
    for one in ["mine"] + names + ["inner/" + name for name in names]:
        try:
            descriptor = os.open(one, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            if secret.encode() in os.read(descriptor, 65536):
                print("READ", one, os.fstat(descriptor), flush=True)
        except OSError:
            pass
        os.close(descriptor)
"""


@pytest.fixture
def intruder(shared: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", INTRUDER, str(shared), SECRET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_whatever_an_intruder_does_meanwhile_he_reads_no_token_and_root_writes_nowhere_else(
    shared: Path, intruder: subprocess.Popen[str]
) -> None:
    outside = shared.parent / "outside"
    outside.mkdir(mode=0o700)
    (outside / "credentials").write_text(PRECIOUS)
    (outside / "credentials").chmod(0o600)
    codes: Counter[str] = Counter()
    latest = time.monotonic() + LONGEST
    while codes.total() < LEAST or codes[""] < LEAST_PUBLISHED or not codes.keys() >= MET:
        assert time.monotonic() < latest, f"too few were published, or refused for what he does: {codes}"
        for link, target in (("latest", "../outside/credentials"), ("later", "../outside")):
            with contextlib.suppress(FileExistsError):
                (shared / link).symlink_to(target)
        codes.update(publish(path) for path in (shared / "credentials", shared / "inner" / "credentials"))
    assert intruder.poll() is None
    intruder.kill()
    seen, _ = intruder.communicate()
    assert seen == ""
    assert (outside / "credentials").read_text() == PRECIOUS
    assert [path.name for path in outside.iterdir()] == ["credentials"]
    for path in shared.rglob("*"):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and SECRET in path.read_text():
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    assert codes.keys() <= FORESEEN
    subprocess.run(["rm", "-rf", *(shared / name for name in (LOCK, "credentials"))], check=True)
    assert publish(shared / "credentials") == ""
