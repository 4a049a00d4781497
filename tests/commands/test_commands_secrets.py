"""A command that opens the vault leaves no core dump, whatever it is killed with."""

import resource
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import LONGEST, Server

from rolekeeper import compose
from rolekeeper.adapters.clock import SystemClock

MOST = resource.getrlimit(resource.RLIMIT_CORE)[1]
VERBS = {
    "register": ("--activation-id", "00000000-0000-4000-8000-000000000000", "--region", "us-east-1", "--force"),
    "attempt": (),
    "adopt": ("--from", str(Path(__file__).parents[1] / "vectors/vaults/tz-kolkata/Vault"), "--force", "--offline"),
    "clear": ("--yes",),
    "fingerprint": ("threshold", "50"),
}


@pytest.mark.skipif(MOST == 0, reason="no process here can dump core")
@pytest.mark.parametrize("verb", VERBS)
def test_no_core_is_dumped_while_the_vault_is_open(verb: str, node: Server) -> None:
    with compose.vault(compose.settings(str(node.config))).lock(timedelta()):  # so that the verb waits for it
        running = subprocess.Popen(
            node.command(verb, *VERBS[verb]),
            env=node.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (MOST, MOST)),  # noqa: PLW1509 - no threads
        )
        with running:
            assert running.stdin is not None
            running.stdin.write(b"the-activation-code-in-question\n")
            running.stdin.close()
            until_no_core(running)
            running.kill()


def until_no_core(running: "subprocess.Popen[bytes]") -> None:
    clock = SystemClock()
    for _ in range(LONGEST * 100):
        assert running.poll() is None, "it did not wait for the vault"
        if resource.prlimit(running.pid, resource.RLIMIT_CORE) == (0, 0):
            return
        clock.sleep(timedelta(milliseconds=10))
    running.kill()
    pytest.fail("it may dump core")
