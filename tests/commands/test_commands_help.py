"""What every verb says of itself, and how a wrong command line or configuration is told."""

import json
import os
import pty
import re
import socket
import subprocess
from pathlib import Path

import pytest
from tests.conftest import COMMAND, LONGEST, Server
from tests.daemonprocess.conftest import until

from rolekeeper import __version__
from rolekeeper.cli.parser import VERBS

JSON_VERBS = (
    *("register", "refresh", "status", "doctor", "fingerprint", "adopt", "seal", "check", "emulator", "version"),
)
CONFIGURED = {
    "run": (),
    "register": ("--activation-id", "12345678-1234-1234-1234-123456789012", "--region", "us-east-1"),
    "attempt": (),
    "refresh": (),
    "status": (),
    "wait": (),
    "fingerprint": (),
    "adopt": ("--from", "/nonexistent"),
    "check": (),
    "clear": ("--yes",),
}
WRONG = """
[service]
read_timeout = 30
[refresh]
at = 2.0
[nonsense]
[[credentials_file]]
path = "relative"
"""


def test_help_lists_every_verb_and_exit_code(server: Server) -> None:
    said = server.run("--help")
    assert (said.code, said.err) == (0, "")
    assert re.findall(r"^  ([a-z-]+) {2,}[a-z]", said.out.partition("verbs:")[2], re.MULTILINE) == list(VERBS)
    assert set(re.findall(r"\b(0|64|69|74|77|78)  ", said.out)) == {"0", "64", "69", "74", "77", "78"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(server: Server, verb: str) -> None:
    said = server.run(verb, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: rolekeeper {verb} ")
    example = said.out.partition("example:\n")[2]
    assert f"rolekeeper {verb}" in example or f"rolekeeper --config ./config.toml {verb}" in example
    assert ("--json" in said.out) is (verb in JSON_VERBS)


def test_status_explains_its_own_exit_codes(server: Server) -> None:
    out = server.run("status", "--help").out
    assert re.findall(r"^  (\d+) ", out.partition("exit codes:")[2], re.MULTILINE) == ["0", "1", "2", "3", "78"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("no-such-verb",),
        ("--no-such-option", "status"),
        ("status", "--no-such-option"),
        ("status", "--js"),
        ("status", "superfluous"),
        ("register",),
        ("register", "--activation-id", "nonsense", "--region", "us-east-1"),
        ("register", "--activation-id", "12345678-1234-1234-1234-123456789012", "--region", "the moon"),
        ("wait", "--timeout", "soon"),
        ("refresh", "--timeout", "5"),
        ("emulator", "--region", "two\nlines"),
        ("emulator", "--region", "foo"),
        ("emulator", "--account-id", "1"),
        ("emulator", "--port", "0", "--address", ""),
        ("emulator", "--port", "0", "--state", ""),
        ("emulator", "--port", "0", "--tls-certificate", "", "--tls-key", ""),
        ("fingerprint", "threshold"),
        ("fingerprint", "threshold", "0"),
        ("fingerprint", "threshold", "101"),
        ("fingerprint", "show", "40"),
        ("credential-process", "--no-such-option", "x"),
        ("emulator", "--port", "x"),
        ("emulator", "--port", "65536"),
        ("emulator", "--port", "-1"),
        ("emulator", "--token-lifetime", "x"),
        ("emulator", "--tls-key", "x"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_on_standard_error(server: Server, arguments: tuple[str, ...]) -> None:
    said = server.run(*arguments)
    assert (said.code, said.out) == (64, "")
    assert said.err.startswith("rolekeeper")
    assert "hint: " in said.err


def test_the_activation_code_is_no_option(server: Server) -> None:
    assert "--activation-code " not in server.run("register", "--help").out


@pytest.mark.parametrize("verb", CONFIGURED)
def test_a_wrong_configuration_is_told_whole_by_every_verb_that_reads_it(server: Server, verb: str) -> None:
    server.config.write_text(WRONG)
    said = (server.process if verb == "run" else server.run)(verb, *CONFIGURED[verb])
    assert (said.code, said.out) == (78, "")
    for key in ("service.read_timeout", "refresh.at", "nonsense", "credentials_file[0].path"):
        assert f"{server.config}: {key}: " in said.err
    assert not (server.directory / "vault").exists()
    assert not server.runtime.exists()


def test_a_missing_configuration_is_told(server: Server) -> None:
    server.config.unlink()
    said = server.run("check")
    assert (said.code, said.out) == (78, "")
    assert str(server.config) in said.err
    assert server.run("check", "--json").json["code"] == "configuration-invalid"


def test_check_prints_the_configuration_resolved(server: Server, tmp_path: Path) -> None:
    text, document = server.run("check"), server.run("check", "--json")
    assert (text.code, text.err, document.code, document.err) == (0, "", 0, "")
    assert f'directory = "{tmp_path}/vault"' in text.out
    assert document.json["vault"]["directory"] == f"{tmp_path}/vault"
    assert document.json["credentials_file"][0]["path"] == str(server.output)
    server.config.write_text(text.out)
    assert server.run("check").out == text.out


@pytest.mark.parametrize("verb", ["check", "fingerprint"])
def test_a_character_that_the_locale_lacks_is_printed_as_an_escape(node: Server, verb: str) -> None:
    node.configure(output='profile = "r\u00fcck"')
    said = node.process(verb, env={"PYTHONIOENCODING": "ascii"}, options=())
    assert (said.code, said.err) == (0, "")
    assert ("r\\xfcck" if verb == "check" else "\\u2026") in said.out


def test_version_is_the_packages(server: Server) -> None:
    assert server.run("version").out == f"rolekeeper {__version__}\n"
    assert server.run("version", "--json").json == {"version": __version__}


def written_to(server: Server, where: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output leads somewhere else."""
    line = ["sh", "-c", f'"$@" {where}', "sh", *server.command(*arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=server.environment())
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [("check",), ("version",), ("--help",), ("status", "--json")], ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_error(server: Server, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = server.command(*arguments)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False, env=server.environment())
    assert b"Error" not in done.stderr
    assert done.returncode == server.run(*arguments).code


@pytest.mark.parametrize("verb", ["check", "version", "--help"])
def test_output_that_cannot_be_written_is_told(server: Server, verb: str) -> None:
    told = "rolekeeper: Cannot write to standard output: No space left on device\n"
    assert written_to(server, ">/dev/full", verb) == (74, told)


def test_no_standard_output_is_no_error(server: Server) -> None:
    assert written_to(server, ">&-", "version") == (0, "")


def test_a_question_that_cannot_be_seen_can_be_answered(node: Server) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        closed = ["sh", "-c", '"$@" >&-', "sh", *node.command("clear")]
        done = subprocess.run(closed, stdin=theirs, stderr=subprocess.PIPE, check=False, env=node.environment())
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
    assert node.vault().registration is not None


def is_served(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["for a shell", "as JSON"])
def test_an_emulator_serves_though_nobody_wants_to_know_where(server: Server, form: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *server.command("emulator", "--port", str(port), *form)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=server.environment()) as emulator:
        until(lambda: is_served(port), "the emulator")
        emulator.terminate()
        assert emulator.communicate()[1] == b""
    assert emulator.returncode == 0


@pytest.mark.parametrize("verb", sorted(CONFIGURED.keys() - {"run"}))
def test_who_listens_does_not_change_the_exit_code(server: Server, verb: str) -> None:
    more = {"adopt": ("--from", str(server.directory)), "wait": ("--timeout", "1ms")}.get(verb, CONFIGURED[verb])
    expected = server.process(verb, *more)
    for streams in ("2>/dev/full", "2>&-", ">&- 2>&-"):
        command = ["sh", "-c", f'"$@" {streams}', "sh", *server.command(verb, *more)]
        done = subprocess.run(
            command, input=b"", capture_output=True, timeout=LONGEST, check=False, env=server.environment()
        )
        assert done.returncode == expected.code
        assert done.stdout.decode() == ("" if ">&- " in streams else expected.out)


def test_a_file_of_the_daemons_never_takes_the_place_of_a_closed_stream(node: Server) -> None:
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *node.command("run")]
    with subprocess.Popen(command, env=node.environment()) as daemon:
        try:
            until(lambda: node.status_file().get("state") == "waiting", "the first token")
            assert {Path(f"/proc/{daemon.pid}/fd/{number}").readlink() for number in range(3)} == {Path(os.devnull)}
        finally:
            daemon.terminate()
    assert daemon.returncode == 0
    assert (node.runtime / "lock").read_text() == f"{daemon.pid}\n"


NAMED = {
    (): "the following arguments are required: VERB [argument-invalid]\n  hint: rolekeeper --help\n",
    ("stauts",): "invalid choice: 'stauts'",
    ("fingerprint", "threshold"): "hint: write threshold N, with 1 to 100 percent, or threshold off",
}


@pytest.mark.parametrize("arguments", NAMED, ids=" ".join)
def test_what_is_wrong_or_left_out_is_named(server: Server, arguments: tuple[str, ...]) -> None:
    assert NAMED[arguments] in server.run(*arguments).err


@pytest.mark.parametrize("error", ["MemoryError", "ImportError('failed to map segment')"])
def test_a_library_that_cannot_be_loaded_is_told_in_a_line(node: Server, error: str) -> None:
    (node.directory / "cryptography.py").write_text(f"raise {error}")
    said = node.process("attempt", env={"PYTHONPATH": str(node.directory)}, options=())
    assert (said.code, said.out) == (74, "")
    assert re.fullmatch(
        r"rolekeeper: Cannot run: (out of memory|failed to map segment) \[library-unusable\]\n  hint: .*\n", said.err
    )


def test_the_emulator_tells_the_same_to_a_shell_and_as_json(server: Server) -> None:
    told = {}
    for form in ([], ["--json"]):
        command = [COMMAND, "emulator", "--port", "0", "--state", str(server.directory / "state"), *form]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=server.environment()) as emulator:
            assert emulator.stdout is not None
            lines = [emulator.stdout.readline() for _ in range(7 if form else 5)]
            emulator.terminate()
        found = json.loads("".join(lines)) if form else dict(line.split(" ", 1)[1].strip().split("=") for line in lines)
        assert found.pop("AWS_ENDPOINT_URL").startswith("http://127.0.0.1:")
        told[len(form)] = found
    assert told[0] == told[1]
    assert set(told[0]) == {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
