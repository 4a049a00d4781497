"""Files that are not what they should be: too large, too deep, never ending, oddly named. Whole commands, as a user.

Every command runs with a bounded address space and is waited for a bounded time: what reads all of a file, or waits for
a FIFO, fails. What such a command leaves behind is what it found, to the inode, and nothing was asked of the service.
"""

import os
import resource
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import COMMAND, LONGEST, Said, Server

AGENT_VAULT = Path(__file__).parents[1] / "vectors" / "vaults" / "tz-kolkata" / "Vault"
OTHERS = "[other]\naws_secret_access_key = precious\n"
SMALL = 1 << 20  # bytes, of a file whose content is worth a look
HUGE = 1 << 30  # bytes, of a file that takes no room on the disk
MEMORY = 1 << 30  # bytes of address space; with a file of that size in it there is none left for Python
VERBS = {  # the file that is spoilt, and a verb that reads it
    "config": ("config.toml", ("check",)),
    "vault": ("vault/vault.json", ("attempt",)),
    "threshold": ("vault/vault.json", ("fingerprint", "threshold", "50")),
    "credentials": ("aws/credentials", ("attempt",)),
    "published": ("aws/credentials", ("credential-process", "--file", "aws/credentials")),
    "status": ("run/status.json", ("status",)),
    "lock": ("run/lock", ("refresh",)),
    "code": ("code", ("register", "--force", "--activation-code-file", "code")),
    "agent": ("Vault/Manifest", ("adopt", "--force", "--offline", "--from", "Vault")),
}


def run(server: Server, *arguments: str, stdin: int = subprocess.DEVNULL) -> Said:
    """The command in the server's directory, in little memory."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [COMMAND, "--config", str(server.config), *arguments]
    done = subprocess.run(
        command,
        cwd=server.directory,
        stdin=stdin,
        capture_output=True,
        env=server.environment(),
        timeout=LONGEST,
        preexec_fn=limit,
        check=False,
    )
    said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in said.err, said.err
    return said


def arguments(server: Server, verb: tuple[str, ...]) -> tuple[str, ...]:
    return (*server.registration(), *verb[1:]) if verb[0] == "register" else verb


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        at = os.open(path.parent, os.O_PATH)  # the name of a socket is short
        bound.bind(f"/proc/self/fd/{at}/{path.name}")
        os.close(at)


SPOILT: dict[str, Callable[[Path], None]] = {
    "huge": huge,
    "fifo": os.mkfifo,
    "socket": listener,
    "directory": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


CASES = [(where, what) for where in VERBS for what in ("huge", "fifo")]
CASES += [(where, what) for where in ("config", "published") for what in ("socket", "directory", "device")]


def found(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything below, but for locks: its type, mode and inode, and of what is no directory its time and content."""
    state: dict[str, tuple[object, ...]] = {}
    for path in directory.rglob("*"):
        about = path.lstat()
        known = (about.st_mode, about.st_uid, about.st_ino)
        if stat.S_ISREG(about.st_mode) and about.st_size <= SMALL:
            known += (about.st_mtime_ns, path.read_bytes())
        elif not stat.S_ISDIR(about.st_mode):
            known += (about.st_mtime_ns, about.st_size)
        if not path.name.endswith("-lock"):
            state[str(path)] = known
    return state


@pytest.mark.parametrize(("where", "what"), CASES)
def test_no_command_waits_for_such_a_file_takes_it_all_in_or_does_anything_by_halves(
    node: Server, where: str, what: str
) -> None:
    name, verb = VERBS[where]
    node.output.parent.mkdir()
    node.output.write_text(OTHERS)
    node.activation = node.emulator.create_activation()
    shutil.copytree(AGENT_VAULT, node.directory / "Vault")
    path = node.directory / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    SPOILT[what](path)
    node.configure(daemon='attempt_timeout = "2s"' if where == "code" else "") if where != "config" else None
    before, asked = found(node.directory), (node.emulator.requests, node.emulator.activations)
    said = run(node, *arguments(node, verb))
    assert said.code in (3, 64, 69, 74, 78), said
    if verb[0] == "attempt":
        assert path.name in said.json["message"]
        assert said.json["hint"]
    else:
        message, hint = said.err.splitlines()[:2]
        assert path.name in message or where in ("code", "lock", "status")  # no daemon runs, which matters more
        assert hint.startswith("  hint: ")
    assert found(node.directory) == before
    assert (node.emulator.requests, node.emulator.activations) == asked
