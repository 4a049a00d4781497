"""`register` and `clear`: where the code comes from, what is printed, and what is asked."""

import os
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import LONGEST, Server

from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory
from rolekeeper.model import VaultContents

REGISTER = "RegisterManagedInstance"
TOKEN = "RequestManagedInstanceRoleToken"
UUID = "12345678-1234-1234-1234-123456789012"
ON_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A person at a terminal: reads what a command asks, and types answers."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.ours, theirs = os.openpty()
        settings = termios.tcgetattr(theirs)
        settings[3] |= termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *server.command(*arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=server.environment(PYTHONIOENCODING="utf-8"),  # strict, unlike in the locale C
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, words: str) -> None:
        while words not in self.seen:
            self.seen += os.read(self.ours, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode(errors="surrogateescape"))

    def end(self) -> int:
        try:
            while chunk := os.read(self.ours, 4096):
                self.seen += chunk.decode(errors="replace")
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(self.ours)
        return self.process.wait(LONGEST)


@pytest.fixture
def activated(server: Server) -> Iterator[Server]:
    """A server that was given an activation; its code is printed nowhere, whatever happens."""
    server.activation = server.emulator.create_activation()
    yield server
    assert server.activation.code not in "".join(server.heard)


def code(server: Server) -> str:
    assert server.activation is not None
    return server.activation.code


def code_file(server: Server, name: str = "code", *, beginning: str = "", ending: str = "\n") -> Path:
    path = server.directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(beginning + code(server) + ending)
    return path


def registered(server: Server) -> str:
    registration = server.vault().registration
    assert registration is not None
    return registration.node_id


def test_the_code_comes_from_a_file(activated: Server) -> None:
    said = activated.run(*activated.registration(), "--activation-code-file", str(code_file(activated)))
    node_id = registered(activated)
    assert (said.code, said.out) == (0, f"Registered as {node_id} in us-east-1.\n")
    assert node_id in activated.emulator.nodes
    assert "no daemon runs" in said.err


@pytest.mark.parametrize(("beginning", "ending"), [("", ""), ("\ufeff", "\r\n")], ids=repr)
def test_the_code_comes_from_standard_input(activated: Server, beginning: str, ending: str) -> None:
    said = activated.run(*activated.registration(), "--json", stdin=beginning + code(activated) + ending)
    assert said.code == 0
    assert said.json == {"node_id": registered(activated), "region": "us-east-1"}


def test_the_code_comes_from_the_systemd_credential(activated: Server) -> None:
    path = code_file(activated, "credentials.d/activation-code", beginning="\ufeff", ending="\r\n")
    said = activated.run(*activated.registration(), env={"CREDENTIALS_DIRECTORY": str(path.parent)})
    assert said.code == 0
    assert registered(activated)


def test_the_code_comes_from_a_prompt_that_does_not_show_it(activated: Server) -> None:
    terminal = Terminal(activated, *activated.registration())
    terminal.read_until("Activation code: ")
    terminal.type(code(activated) + "\n")
    assert terminal.end() == 0
    assert code(activated) not in terminal.seen
    assert f"Registered as {registered(activated)}" in terminal.seen


@pytest.mark.parametrize("answer", ["\x04", "\udcff" * 20 + "\n"], ids=ascii)
def test_no_answer_to_the_prompt_and_no_text_are_no_code(activated: Server, answer: str) -> None:
    terminal = Terminal(activated, *activated.registration())
    terminal.read_until("Activation code: ")
    terminal.type(answer)
    assert terminal.end() == 64
    assert "Traceback" not in terminal.seen


def test_an_unattended_registration_reads_the_file_that_the_configuration_names(activated: Server) -> None:
    activated.configure_activation()
    said = activated.run("attempt")
    assert (said.code, said.json["outcome"]) == (0, "issued")
    assert registered(activated) in activated.emulator.nodes


def test_an_unattended_registration_without_a_code_says_that_it_is_missing(activated: Server) -> None:
    assert activated.activation is not None
    activated.configure(f'[node]\nregion = "us-east-1"\nactivation_id = "{activated.activation.activation_id}"\n')
    said = activated.run("attempt")
    assert (said.code, said.json["outcome"]) == (77, "unregistered")
    assert "no activation code to register with" in said.json["message"]
    assert "node.activation_code_file" in said.json["hint"]


@pytest.mark.parametrize("wrong", ["", "with a blank in the middle of it", "ä" * 20])
def test_what_is_no_code_is_told_without_showing_it(server: Server, wrong: str) -> None:
    server.activation = server.emulator.create_activation()
    said = server.run(*server.registration(), stdin=wrong + "\n")
    assert (said.code, said.out) == (64, "")
    assert "20 to 250 characters" in said.err
    assert not wrong or wrong not in said.err


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("--activation-id", "nonsense"),
        ("--activation-id", "12345678-1234-1234-1234-1234567890AB"),
        ("--region", "the moon"),
        ("--region", "fips-us-east-1"),
    ],
)
def test_an_activation_id_or_a_region_of_another_form_is_told(activated: Server, option: str, wrong: str) -> None:
    said = activated.run(*activated.registration(), option, wrong, stdin=code(activated))
    assert (said.code, said.out) == (64, "")
    assert f"The value of {option} is not valid [argument-invalid]\n  hint: " in said.err
    assert wrong not in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("register ID REGION --activation-code CODE", "unrecognized arguments: --activation-code ***"),
        (
            "register ID REGION --activation-code=CODE",
            "arguments: --activation-code [argument-invalid]\n  hint: the activation code comes from a file, standard",
        ),
        ("register ID REGION CODE", "unrecognized arguments: ***"),
        ("register ID REGION -CODE", "unrecognized arguments: ***"),
        ("register ID REGION --force=CODE", "argument --force: ignored explicit argument ***"),
        ("register --activation-id CODE REGION", "The value of --activation-id is not valid"),
        ("register ID --region CODE", "The value of --region is not valid"),
        ("register ID REGION --activation-code-file CODE", "the file of --activation-code-file: No such file"),
        ("attempt --activation-code CODE", "unrecognized arguments: --activation-code ***"),
        ("--activation-code CODE register ID REGION", "argument VERB: invalid choice: ***"),
        ("CODE", "argument VERB: invalid choice: ***"),
    ],
)
def test_a_code_on_the_command_line_is_not_repeated(activated: Server, arguments: str, told: str) -> None:
    _, *activation = activated.registration()
    words = arguments.replace("ID", " ".join(activation[:2])).replace("REGION", " ".join(activation[2:]))
    said = activated.run(*words.replace("CODE", code(activated)).split())
    assert (said.code, said.out) == (74 if "-file" in arguments else 64, "")
    assert told in said.err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape", "latin-1"])
def test_bytes_that_are_no_text_are_no_code_in_any_locale(activated: Server, encoding: str) -> None:
    done = subprocess.run(
        activated.command(*activated.registration()),
        input=b"\xff\xfe01234567890123456789\n",
        env=activated.environment(PYTHONIOENCODING=encoding),
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    assert (done.returncode, done.stdout) == (64, b"")
    assert b"20 to 250 characters" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("\n", "the file is empty"),
        ("ä" * 20, "it is not ASCII text"),
    ],
)
def test_a_code_file_that_cannot_be_read_is_told_alike_with_and_without_a_person(
    activated: Server, content: str | None, reason: str
) -> None:
    activated.configure_activation()
    path = activated.directory / "code"
    path.unlink() if content is None else path.write_text(content)
    by_hand = activated.run(*activated.registration(), "--activation-code-file", str(path))
    assert (by_hand.code, by_hand.out) == (74, "")
    assert f"Cannot read the activation code from the file of --activation-code-file: {reason}" in by_hand.err
    alone = activated.run("attempt")
    assert (alone.code, alone.json["outcome"]) == (74, "vault-unreadable")
    assert alone.json["message"] == f"Cannot read the activation code from {path}: {reason}"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [("InvalidActivation", 77), ("RegistrationLimitExceeded", 77), ("InternalServerError", 69)],
)
def test_a_registration_that_came_to_nothing_is_told_with_a_hint(activated: Server, error: str, exit_code: int) -> None:
    activated.emulator.fail(REGISTER, error=error, message=f"{code(activated)} will not do")
    said = activated.run(*activated.registration(), stdin=code(activated))
    assert (said.code, said.out) == (exit_code, "")
    assert f"Cannot register this machine in us-east-1: {error}: *** will not do" in said.err
    assert "  hint: " in said.err
    assert activated.vault().registration is None


def test_a_registered_server_is_registered_again_only_by_force(node: Server) -> None:
    first = registered(node)
    node.activation = node.emulator.create_activation()
    refused = node.run(*node.registration(), stdin=node.activation.code)
    assert (refused.code, refused.out) == (77, "")
    assert "register --force" in refused.err
    assert registered(node) == first
    assert node.run(*node.registration(), "--force", stdin=node.activation.code).code == 0
    assert registered(node) != first


@pytest.mark.parametrize("error", ["InvalidSignature", "MachineFingerprintDoesNotMatch", "InvalidInstanceId"])
def test_a_server_that_is_refused_is_registered_again_by_the_command_of_the_hint(node: Server, error: str) -> None:
    node.emulator.fail(TOKEN, error=error)
    (command,) = re.findall(r"`rolekeeper (register [^`]+)`", node.run("attempt").json["hint"])
    node.activation = node.emulator.create_activation()
    verb, *options = node.registration()
    said = node.run(*command.split(), *options, stdin=node.activation.code)
    assert (verb, said.code) == (command.split()[0], 0), said.err


def test_clear_asks_and_a_yes_forgets_the_registration(node: Server) -> None:
    terminal = Terminal(node, "clear")
    terminal.read_until(f"Forget the registration in {node.directory}/vault? This cannot be undone. [y/N] ")
    terminal.type("y\n")
    assert terminal.end() == 0
    assert "Forgot the registration" in terminal.seen
    assert node.vault() == VaultContents()


@pytest.mark.parametrize("answer", ["\n", "yesterday\n", "\x04", "\udcff\n"], ids=ascii)
def test_clear_takes_anything_but_a_yes_for_a_no(node: Server, answer: str) -> None:
    terminal = Terminal(node, "clear")
    terminal.read_until("[y/N] ")
    terminal.type(answer)
    assert terminal.end() == 0
    assert "Nothing was changed." in terminal.seen
    assert "Traceback" not in terminal.seen
    assert registered(node) == node.node_id


def test_clear_does_not_ask_a_script(node: Server) -> None:
    said = node.run("clear", stdin="y\n")
    assert (said.code, said.out) == (64, "")
    assert "clear --yes" in said.err
    assert registered(node) == node.node_id
    assert node.run("clear", "--yes").code == 0
    assert node.vault() == VaultContents()


def test_clear_leaves_no_key_behind(node: Server) -> None:
    keys = [secret.encode() for secret in node.secrets()]
    node.run("attempt")
    node.run("clear", "--yes")
    left = b"".join(path.read_bytes() for path in (node.directory / "vault").rglob("*") if path.is_file())
    assert not any(key in left for key in keys)


def test_clear_forgets_a_registration_that_cannot_be_read(node: Server) -> None:
    (node.directory / "vault" / "vault.json").write_bytes(b"")
    assert node.run("attempt").code == 74
    assert node.run("clear", "--yes").code == 0
    assert node.run("attempt").json["outcome"] == "unregistered"


def test_clear_is_refused_while_the_daemon_would_register_anew(node: Server) -> None:
    node.configure('[node]\nregion = "us-east-1"\nactivation_id = "12345678-1234-1234-1234-123456789012"')
    daemon = FileRuntimeDirectory(os.getpid())
    daemon.claim(str(node.runtime))
    said = node.run("clear", "--yes")
    assert (said.code, said.out) == (77, "")
    assert "systemctl stop rolekeeper" in said.err
    assert registered(node) == node.node_id


@pytest.mark.parametrize("verb", [("clear",), ("register", "--activation-id", UUID, "--region", "us-east-1")])
def test_a_closed_standard_input_is_a_wrong_command_line(server: Server, verb: tuple[str, ...]) -> None:
    closed = ["/bin/sh", "-c", '"$@" <&-', "sh", *server.command(*verb)]
    done = subprocess.run(closed, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr
