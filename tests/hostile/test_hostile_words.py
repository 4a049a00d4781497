"""Names and texts chosen to break a line, a terminal, a message's length or a parser's patience."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Said, Server
from tests.sinks import file_sink

from rolekeeper.errors import OutputError
from rolekeeper.settings import CredentialsFile

UGLY = "a\nb\x1b[31m\x85\u2028c"
LONG = "n" * 300_000
# With these the pattern of configparser, botocore's parser too, would be at work for hours.
PATIENCE = {"one key": f"[o]\na{' ' * 500_000}b = 1\n", "many keys": "[o]\n" + f"a{' ' * 3_000}b = 1\n" * 300}
REPEATS = {
    "sections": f"[{LONG}]\n[{LONG}]\n",
    "keys": f"[{LONG}]\nx = 1\nx = 2\n",
    "blanks": f"[ default ]\n[{LONG} ]\n",
    "ugly": "[a\x1b[31m\x85b]\n[a\x1b[31m\x85b]\n",
}


def refused(text: str, path: Path) -> OutputError:
    path.write_text(text)
    output = CredentialsFile(
        str(path), "default", 0o600, keep_mode=True, owner=None, group=None, replace_long_lived_keys=False
    )
    with pytest.raises(OutputError) as caught:
        file_sink(lambda _: None).prepare(output)
    assert path.read_text() == text
    return caught.value


@pytest.mark.parametrize("text", PATIENCE.values(), ids=PATIENCE)
def test_a_key_with_blanks_without_end_is_refused_before_a_slow_parser_sees_it(text: str, tmp_path: Path) -> None:
    assert "line 2 has a key of more than 128 characters" in refused(text, tmp_path / "credentials").message


@pytest.mark.parametrize("text", REPEATS.values(), ids=REPEATS)
def test_a_name_in_the_file_makes_no_message_long_or_ugly(text: str, tmp_path: Path) -> None:
    error = refused(text, tmp_path / "credentials")
    assert len(error.message) < 300 + len(str(tmp_path))
    assert error.message.isprintable()
    assert error.message == str(error)


def told(said: Said) -> list[str]:
    """What it said on standard error: every line of it printable."""
    lines = said.err.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines), said.err
    return lines


def ugly_fragment(server: Server) -> Said:
    (server.directory / "conf.d").mkdir()
    (server.directory / "conf.d" / f"{UGLY}.toml").write_text("[node\n")
    return server.run("check")


def ugly_key(server: Server) -> Said:
    server.config.write_text('"a\\nb\\u0085" = 1\n[service]\n"\\u001b" = 2\n')
    return server.run("check")


NAMED: dict[str, Callable[[Server], Said]] = {
    "configuration": lambda server: server.run("--config", f"/{UGLY}" + os.fsdecode(b"\xff"), "check"),
    "fragment": ugly_fragment,
    "key": ugly_key,
    "vault of an agent": lambda server: server.run("adopt", "--from", f"/{UGLY}"),
    "code": lambda server: server.run(*server.registration(), "--activation-code-file", f"/{UGLY}"),
    "file": lambda server: server.run("credential-process", "--file", f"/{UGLY}"),
    "profile": lambda server: server.run("credential-process", "--file", str(server.config), "--profile", UGLY),
}


@pytest.mark.parametrize("act", NAMED.values(), ids=NAMED)
def test_whatever_a_name_holds_a_message_stays_on_its_line(node: Server, act: Callable[[Server], Said]) -> None:
    said = act(node)
    assert said.code in (64, 74, 78)
    assert len(told(said)) <= 3


@pytest.mark.parametrize("order", ["garbage\n", "[" * 5000 + "\n", '{"settings": 1, "reload": 1}\n'])
def test_an_attempt_takes_no_order_that_no_daemon_gives(node: Server, order: str) -> None:
    said = node.process("attempt", "--supervised", stdin=order)
    assert (said.code, said.out, said.err) == (76, "", "")
