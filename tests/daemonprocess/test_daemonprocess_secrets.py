"""Where the private key, the activation code and the tokens are not."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import Server, memory
from tests.daemonprocess.conftest import TOKEN, UPDATE_KEY, Daemon, Start, daemons, processes, until

from rolekeeper.emulator import Emulator


def sockets(pid: int) -> list[str]:
    """The inodes of all sockets that the process has open."""
    targets = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [target.removeprefix("socket:[").removesuffix("]") for target in targets if target.startswith("socket:")]


def unix_sockets() -> list[str]:
    return [line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Iterator[Daemon]:
    """A daemon at debug level that has been through everything in which a secret could slip out."""
    with daemons() as start:
        yield talk(start, Server(tmp_path_factory.mktemp("server"), emulator))


def talk(start: Start, server: Server) -> Daemon:
    server.configure(daemon='log_level = "debug"')
    server.activation = server.emulator.create_activation()
    said = server.run(*server.registration(), "--json", stdin=server.activation.code)
    server.node_id = said.json["node_id"]
    daemon = start(server)
    daemon.until_state("waiting")
    server.emulator.request_rotation(server.node_id)
    server.run("refresh")
    daemon.until_logged("key_rotated")
    server.emulator.fail(TOKEN, cut_body=900)
    server.run("refresh", "--json")
    daemon.until_state("waiting")  # again; the faults that follow are for the commands
    server.emulator.fail(TOKEN, fields={"TokenExpirationDate": "x"})
    server.run("attempt")
    server.emulator.fail(UPDATE_KEY, error="InvalidPublicKey")
    server.emulator.request_rotation(server.node_id)
    server.run("attempt")
    for arguments in (("status",), ("fingerprint", "--json"), ("check", "--json")):
        server.run(*arguments)
    return daemon


def test_no_secret_is_in_an_output_a_log_or_the_status(talkative: Daemon) -> None:
    server = talkative.server
    status = (server.runtime / "status.json").read_text()
    told = "\n".join([*server.heard, talkative.log_file.read_text(), status])
    assert len(server.secrets()) >= 8
    assert [secret for secret in server.secrets() if secret in told] == []
    assert "PRIVATE KEY" not in told


def test_the_daemon_itself_holds_no_key_no_token_and_no_socket_to_a_network(talkative: Daemon) -> None:
    seen = memory(Path(f"/proc/{talkative.pid}"))
    assert talkative.server.node_id.encode() in seen  # so that we know where we look
    assert [secret for secret in talkative.server.secrets() if secret.encode() in seen] == []
    (alive,) = sockets(talkative.pid)
    assert alive in unix_sockets()


def test_only_their_owner_can_read_the_files_with_secrets(talkative: Daemon) -> None:
    server = talkative.server
    files = [path for path in (server.directory / "vault").rglob("*") if path.is_file()]
    holding = [path for path in files if any(secret.encode() in path.read_bytes() for secret in server.secrets())]
    assert holding
    for path in [*files, server.output]:
        assert path.stat().st_mode & 0o077 == 0
    until(lambda: not list(server.directory.rglob(".*rolekeeper-new*")), "no temporary file")


def test_while_an_attempt_runs_no_secret_is_in_an_argument_list_or_an_environment_and_no_core_can_be_dumped(
    talkative: Daemon,
) -> None:
    server = talkative.server
    server.emulator.fail(TOKEN, hang=True)
    talkative.refresh_until_asked()
    attempt = talkative.attempt()
    assert {attempt, talkative.pid} <= set(processes(server))
    for pid in (attempt, talkative.pid):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
        with suppress(PermissionError):  # to root alone the kernel shows the environment of an attempt
            shown += Path(f"/proc/{pid}/environ").read_bytes()
        assert [secret for secret in server.secrets() if secret.encode() in shown] == []
    limits = Path(f"/proc/{attempt}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
