"""No core dump of a command holds a key, a code or a token: it forbids itself any, however many its caller allows."""

import fcntl
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import LONGEST, Server, memory

from rolekeeper.adapters.vault.agent import read_agent_vault

AGENT_VAULT = Path(__file__).parents[1] / "vectors" / "vaults" / "tz-kolkata" / "Vault"
ALLOW_CORES = ("/bin/sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh")


def command(verb: str, server: Server) -> list[str]:
    arguments = {
        "register": (*server.registration(), "--force", "--activation-code-file", str(server.directory / "code")),
        "attempt": ("attempt",),
        "adopt": ("adopt", "--from", str(AGENT_VAULT), "--force"),
        "fingerprint": ("fingerprint",),
        "clear": ("clear", "--yes"),
    }
    if verb in arguments:
        return server.command(*arguments[verb])
    return [server.command()[0], verb, "--file", str(server.output)]


@contextmanager
def stuck(words: list[str], server: Server) -> Iterator[int]:
    """The pid of a command that does not end, because nobody reads what it prints."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ))
        environment = server.environment(PYTHONUNBUFFERED="1")  # at the first word, and not once it is done with all
        process = subprocess.Popen([*ALLOW_CORES, *words], stdout=writer, cwd=server.directory, env=environment)
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(reader)
        os.close(writer)


def core_limit(pid: int) -> tuple[int, int]:
    return resource.prlimit(pid, resource.RLIMIT_CORE)


def holds(pid: int, text: str) -> bool:
    """Whether the process has the text in its memory; without a text, whether it has forbidden itself a core."""
    if not text:
        return core_limit(pid) == (0, 0)
    try:
        return text.encode() in memory(Path(f"/proc/{pid}"))
    except OSError:  # a part of it has gone since it was listed
        return False


def secret(verb: str, node: Server) -> str:
    """What this command has read when it speaks to the service, or prints; `clear` reads none of what it removes."""
    if verb == "clear":
        return ""
    if verb == "register":
        assert node.activation is not None
        return node.activation.code
    if verb == "credential-process":
        return node.tokens()[-1].secret_access_key
    found = read_agent_vault(str(AGENT_VAULT)) if verb == "adopt" else node.vault().node
    assert found is not None
    return found.registration.key.private_key


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into what keeps its memory to itself")
@pytest.mark.parametrize("verb", ["register", "attempt", "adopt", "fingerprint", "clear", "credential-process"])
def test_a_command_that_crashes_with_a_secret_in_memory_leaves_no_core(node: Server, verb: str) -> None:
    assert node.run("attempt").code == 0
    node.activation = node.emulator.create_activation()
    (node.directory / "code").write_text(node.activation.code)
    held = secret(verb, node)
    for operation in ("RegisterManagedInstance", "RequestManagedInstanceRoleToken"):
        node.emulator.fail(operation, hang=True)
    with stuck(command(verb, node), node) as pid:
        latest = time.monotonic() + LONGEST
        while not holds(pid, held):
            assert time.monotonic() < latest, "it never had the secret in its memory, or allows cores"
            time.sleep(0.02)
        assert core_limit(pid) == (0, 0)
        os.kill(pid, signal.SIGABRT)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(node.directory.glob("core*")) == []
