"""What `status`, `wait` and `attempt` say of outputs: what each holds now, and what one has to do with another."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.configloader import raw_config_parse
from tests.conftest import COMMAND, LONGEST, Said, Server, memory
from tests.daemonprocess.conftest import TOKEN, Start, published, start, until

from rolekeeper import __version__, compose

__all__ = ["start"]  # the fixture

OTHER = "[default]\naws_access_key_id = ASIAOTHER\naws_secret_access_key = theirs\naws_session_token = theirs\n"
GONE: dict[str, tuple[Callable[[Path], Any], str]] = {  # what happened to the file, and what it then counts as
    "deleted": (Path.unlink, "absent"),
    "emptied": (lambda path: path.write_text(""), "absent"),
    "overwritten by another program": (lambda path: path.write_text(OTHER), "held-by-another"),
}


def second_output(node: Server) -> Path:
    return node.directory / "second" / "credentials"


def with_two_outputs(node: Server, **tables: str) -> Path:
    """Configure a second output; its path."""
    second = second_output(node)
    node.configure(f'[[credentials_file]]\npath = "{second}"\n', **tables)
    return second


@contextmanager
def waiting(node: Server, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`wait` as a process of its own."""
    command = node.command("wait", *arguments)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=node.environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def test_refresh_names_every_output_that_has_a_problem_with_what_to_do(node: Server, start: Start) -> None:
    paths = [node.directory / name for name in ("garbled", "directory", "outranked")]
    paths[0].write_text("[default\n")
    paths[1].mkdir()
    paths[2].write_text("[default]\nsso_session = work\n")
    node.configure("".join(f'[[credentials_file]]\npath = "{path}"\n' for path in paths))
    start(node).until_state("backing-off")
    said = node.run("refresh")
    assert (said.code, said.out) == (74, "")
    for path, code in zip(paths, ("unparsable-file", "not-a-file", "keys-outranked"), strict=True):
        (_,) = (line for line in said.err.splitlines() if f" {path}" in line and f"[{code}]" in line)
    assert said.err.count("\n  hint: ") == len(paths)
    paths[0].unlink()
    paths[1].rmdir()
    said = node.run("refresh")
    assert (said.code, said.out) == (0, "Refreshed.\n")
    assert said.err.count("rolekeeper: ") == 1
    assert node.run("status").code == 1
    assert "[keys-outranked]\n  hint: remove these settings" in said.err


def without_secret(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "secret" not in line))


MISSING: dict[str, tuple[str, Callable[[Server], Any]]] = {  # an output, and what of it is missing
    "the document of an endpoint": ("endpoint", lambda node: (node.runtime / "endpoint" / "app").unlink()),
    "the token of an endpoint": ("endpoint", lambda node: (node.runtime / "token" / "app").unlink()),
    "the profile that leads to a process file": (
        'format = "process"',
        lambda node: node.output.with_name("credentials.profile").unlink(),
    ),
    "what stands in that profile": (
        'format = "process"',
        lambda node: node.output.with_name("credentials.profile").write_text(""),
    ),
    "a process file": ('format = "process"', lambda node: node.output.unlink()),
    "the secret key": ("", lambda node: without_secret(node.output)),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_programs_cannot_use_any_more_is_said_at_once_and_published_again(
    node: Server, start: Start, case: str
) -> None:
    output, removes = MISSING[case]
    if output == "endpoint":
        node.configure('[[endpoint]]\nname = "app"\n')
    else:
        node.configure(output=output)
    start(node).until_state("waiting")
    assert node.run("status").code == 0
    removes(node)
    said = node.run("status")
    assert said.code == 2
    assert "are absent\n  hint: `rolekeeper refresh` publishes there again" in said.err
    assert node.run("wait", "--timeout", "1ms").code == 69
    assert node.run("refresh").code == 0
    assert node.run("status").code == 0


@pytest.mark.parametrize("case", GONE)
def test_credentials_that_are_gone_are_not_fresh_and_are_waited_for(node: Server, start: Start, case: str) -> None:
    happens, freshness = GONE[case]
    start(node).until_state("waiting")
    node.emulator.fail(TOKEN, error="InternalServerError", times=None)
    happens(node.output)
    for outcome in ("issued", "failed"):  # before an attempt has looked, and after one that saw it and got no token
        said = node.run("status", "--json")
        assert (said.code, said.json["freshness"], said.json["outputs"][0]["freshness"]) == (2, freshness, freshness)
        assert said.json["last_outcome"]["outcome"] == outcome
        assert node.run("wait", "--timeout", "1ms").code == 69
        assert node.run("refresh").code == 69
    assert node.status_file()["freshness"] == freshness
    with waiting(node) as process:
        node.emulator.clear_faults()
        node.run("refresh")
        assert process.wait(LONGEST) == 0
    assert published(node) == node.tokens()[-1].access_key_id


def test_what_another_registration_left_behind_is_not_called_another_programs(node: Server) -> None:
    """`clear` takes our expiry away, so what stays looks like the keys of SSM Agent."""
    node.run("attempt")
    node.run("clear", "--yes")
    node.register()
    assert node.run("attempt").err == ""
    node.output.write_text(OTHER)
    assert f"Another program writes to {node.output}" in node.run("attempt").err


def test_an_output_that_was_never_published_is_waited_for_in_vain(node: Server, start: Start) -> None:
    second = with_two_outputs(node)
    second.mkdir(parents=True)
    start(node).until_state("backing-off")
    said = node.run("wait", "--timeout", "300ms")
    assert (said.code, said.out) == (69, "")
    assert f"No fresh credentials within 300ms: {second} is " in said.err
    assert node.run("wait", "--file", str(node.output), "--timeout", "1ms").code == 0
    assert node.run("wait", "--file", str(second), "--timeout", "1ms").code == 69
    shown = node.run("status", "--json")
    first, other = shown.json["outputs"]
    assert shown.code == 2
    assert (first["freshness"], first["problem"], first["access_key_id"]) == ("fresh", None, published(node))
    assert (other["published_at"], other["problem"]["code"]) == (None, "not-a-file")
    assert other["problem"]["hint"] in shown.err


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """The lock of an output, held as by another process of ours."""
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = output.with_name(f".{output.name}.rolekeeper-lock")
    with lock.open("w") as file:
        lock.chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("which", ["the first", "the second"])
def test_an_output_that_is_locked_starves_no_other_however_short_the_attempt(node: Server, which: str) -> None:
    second = with_two_outputs(node, daemon='attempt_timeout = "2s"')
    held, free = (node.output, second) if which == "the first" else (second, node.output)
    with locked(held):
        said = node.run("attempt")
    assert (said.code, said.json["outcome"], said.json["code"]) == (74, "unpublished", "locked")
    assert said.json["published"] == [str(free)]
    assert raw_config_parse(str(free))["default"]["aws_access_key_id"] == node.tokens()[-1].access_key_id
    assert not held.exists()
    assert node.run("attempt").code == 0
    assert len(node.tokens()) == 1


def test_under_the_daemon_a_locked_output_is_a_problem_of_its_own_and_the_others_are_fresh(
    node: Server, start: Start
) -> None:
    second = with_two_outputs(node, daemon='attempt_timeout = "2s"')
    with locked(node.output):
        daemon = start(node)
        assert node.run("wait", "--file", str(second)).code == 0
        first, other = daemon.until_state("backing-off")["outputs"]
        assert (first["freshness"], first["problem"]["code"]) == ("absent", "locked")
        assert (other["freshness"], other["problem"]) == ("fresh", None)
    assert node.run("wait").code == 0
    assert len(node.tokens()) == 1


def test_a_group_that_does_not_exist_is_a_problem_of_its_own_output_and_the_others_are_published(
    node: Server,
) -> None:
    second = with_two_outputs(node, output='group = "no such group"')
    said = node.run("attempt")
    assert (said.json["outcome"], said.json["code"]) == ("unpublished", "unknown-group")
    assert raw_config_parse(str(second))["default"]["aws_access_key_id"]
    assert not node.output.exists()


def with_roles(node: Server, *names: str, **tables: str) -> None:
    """Create and configure roles, and an output for each."""
    for name in names:
        node.emulator.create_role(name)
    node.configure(
        "".join(
            f'[[role]]\nname = "{name}"\narn = "arn:aws:iam::{node.emulator.account_id}:role/{name}"\n'
            f'[[credentials_file]]\npath = "{node.directory}/{name}"\nrole = "{name}"\n'
            for name in names
        ),
        **tables,
    )


def test_roles_that_hang_take_half_of_the_attempt_and_no_output_of_another_role_loses_anything(
    node: Server, start: Start
) -> None:
    endpoint = f'sts_endpoint_url = "{node.emulator.url}"\nread_timeout = "30s"'
    with_roles(node, "web", "db", "backup", daemon='attempt_timeout = "8s"', service=endpoint)
    node.emulator.fail("AssumeRole", hang=True, times=None)
    start(node)
    assert node.run("wait", "--file", str(node.output)).code == 0
    until(lambda: node.status_file()["last_outcome"], "an outcome")
    outputs = {Path(one["path"]).name: one for one in node.status_file()["outputs"]}
    codes = {name: one["problem"] and one["problem"]["code"] for name, one in outputs.items()}
    assert codes == {"credentials": None, "web": "timeout", "db": "timeout", "backup": "deadline"}
    assert (outputs["credentials"]["freshness"], outputs["web"]["freshness"]) == ("fresh", "absent")
    node.emulator.clear_faults()
    assert node.run("wait").code == 0
    assert len([token for token in node.tokens() if not token.assumed]) == 1  # the vault has recorded it


PASSWORD = "proxy-s3cret"


def through_a_proxy(node: Server) -> None:
    """A proxy that wants a password, on a port where nothing listens."""
    node.configure(service=f'proxy_url = "http://user:{PASSWORD}@127.0.0.1:1"', daemon='log_level = "debug"')


def test_the_password_of_a_proxy_is_in_no_status_no_log_and_not_in_the_daemon(node: Server, start: Start) -> None:
    through_a_proxy(node)
    daemon = start(node)
    daemon.until_state("backing-off")
    for verb in ("status", "refresh", "attempt", "check"):
        node.run(verb)
        node.run(verb, "--json")
    heard = "".join(node.heard)
    assert "[proxy-failed]" in heard  # so the proxy was asked
    told = [heard, (node.runtime / "status.json").read_text(), daemon.log_file.read_text()]
    assert not any(PASSWORD in text for text in told)
    seen = memory(Path(f"/proc/{daemon.pid}"))
    assert str(node.output).encode() in seen  # so that we know where we look
    assert PASSWORD.encode() not in seen


def test_the_password_of_a_proxy_is_in_neither_pipe_and_in_no_repr(node: Server) -> None:
    through_a_proxy(node)
    order = {"version": __version__, "digest": None, "reload": True, "reuse": True}
    kept = os.memfd_create("settings")
    command = [COMMAND, "--config", str(node.config), "attempt", "--supervised"]
    said = Said(*under_a_supervisor(command, json.dumps(order) + "\ngo\n", kept, node.environment()))
    assert said.code == 0, said.err
    words = [json.loads(line) for line in said.out.splitlines()]
    assert [next(iter(word)) for word in words] == ["settings", "found", "report"]
    assert PASSWORD not in said.out + said.err
    assert PASSWORD.encode() in os.pread(kept, 1 << 16, 0)  # for the next attempt, which is to use the proxy too
    os.close(kept)
    settings = compose.settings(str(node.config))
    assert PASSWORD in str(settings.service.proxy_url)
    assert PASSWORD not in repr(settings)


def under_a_supervisor(
    command: list[str], order: str, settings: int, environment: dict[str, str]
) -> tuple[int, str, str]:
    """Run an attempt as the supervisor does: with an order, and with the settings in force as descriptor 3."""
    shell = ["/bin/sh", "-c", f'exec "$@" 3<>/proc/self/fd/{settings}', "sh", *command]
    done = subprocess.run(
        shell,
        input=order,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        env=environment,
        pass_fds=(settings,),
    )
    return done.returncode, done.stdout, done.stderr
