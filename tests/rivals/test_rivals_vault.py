"""Two of us at once: attempts, daemons, registrations and every command on one vault and one output.

What must overlap is held fast by the emulator: a request that it leaves unanswered keeps the vault locked for as long.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from botocore.configloader import raw_config_parse
from tests.commands.test_commands_adopt import known, recorded_node, vault
from tests.conftest import LONGEST, Said, Server
from tests.daemonprocess.conftest import TOKEN, Start, daemons, published, until

from rolekeeper.model import THRESHOLD_OFF

REGISTER = "RegisterManagedInstance"
AGENTS_TREE = "tz-kolkata"
AGENTS_VAULT = vault(AGENTS_TREE)
ANSWER_TIME = timedelta(seconds=2)


@pytest.fixture
def start() -> Iterator[Start]:
    with daemons() as begin:
        yield begin


def impatient(server: Server) -> str:
    """The configuration of somebody else on the same vault and output, who waits for the vault 15 s."""
    path = server.directory / "impatient.toml"
    text = server.config.read_text().replace("[daemon]\n", '[daemon]\nattempt_timeout = "30s"\n')
    path.write_text(text.replace(str(server.runtime), str(server.directory / "run-of-another")))
    return str(path)


@contextmanager
def begun(server: Server, *arguments: str, stdin: str = "") -> Iterator[subprocess.Popen[str]]:
    """A command that has begun; it has ended at the end."""
    pipe = subprocess.PIPE
    command = server.command(*arguments)
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=server.environment())
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=LONGEST)
    assert "Traceback" not in err
    return Said(process.returncode, out, err)


def vault_files(server: Server) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (server.directory / "vault").iterdir()}


def test_while_one_holds_the_vault_every_other_writer_names_it_and_every_reader_goes_on(node: Server) -> None:
    assert node.run("attempt").code == 0
    node.emulator.forget_requests()
    node.emulator.fail(TOKEN, hang=True, times=None)
    before, file = vault_files(node), node.output.read_bytes()
    code, other = node.emulator.create_activation(), impatient(node)
    node.configure(daemon='attempt_timeout = "1h"', service='read_timeout = "1h"')
    register = ("register", "--activation-id", code.activation_id, "--region", node.emulator.region)
    writers = [
        ("attempt",),
        register,
        (*register, "--force"),
        ("adopt", "--from", AGENTS_VAULT, "--offline", "--force"),
        ("clear", "--yes"),
        ("fingerprint", "threshold", "50"),
    ]
    readers = {
        ("check",): 0,
        ("fingerprint",): 0,
        ("credential-process", "--file", str(node.output)): 0,
        ("status",): 3,
        ("refresh",): 69,
        ("wait", "--timeout", "100ms"): 69,
    }

    def run(verb: tuple[str, ...]) -> Said:
        return node.process(*(() if verb[0] == "credential-process" else ("--config", other)), *verb, stdin=code.code)

    with begun(node, "attempt") as holder:
        node.emulator.wait_for(TOKEN)
        with ThreadPoolExecutor(len(writers) + len(readers)) as pool:
            said = dict(zip([*writers, *readers], pool.map(run, [*writers, *readers]), strict=True))
        assert holder.poll() is None
    for verb in writers:
        assert said[verb].code == 74, said[verb]
        assert "another process has locked it" in said[verb].out + said[verb].err, said[verb]
    assert said["attempt",].json["code"] == "vault-locked"
    assert {verb: said[verb].code for verb in readers} == readers
    assert len(node.emulator.wait_for(TOKEN)) == 1
    assert node.emulator.activations[code.activation_id].registrations == 0
    assert (vault_files(node), node.output.read_bytes()) == (before, file)


def test_two_attempts_at_once_take_turns_and_the_file_is_the_last_ones(node: Server) -> None:
    node.emulator.forget_requests()
    node.emulator.fail(TOKEN, delay=ANSWER_TIME)
    with begun(node, "attempt") as first:
        node.emulator.wait_for(TOKEN)
        with begun(node, "attempt") as second:
            assert [ended(process).code for process in (first, second)] == [0, 0]
    tokens = node.tokens()
    assert len(tokens) == 2
    issue = node.vault().issues[""]
    assert published(node) == issue.access_key_id == tokens[-1].access_key_id
    assert raw_config_parse(str(node.output))["default"]["aws_session_token"] == tokens[-1].session_token


REGISTRATIONS = {  # limit of the activation, options of the second, its exit code, word and how many count then
    "one at most": (1, (), 77, "already", 1),
    "by force, one at most": (1, ("--force",), 77, "RegistrationLimitExceeded", 1),
    "by force, two at most": (2, ("--force",), 0, "", 2),
}


def register_twice(case: str, server: Server) -> None:
    limit, options, code, word, count = REGISTRATIONS[case]
    server.activation = activation = server.emulator.create_activation(limit=limit)
    with begun(server, *server.registration(), stdin=activation.code) as first:
        until(lambda: registrations(server) == 1)
        with begun(server, *server.registration(), *options, stdin=activation.code) as second:
            one, two = ended(first), ended(second)
    assert (one.code, two.code) == (0, code), (one, two)
    assert word in two.err
    assert registrations(server) == count
    node_ids = [found for said in (one, two) for found in re.findall(r"Registered as (mi-\w+)", said.out)]
    assert len(node_ids) == count
    contents = server.vault()
    assert contents.registration
    assert contents.registration.node_id == node_ids[-1]
    assert (contents.pending_registration, contents.pending_key) == (None, None)
    server.node_id = node_ids[-1]
    assert server.process("attempt").code == 0


def registrations(server: Server) -> int:
    assert server.activation
    return server.emulator.activations[server.activation.activation_id].registrations


def test_two_registrations_at_once_use_an_activation_up_no_more_than_they_say(server: Server) -> None:
    server.emulator.fail(REGISTER, delay=ANSWER_TIME, times=None)
    servers = []
    for number in range(len(REGISTRATIONS)):
        (server.directory / str(number)).mkdir()
        servers.append(Server(server.directory / str(number), server.emulator))
    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(register_twice, REGISTRATIONS, servers))


def test_a_command_that_registers_beside_a_daemon_that_does_so_by_itself_finds_it_done(
    server: Server, start: Start
) -> None:
    server.configure_activation()
    activation = server.activation
    assert activation is not None
    server.emulator.fail(REGISTER, delay=ANSWER_TIME)
    daemon = start(server)
    until(lambda: registrations(server) == 1)
    said = server.run(*server.registration(), stdin=activation.code)
    assert said.code == 77
    assert "already" in said.err
    daemon.until_state("waiting")
    assert registrations(server) == 1


def test_of_two_daemons_that_start_at_once_one_runs_and_the_other_says_why_not(node: Server, start: Start) -> None:
    both = [start(node), start(node)]
    refused = until(lambda: next((one for one in both if one.process.poll() is not None), None))
    assert refused.wait() == 69
    running = next(one for one in both if one is not refused)
    said = refused.log_file.read_text()
    assert f"a daemon with pid {running.pid} holds" in said or "another daemon holds" in said
    assert running.until_state("waiting")["pid"] == running.pid
    assert len(node.tokens()) == 1
    assert node.run("refresh").code == 0


@pytest.fixture
def other(node: Server) -> Server:
    """The same vault and output under a configuration with another runtime directory."""
    (node.directory / "other").mkdir()
    beside = Server(node.directory / "other", node.emulator, node_id=node.node_id)
    text = beside.config.read_text().replace("[daemon]\n", '[daemon]\nattempt_timeout = "16s"\n')
    text = text.replace(f"{beside.directory}/vault", f"{node.directory}/vault")
    beside.config.write_text(text.replace(str(beside.output), str(node.output)))
    return beside


def test_two_daemons_on_one_vault_and_output_take_turns_and_name_each_other(
    node: Server, other: Server, start: Start
) -> None:
    node.emulator.forget_requests()
    node.emulator.fail(TOKEN, hang=True)
    node.configure(daemon='attempt_timeout = "1h"', service='read_timeout = "1h"')
    first = start(node)
    node.emulator.wait_for(TOKEN)
    holder = first.attempt()
    second = start(other)
    said = second.until_state("backing-off")["last_outcome"]
    assert (said["outcome"], said["code"]) == ("vault-unreadable", "vault-locked")
    assert "another process has locked it" in said["message"]
    os.kill(holder, signal.SIGKILL)
    first.until_state("backing-off")
    for daemon in (first, second):
        daemon.send(signal.SIGUSR1)  # by themselves they try again after a minute or more, because both have waited
    assert {first.until_state("waiting")["node_id"], second.until_state("waiting")["node_id"]} == {node.node_id}
    held = published(node)
    assert held in {token.access_key_id for token in node.tokens()}
    for server in (node, other):
        assert server.run("refresh").code == 0
        assert published(node) == node.tokens()[-1].access_key_id != held
        held = published(node)
    assert other.run("status").code == 0
    first.send(signal.SIGHUP)  # so that it sees at once, and not within a minute, what the other one has published
    until(lambda: node.run("status").code == 0, "the first daemon's word for it")
    assert published(node) == held


def test_every_command_at_once_beside_a_daemon_leaves_it_well_and_the_vault_whole(node: Server, start: Start) -> None:
    daemon = start(node)
    daemon.until_state("waiting")
    verbs = [
        ("fingerprint", "threshold", "55"),
        ("attempt",),
        ("refresh",),
        ("attempt",),
        ("check",),
        ("status",),
        ("fingerprint", "check"),
        ("fingerprint", "show"),
        ("wait",),
        ("credential-process", "--file", str(node.output)),
        (*node.registration(),),
    ]
    codes = codes_of(node, *verbs)
    assert codes.pop(verbs.index(("status",))) in {0, 2}  # 2: an attempt by hand has published, unknown to the daemon
    assert codes == [0] * (len(verbs) - 2) + [77]
    assert node.run("refresh").code == 0
    assert node.run("status").code == 0
    contents = node.vault()
    assert contents.fingerprint
    assert contents.fingerprint.threshold == 55
    assert_newest_token(node)
    assert node.run("clear", "--yes").code == 0
    daemon.until_state("unregistered")


def test_whatever_replaces_the_registration_or_its_threshold_beside_a_daemon_ends_with_a_token(
    node: Server, start: Start
) -> None:
    daemon = start(node)
    daemon.until_state("waiting")
    first, adopted = node.node_id, agents_node(node)
    node.activation = node.emulator.create_activation()
    replacing = [
        (*node.registration(), "--force"),
        ("adopt", "--from", str(node.directory / "agent"), "--offline", "--force"),
        ("fingerprint", "threshold", "off"),
    ]
    companions = [("attempt",), ("refresh",), ("fingerprint", "show"), ("attempt",)]
    node_ids = []
    for verb in replacing:
        assert codes_of(node, verb, *companions) == [0] * (1 + len(companions))
        contents = node.vault()
        assert contents.registration
        node.node_id = contents.registration.node_id
        node_ids.append(node.node_id)
        until(lambda: daemon.status()["node_id"] == node.node_id, "the daemon's word on the node")
        assert node.run("refresh").code == 0
        daemon.until_state("waiting")
        assert_newest_token(node)
    assert first not in node_ids
    assert node_ids[1:] == [adopted, adopted]
    assert contents.fingerprint
    assert contents.fingerprint.threshold == THRESHOLD_OFF


def agents_node(server: Server) -> str:
    """A node that the service knows, in a vault of SSM Agent's that was written on this machine; its id."""
    known(server, AGENTS_TREE)
    copy = server.directory / "agent"
    shutil.copytree(AGENTS_VAULT, copy)
    here = server.vault().fingerprint
    assert here
    path = copy / "Store" / "InstanceFingerprint"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hardwareHash": dict(here.hardware_hash)}))
    return recorded_node(AGENTS_TREE)


def codes_of(server: Server, *verbs: tuple[str, ...]) -> list[int]:
    """The exit codes of commands that run four at a time, in that order."""
    assert server.activation
    code = server.activation.code

    def run(verb: tuple[str, ...]) -> int:
        if verb[0] == "credential-process":
            return _credential_process(server, verb)
        return server.process(*verb, stdin=code).code

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(run, verbs))


def assert_newest_token(server: Server) -> None:
    """What is published is the last token that the service gave to this node, and the vault says so."""
    issue = server.vault().issues[""]
    assert issue.node_id == server.node_id
    assert published(server) == issue.access_key_id == server.tokens()[-1].access_key_id


def _credential_process(server: Server, verb: tuple[str, ...]) -> int:
    command = [server.command()[0], *verb]
    return subprocess.run(
        command, capture_output=True, env=server.environment(), timeout=LONGEST, check=False
    ).returncode
