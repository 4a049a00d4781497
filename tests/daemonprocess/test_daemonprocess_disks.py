"""The real daemon on real disks that fill up, turn read-only, lose a directory or change hands, and come back."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from signal import SIGUSR1

import pytest
from tests.conftest import WHOLE, Server
from tests.daemonprocess.conftest import Daemon, Start, processes, published, until
from tests.packages.conftest import left_out, need

BACKOFFS = 3 if WHOLE else 2  # to be seen while the trouble lasts: after 1, 2 and 4 seconds at most
SOMEBODY = 12345


@dataclass(frozen=True)
class Trouble:
    """What happens to one place of a server; what the daemon makes of it, and what it asks for meanwhile."""

    place: str  # below the server's directory; a file system of its own where `mounted`
    breaks: Callable[[Path], None]
    mends: Callable[[Path], None]
    code: str
    remedy: str
    mounted: bool = True
    tokens: int = 0  # asked for while it lasts
    waits: bool = False  # in each attempt, for seconds: then the next one comes only after a minute or more


def do(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def fill(place: Path) -> None:
    """To the last byte, inodes aside."""
    with (place / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(bytes(size)):
                    """Until there is no space."""
            except OSError:
                continue


def free(place: Path) -> None:
    (place / "filler").unlink()


def remount(how: str) -> Callable[[Path], None]:
    return lambda place: do("mount", "-o", f"remount,{how}", place)


def chattr(what: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        try:
            do("chattr", what, place)
        except (OSError, subprocess.CalledProcessError) as error:
            left_out(f"no immutable files here: {error}")

    return change


def give(user: int) -> Callable[[Path], None]:
    return lambda place: do("chown", "-R", str(user), place)


def put_away(place: Path) -> None:
    place.rename(place.with_name("away"))
    place.write_text("a file in the directory's place")


def bring_back(place: Path) -> None:
    place.unlink()
    place.with_name("away").rename(place)


HELD_OPEN: list[int] = []  # by us, for the daemon to wait for


def hold_open(place: Path) -> None:
    HELD_OPEN.append(os.open(place, os.O_WRONLY))


def let_go(_place: Path) -> None:
    os.close(HELD_OPEN.pop())


def bind_read_only(place: Path) -> None:
    """What is held open there for writing keeps nobody from this."""
    do("mount", "--bind", place, place)
    do("mount", "-o", "remount,bind,ro", place)


def take_away(place: Path) -> None:
    while place.is_dir():  # the daemon may write into it at this moment
        rmtree(place, ignore_errors=True)
    place.write_text("a file in the directory's place")


TROUBLES = {
    "output: full": Trouble("aws", fill, free, "no-space", "free some space"),
    "output: read-only": Trouble("aws", remount("ro"), remount("rw"), "read-only", "mount that file system"),
    "output: immutable": Trouble(
        "aws/credentials", chattr("+i"), chattr("-i"), "not-permitted", "lsattr", mounted=False, tokens=1
    ),
    "output: being written": Trouble(
        "aws/credentials", hold_open, let_go, "file-being-written", "find the program", mounted=False, waits=True
    ),
    "output: a file in the directory's place": Trouble(
        "aws", put_away, bring_back, "no-such-directory", "correct the path", mounted=False
    ),
    "vault: read-only": Trouble("vault", remount("ro"), remount("rw"), "vault-read-only", "mount that file system"),
    "vault: of somebody else": Trouble(
        "vault", give(SOMEBODY), give(os.geteuid()), "vault-foreign-owner", "chown -R", mounted=False
    ),
    "vault: a file in the directory's place": Trouble(
        "vault", put_away, bring_back, "vault-no-such-directory", "correct the path", mounted=False
    ),
}
QUICK = ("output: full", "output: immutable", "output: being written", "vault: of somebody else")
RUNTIME_TROUBLES = {
    "full": Trouble("run", fill, free, "no-space", "free some space"),
    "read-only": Trouble(
        "run", bind_read_only, lambda place: do("umount", place), "read-only", "mount that file system"
    ),
    "deleted, and a file in its place": Trouble(
        "run", take_away, Path.unlink, "no-such-directory", "correct the path", mounted=False
    ),
}


@pytest.fixture
def mounted(as_root: None, tmp_path: Path) -> Iterator[Callable[..., None]]:  # noqa: ARG001 - only root can mount
    """Mounts a small file system of its own, by default in memory."""
    places: list[Path] = []

    def mount(name: str, *what: str | Path) -> None:
        place = tmp_path / name
        place.mkdir(mode=0o700)
        try:
            do("mount", *(what or ("-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs")), place)
        except subprocess.CalledProcessError as error:
            left_out(f"cannot mount here: {error.stderr.decode()}")
        places.append(place)

    yield mount
    for place in places:
        do("umount", "--lazy", place)


@pytest.mark.parametrize("name", TROUBLES if WHOLE else QUICK)
def test_it_says_what_is_wrong_asks_for_no_more_and_goes_on_once_it_is_mended(
    name: str, server: Server, start: Start, mounted: Callable[..., None]
) -> None:
    trouble = TROUBLES[name]
    server.configure(daemon='log_level = "debug"')  # which shows each attempt
    if trouble.mounted:
        mounted(trouble.place)
    server.register()
    daemon = start(server)
    daemon.until_state("waiting")
    before, asked = server.output.read_bytes(), len(daemon.requests())
    place = server.directory / trouble.place
    trouble.breaks(place)
    try:
        for count in range(BACKOFFS):
            if trouble.waits or not count:
                daemon.send(SIGUSR1)
            records = daemon.until_logged("backing_off", count + 1)
        for record in records:
            assert (record["code"], trouble.remedy in record["hint"]) == (trouble.code, True), record
            assert str(place.parent if place.is_file() else place) in record["message"], record
            assert "\n" not in record["message"]
        assert {one["event"] for one in daemon.records() if one["level"] in ("warning", "error")} == {"backing_off"}
        assert len(daemon.requests()) - asked <= trouble.tokens
        assert not server.output.exists() or server.output.read_bytes() == before
    finally:
        trouble.mends(place)
    if trouble.waits:
        daemon.send(SIGUSR1)
    daemon.until_state("waiting")
    assert published(server) == server.tokens()[-1].access_key_id
    assert len(daemon.requests()) - asked <= 1


def test_a_vault_that_is_full_costs_no_more_tokens_than_usual(
    server: Server, start: Start, mounted: Callable[..., None]
) -> None:
    """What the vault cannot take is told; the new token is published all the same, and the old registration stays."""
    mounted("vault")
    server.register()
    daemon = start(server)
    daemon.until_state("waiting")
    vault, registered = server.directory / "vault", server.vault().registration
    fill(vault)
    for count in (2, 3):
        assert server.run("refresh").code == 0
        assert published(server) == server.tokens()[-1].access_key_id
        record = daemon.until_logged("vault_unwritten", count - 1)[-1]
        assert (record["code"], "free some space" in record["hint"]) == ("vault-no-space", True)
        assert str(vault) in record["message"]
        assert len(daemon.requests()) == count
    assert server.vault().registration == registered
    free(vault)
    assert server.run("refresh").code == 0
    issue = server.vault().issues[""]
    assert issue.access_key_id == published(server) == server.tokens()[-1].access_key_id
    assert len(daemon.records("vault_unwritten")) == 2


def test_an_output_that_lacks_its_credentials_is_a_failure_of_refresh_and_attempt_though_others_have_theirs(
    server: Server, start: Start, mounted: Callable[..., None]
) -> None:
    """Also when the vault is full, which is why no other token is requested."""
    mounted("vault")
    server.register()
    other = server.directory / "other"
    server.configure(f'[[credentials_file]]\npath = "{other}"\n')
    daemon = start(server)
    daemon.until_state("waiting")
    fill(server.directory / "vault")
    other.write_text("[default\n")
    for verb in ("refresh", "attempt"):
        said = server.run(verb, "--json")
        assert (said.code, said.json["outcome"], said.json["code"]) == (74, "issued", "unparsable-file")
    assert f"Cannot use {other}" in server.run("refresh").err


@pytest.mark.parametrize("begun", [False, True], ids=["at the start", "while it runs"])
@pytest.mark.parametrize("name", RUNTIME_TROUBLES)
def test_a_runtime_directory_that_cannot_be_written_costs_no_credentials(
    name: str, server: Server, start: Start, mounted: Callable[..., None], *, begun: bool
) -> None:
    """It is said once, another daemon is refused that can see the first, and commands find it once that is mended."""
    trouble, place = RUNTIME_TROUBLES[name], server.runtime
    mounted(trouble.place) if trouble.mounted else place.mkdir()
    server.register()
    if begun:
        daemon = start(server, WATCHDOG_USEC="1000000")  # as often as it shows a sign of life it tries again
        daemon.until_state("waiting")
    trouble.breaks(place)
    try:
        if not begun:
            daemon = start(server, WATCHDOG_USEC="1000000")
        daemon.until_logged("credentials_published")
        daemon.send(SIGUSR1)
        daemon.until_logged("credentials_published", 2)
        assert published(server) == server.tokens()[-1].access_key_id
        record = daemon.until_logged("status_unwritten")[0]
        assert (record["code"], trouble.remedy in record["hint"]) == (trouble.code, True), record
        assert str(place) in record["message"]
        if begun and place.is_dir():
            assert start(server).wait() == 69
    finally:
        trouble.mends(place)
    assert until(lambda: daemon.status().get("attempts") == 2 and server.run("status").code == 0)
    assert server.run("refresh").code == 0
    assert start(server).wait() == 69
    assert len(server.tokens()) == len(daemon.requests()) == 3
    assert [one["event"] for one in daemon.records() if one["level"] != "info"] == ["status_unwritten"]


FAILING_CALLS = {  # of the daemon's own, in the runtime directory; and the code of that error
    "mkdirat": ("EROFS", "read-only"),
    "openat": ("EACCES", "permission-denied"),
    "fcntl": ("ENOLCK", "file-error"),
    "ftruncate": ("EIO", "disk-error"),
    "pread64": ("EIO", "disk-error"),
    "pwrite64": ("ENOSPC", "no-space"),
    "write": ("EDQUOT", "quota-exceeded"),
    "fchmod": ("EPERM", "not-permitted"),
    "renameat": ("EIO", "disk-error"),
    "unlinkat": ("EROFS", "read-only"),
}


@pytest.mark.usefixtures("as_root")  # strace traces what keeps its memory to itself for nobody else
@pytest.mark.parametrize("call", FAILING_CALLS if WHOLE else ("fcntl", "ftruncate", "renameat"))
def test_no_call_that_fails_in_the_runtime_directory_ends_it_or_costs_credentials(
    call: str, server: Server, start: Start
) -> None:
    need("strace", "strace")
    error, code = FAILING_CALLS[call]
    files = [server.runtime / name for name in ("lock", "status.json", "lifetime.json")]
    names = (server.runtime, *files)
    where = [word for name in names for word in ("-P", str(name))]
    inject = f"inject={call}:error={error}:when=1..9"
    server.register()
    daemon = start(
        server,
        *("strace", "-D", "-qq", "-o", "/dev/null", *where, "-e", "signal=none", "-e", inject),
        WATCHDOG_USEC="1000000",
    )
    daemon.until_logged("credentials_published")
    until(lambda: server.run("status").code == 0, "the daemon in its runtime directory")
    assert server.run("refresh").code == 0
    assert published(server) == server.tokens()[-1].access_key_id
    (record,) = [one for one in daemon.records() if one["level"] != "info"]
    assert (record["event"], record["code"]) == ("status_unwritten", code)
    assert len(server.tokens()) == 2
    assert daemon.stop() == 0


def test_a_directory_that_was_deleted_under_it_comes_back_with_the_next_refresh(daemon: Daemon) -> None:
    server = daemon.server
    rmtree(server.output.parent)
    assert server.run("refresh").code == 0
    assert published(server) == server.tokens()[-1].access_key_id
    assert server.output.parent.stat().st_mode & 0o777 == 0o700


def test_a_vault_that_was_deleted_under_it_is_missed_and_goes_on_once_it_is_restored(
    node: Server, start: Start
) -> None:
    daemon = start(node, WATCHDOG_USEC="1000000")  # it looks at the vault as often as it shows a sign of life
    daemon.until_state("waiting")
    before, vault = node.output.read_bytes(), node.directory / "vault"
    backup = vault.rename(node.directory / "backup")
    record = daemon.until_logged("unregistered")[0]
    daemon.until_state("unregistered")
    assert str(vault) in record["message"]
    assert node.output.read_bytes() == before
    vault.rename(node.directory / "empty")  # nothing but a lock is in it
    backup.rename(vault)
    daemon.until_state("waiting")
    assert node.run("refresh").code == 0
    assert published(node) == node.tokens()[-1].access_key_id
    assert len(daemon.records("unregistered")) == 1


@pytest.mark.skipif(not WHOLE, reason="`make faults` has it")
def test_a_disk_that_hangs_costs_one_stuck_attempt_at_a_time_and_never_the_daemon(
    server: Server, start: Start, mounted: Callable[..., None]
) -> None:
    image = server.directory / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    do("mkfs.ext4", "-q", image)
    mounted("aws", "-o", "loop", image)
    server.configure(daemon='attempt_timeout = "8s"')  # enough for one that does not hang, on a busy machine
    server.register()
    daemon = start(server)
    daemon.until_state("waiting")
    before = server.output.read_bytes()
    do("fsfreeze", "--freeze", server.output.parent)
    try:
        daemon.send(SIGUSR1)
        record = daemon.until_logged("backing_off")[0]
        assert (record["code"], "a disk hangs" in record["hint"]) == ("attempt-timeout", True)
        assert len(processes(server)) <= 3  # the daemon, the attempt that no signal ends, and the next one
        assert server.run("status").code == 1
        assert server.output.read_bytes() == before
    finally:
        do("fsfreeze", "--unfreeze", server.output.parent)
    daemon.until_state("waiting")
    assert published(server) == server.tokens()[-1].access_key_id
    assert len(server.tokens()) == 2


def test_registering_with_a_full_vault_uses_nothing_of_the_activation(
    server: Server, mounted: Callable[..., None]
) -> None:
    mounted("vault")
    fill(server.directory / "vault")
    server.activation = server.emulator.create_activation()
    said = server.run(*server.registration(), stdin=server.activation.code)
    assert (said.code, "No space left on device" in said.err, "free some space" in said.err) == (74, True, True)
    free(server.directory / "vault")
    assert server.run(*server.registration(), stdin=server.activation.code).code == 0
