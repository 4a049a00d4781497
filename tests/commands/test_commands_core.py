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
from tests.conftest import LONGEST, Server

AGENT_VAULT = Path(__file__).parents[1] / "vectors" / "vaults" / "tz-kolkata" / "Vault"
ALLOW_CORES = ("/bin/sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh")


def command(verb: str, server: Server) -> list[str]:
    arguments = {
        "register": (*server.registration(), "--force", "--activation-code-file", str(server.directory / "code")),
        "attempt": ("attempt",),
        "adopt": ("adopt", "--from", str(AGENT_VAULT), "--offline", "--force"),
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
        process = subprocess.Popen(
            [*ALLOW_CORES, *words], stdout=writer, cwd=server.directory, env=server.environment()
        )
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("verb", ["register", "attempt", "adopt", "fingerprint", "clear", "credential-process"])
def test_a_command_that_holds_a_secret_forbids_itself_a_core(node: Server, verb: str) -> None:
    assert node.run("attempt").code == 0
    node.activation = node.emulator.create_activation()
    (node.directory / "code").write_text(node.activation.code)
    with stuck(command(verb, node), node) as pid:
        latest = time.monotonic() + LONGEST
        while resource.prlimit(pid, resource.RLIMIT_CORE) != (0, 0):
            assert time.monotonic() < latest, "cores are allowed"
            time.sleep(0.02)
        os.kill(pid, signal.SIGABRT)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(node.directory.glob("core*")) == []
