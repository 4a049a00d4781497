"""The runtime directory: who holds its lock, whom a signal reaches, and what others may read. All of it is real."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rolekeeper.adapters.supervision import runtime
from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory, StatWatch
from rolekeeper.core.loop.status import LoadedConfiguration, OutputStatus, Status
from rolekeeper.errors import InputOutputError, UnavailableError
from rolekeeper.model import Freshness, Lifetime, OutputKind, OutputProblem, Phase
from rolekeeper.values import replace

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIFE = Lifetime(NOON, NOON + timedelta(hours=1), timedelta(days=3))
OUTPUT = OutputStatus(
    kind=OutputKind.CREDENTIALS_FILE,
    name="/root/.aws/credentials",
    path="/root/.aws/credentials",
    profile="default",
    role=None,
    access_key_id="ASIA3D3ZFM53CNDSWS5E",
    published_at=NOON,
    expires_at=LIFE.expires_at,
    freshness=Freshness.FRESH,
    problem=OutputProblem("code", "Cannot", "fix it"),
    life=LIFE,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run" / "rolekeeper"


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that dies of any signal."""
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process
        process.kill()


def daemon_of(pid: int) -> FileRuntimeDirectory:
    return FileRuntimeDirectory(pid)


def waiting(attempts: int = 1) -> Status:
    """What a daemon writes; attempts may be very many, so that documents differ in size."""
    return Status(Phase.WAITING, *(None,) * 2, Freshness.ABSENT, *(None,) * 5, attempts, (), None, 7, "1.2.3")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_others_may_read_the_status_and_not_the_lock_whatever_the_umask(directory: Path, mask: int) -> None:
    with umask(mask):
        daemon = daemon_of(4711)
        daemon.claim(str(directory))
        daemon.write_status(waiting())
    assert mode(directory) == 0o755
    assert mode(directory / "status.json") == 0o644
    assert mode(directory / "lock") == 0o600
    assert mode(directory / "alive") == 0o666  # to connect takes that, and gives nothing


def test_a_directory_that_was_there_keeps_its_mode(directory: Path) -> None:
    directory.mkdir(parents=True, mode=0o750)
    daemon_of(4711).claim(str(directory))
    assert mode(directory) == 0o750


def test_a_second_daemon_is_told_who_is_there(directory: Path) -> None:
    first = daemon_of(4711)
    first.claim(str(directory))
    with pytest.raises(UnavailableError) as raised:
        daemon_of(4712).claim(str(directory))
    assert raised.value.code == "daemon-running"
    assert "pid 4711" in raised.value.message
    assert runtime.holder(str(directory)) == 4711


def test_a_lock_that_a_daemon_left_behind_is_taken_over(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "lock").write_text("999999999999\n", encoding="ascii")
    daemon = daemon_of(7)
    daemon.claim(str(directory))
    assert runtime.holder(str(directory)) == 7
    assert (directory / "lock").read_text(encoding="ascii") == "7\n"


CLAIMS = """
import sys, threading
from rolekeeper.adapters.supervision import runtime
claimed = 0
done = False
def look():
    while not done:
        runtime.holder(f"{sys.argv[1]}/{claimed}")
looking = [threading.Thread(target=look) for _ in range(2)]
for thread in looking:
    thread.start()
try:
    for claimed in range(300):
        open(f"{sys.argv[1]}/{claimed}/lock", "x").close()
        runtime.FileRuntimeDirectory(claimed + 1).claim(f"{sys.argv[1]}/{claimed}")
finally:
    done = True
"""


def test_a_command_that_looks_at_the_lock_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).mkdir()
    claiming = subprocess.run(
        [sys.executable, "-I", "-c", CLAIMS, tmp_path], capture_output=True, text=True, check=False
    )
    assert (claiming.returncode, claiming.stderr) == (0, "")


WITHOUT_SPACE = """
import resource, sys
from rolekeeper.adapters.supervision import runtime
from rolekeeper.errors import InputOutputError, UnavailableError
directory = sys.argv[1]
daemon = runtime.FileRuntimeDirectory(7)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for claiming in (daemon, runtime.FileRuntimeDirectory(8)):
    try:
        claiming.claim(directory)
    except (InputOutputError, UnavailableError) as error:
        print(error.code, runtime.holder(directory))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
daemon.claim(directory)
print(runtime.holder(directory))
"""


def test_a_lock_is_held_whose_pid_cannot_be_written_and_names_no_dead_daemon_meanwhile(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "lock").write_text(f"{os.getpid()}\n", encoding="ascii")
    claiming = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_SPACE, directory], capture_output=True, text=True, check=False
    )
    assert (claiming.stdout, claiming.stderr) == ("file-size-limit None\ndaemon-running None\n7\n", "")


def test_a_lock_that_was_taken_away_is_taken_anew_with_the_next_status(directory: Path) -> None:
    first, second = daemon_of(7), daemon_of(8)
    first.claim(str(directory))
    first.write_status(waiting())
    directory.rename(directory.with_name("away"))
    first.write_status(waiting(2))
    assert runtime.holder(str(directory)) == 7
    assert sorted(one.name for one in directory.iterdir()) == ["alive", "lock", "status.json"]
    (directory / "lock").unlink()
    second.claim(str(directory))
    with pytest.raises(UnavailableError, match="pid 8"):
        first.write_status(waiting())
    assert runtime.holder(str(directory)) == 8


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_leads_to_another_file_is_not_written(
    directory: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    directory.mkdir(parents=True)
    other = tmp_path / "other"
    other.write_text("precious", encoding="ascii")
    link(directory / "lock", other)
    with pytest.raises(InputOutputError):
        daemon_of(7).claim(str(directory))
    assert other.read_text(encoding="ascii") == "precious"


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputOutputError, match=r"^Cannot use the runtime directory .*/file/run: "):
        daemon_of(7).claim(str(tmp_path / "file" / "run"))


def test_a_signal_reaches_the_daemon_that_holds_the_lock(directory: Path, stranger: subprocess.Popen[bytes]) -> None:
    daemon = daemon_of(stranger.pid)
    daemon.claim(str(directory))
    assert runtime.send(str(directory), signal.SIGUSR1)
    assert stranger.wait(timeout=20) == -signal.SIGUSR1


def test_a_pid_that_was_left_behind_hits_no_stranger(directory: Path, stranger: subprocess.Popen[bytes]) -> None:
    directory.mkdir(parents=True)
    (directory / "lock").write_text(f"{stranger.pid}\n", encoding="ascii")
    assert runtime.holder(str(directory)) is None
    assert not runtime.send(str(directory), signal.SIGKILL)
    assert stranger.poll() is None


@pytest.mark.parametrize("content", ["", "\n", "0\n", "12"])
def test_a_lock_that_is_held_without_a_whole_pid_is_sent_nothing(directory: Path, content: str) -> None:
    daemon = daemon_of(7)
    daemon.claim(str(directory))
    (directory / "lock").write_text(content, encoding="ascii")
    assert runtime.holder(str(directory)) is None
    assert not runtime.send(str(directory), signal.SIGKILL)


def test_a_daemon_that_just_died_is_sent_nothing(directory: Path, stranger: subprocess.Popen[bytes]) -> None:
    daemon = daemon_of(stranger.pid)
    daemon.claim(str(directory))
    stranger.kill()
    stranger.wait(timeout=20)
    assert not runtime.send(str(directory), signal.SIGUSR1)


def test_where_no_daemon_ever_ran_there_is_none(directory: Path) -> None:
    assert runtime.holder(str(directory)) is None
    assert not runtime.send(str(directory), signal.SIGUSR1)
    assert runtime.read_status(str(directory)) is None


def test_the_status_is_read_as_it_was_written(directory: Path) -> None:
    daemon = daemon_of(os.getpid())
    daemon.claim(str(directory))
    written = replace(
        waiting(2),
        outputs=(OUTPUT,),
        configuration=LoadedConfiguration("digest", NOON),
        boot_id="b00t",
        expires_at=NOON,
    )
    for document in (waiting(), written):
        daemon.write_status(document)
    assert runtime.read_status(str(directory)) == written
    assert sorted(one.name for one in directory.iterdir()) == ["alive", "lock", "status.json"]


def test_what_another_version_adds_to_the_status_is_ignored(directory: Path) -> None:
    daemon = daemon_of(7)
    daemon.claim(str(directory))
    daemon.write_status(waiting())
    path = directory / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "surprise": 1}), encoding="utf-8")
    assert runtime.read_status(str(directory)) == waiting()


DAEMON = """
import os, sys
from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory
daemon = FileRuntimeDirectory(os.getpid())
daemon.claim(sys.argv[1])
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@contextmanager
def running(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the runtime directory, as soon as it does."""
    command = [sys.executable, "-I", "-c", DAEMON, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        try:
            yield process
        finally:
            process.kill()


def test_whether_the_daemon_lives_is_seen_until_it_is_killed_and_again_with_the_next(directory: Path) -> None:
    assert runtime.living(str(directory)) is None
    for _ in range(2):
        with running(directory) as process:
            assert runtime.living(str(directory)) == process.pid
        assert (directory / "alive").exists()  # what it left behind says nothing
        assert runtime.living(str(directory)) is None


AS_NOBODY = """
import os, sys
from rolekeeper.adapters.supervision import runtime
os.setgid(65534); os.setuid(65534)
print(runtime.living(sys.argv[1]))
try:
    print(open(sys.argv[1] + "/lock").read())
except PermissionError:
    print("the lock is not to be read")
"""


@pytest.mark.usefixtures("as_root")
def test_any_user_sees_whether_the_daemon_lives_and_may_not_open_the_lock() -> None:
    with TemporaryDirectory() as name:  # pytest's own directories are closed to others
        Path(name).chmod(0o755)
        with running(Path(name, "run")) as process:
            asked = subprocess.run(
                [sys.executable, "-I", "-c", AS_NOBODY, f"{name}/run"], capture_output=True, text=True, check=False
            )
    assert (asked.stdout, asked.stderr) == (f"{process.pid}\nthe lock is not to be read\n", "")


def test_a_daemon_that_many_have_asked_lives(directory: Path) -> None:
    daemon_of(7).claim(str(directory))
    found = {runtime.living(str(directory)) for _ in range(300)}  # nobody ever accepts
    assert found <= {os.getpid(), 0}
    assert 0 in found


def test_a_directory_with_a_long_name_has_room_for_the_socket(directory: Path) -> None:
    deep = directory / ("d" * 150)
    daemon_of(7).claim(str(deep))
    assert runtime.living(str(deep)) == os.getpid()


def test_a_daemon_that_executes_itself_anew_keeps_lock_and_socket(directory: Path) -> None:
    first = daemon_of(7)
    first.claim(str(directory))
    seen = (directory / "lock").stat(), (directory / "alive").stat()
    second = FileRuntimeDirectory(7, first.held)
    second.claim(str(directory))
    second.write_status(waiting())
    assert ((directory / "lock").stat(), (directory / "alive").stat()) == seen
    assert runtime.holder(str(directory)) == 7


def test_a_reader_of_the_status_sees_the_old_one_or_the_new_one(directory: Path) -> None:
    daemon = daemon_of(7)
    daemon.claim(str(directory))
    daemon.write_status(waiting())
    written = threading.Event()

    def write() -> None:
        for number in range(200):
            daemon.write_status(waiting(10**number))
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not written.is_set():
        document = runtime.read_status(str(directory))
        assert document is not None
        assert str(document.attempts).rstrip("0") == "1"
    writer.join()


def test_a_status_that_cannot_be_written_is_an_error_that_names_it(directory: Path) -> None:
    daemon = daemon_of(7)
    daemon.claim(str(directory))
    (directory / "status.json").mkdir()
    with pytest.raises(InputOutputError, match=r"^Cannot write .*/status\.json: ") as raised:
        daemon.write_status(waiting())
    assert raised.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"state": ', b"[]", b"{}", b"[" * 100_000])
def test_a_status_that_is_garbled_is_an_error_that_names_it(directory: Path, content: bytes) -> None:
    directory.mkdir(parents=True)
    (directory / "status.json").write_bytes(content)
    with pytest.raises(InputOutputError, match=r"^Cannot read .*/status\.json: "):
        runtime.read_status(str(directory))


RESTORED = {  # how a person puts BACKUP in the place of vault.json
    "cp": "cp $BACKUP vault/vault.json",
    "cp -p": "cp -p $BACKUP vault/vault.json",
    "cp -a": "cp -a $BACKUP vault/vault.json",
    "cp -a of the directory": "cp -a vault old && cp -a $BACKUP old/vault.json && rm -r vault && cp -a old vault",
    "tar": "tar cf all.tar vault && tar xf all.tar",
    "mv": "mv $BACKUP vault/vault.json",
    "an editor that replaces the file": "sed -i s/new/old/ vault/vault.json",
    "an editor that writes into the file": "echo old >vault/vault.json",
    "moved away": "mv vault/vault.json elsewhere",
    "deleted": "rm -r vault",
    "modes made right": "chmod 750 vault",
}


@pytest.mark.parametrize("command", RESTORED.values(), ids=RESTORED)
def test_the_watch_sees_a_vault_restored_whatever_the_way(command: str, tmp_path: Path) -> None:
    file, backup, watch = tmp_path / "vault" / "vault.json", tmp_path / "backup", StatWatch()
    file.parent.mkdir()
    for path in (file, backup):
        path.write_text("new\n")
    os.utime(backup, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    before = watch.look(str(file.parent))
    assert watch.look(str(file.parent)) == before
    until_the_clock_of_files_has_moved_on(file)
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd=tmp_path, env={**os.environ, "BACKUP": "backup"})
    assert watch.look(str(file.parent)) != before


def until_the_clock_of_files_has_moved_on(file: Path) -> None:
    """It ticks every few milliseconds; two changes within a tick have the same time."""
    probe = file.parents[1] / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns == file.stat().st_ctime_ns:
        probe.touch()


def test_the_watch_sees_a_vault_appear_and_reads_nothing_else(tmp_path: Path) -> None:
    watch, seen = StatWatch(), []
    for change in ((tmp_path / "vault").mkdir, (tmp_path / "vault" / "vault.json").touch):
        seen.append(watch.look(f"{tmp_path}/vault"))
        change()
    assert len({*seen, watch.look(f"{tmp_path}/vault")}) == 3
