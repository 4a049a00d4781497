"""`check`: the configuration beyond its text, that is policy files, users and groups, and the endpoint's socket."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.conftest import LONGEST, Said, Server

from rolekeeper.cli.endpointsocket import SOCKET
from rolekeeper.config.load import load

ROLE = '[[role]]\nname = "web"\narn = "arn:aws:iam::123456789012:role/web"\npolicy_file = "{}"\n'
POLICY = '{"Version": "2012-10-17", "Statement": []}'


@pytest.fixture
def policy(server: Server) -> Path:
    """The policy file of a configured role; there is none yet."""
    path = server.directory / "policy.json"
    server.configure(ROLE.format(path))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"Version: 2012-10-17", "is not a JSON object"),
        (b"[]", "is not a JSON object"),
        (b"\xff", "is not a JSON object"),
        (b"[" * 8_000, "is not a JSON object"),
        (b'{"a": "\\ud800"}', "is not a JSON object"),
        (f'{{"a": "{"ä" * 2_041}"}}'.encode(), "is longer than 2048 characters"),
        (b"{" + b" " * 70_000 + b"}", "is longer than 2048 characters"),
    ],
)
def test_a_policy_file_that_aws_would_refuse_is_an_error(
    server: Server, policy: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        policy.write_bytes(content)
    said = server.run("check")
    assert (said.code, said.out) == (78, "")
    assert f"{server.config}: role[0].policy_file: {policy} {message} (" in said.err


def test_a_policy_file_is_reported_together_with_all_other_problems(server: Server, policy: Path) -> None:
    server.configure(f"[refresh]\nat = 2\n{ROLE.format(policy)}")
    said = server.run("check", "--json")
    assert said.code == 78
    assert all(key in said.json["message"] for key in ("refresh.at: must be", "role[0].policy_file: "))


def test_a_daemon_starts_without_the_policy_file(server: Server, policy: Path) -> None:
    assert load(server.config).problems == ()
    assert load(server.config).settings.roles[0].policy_file == str(policy)


@pytest.mark.parametrize("start", [b"{", b"\xef\xbb\xbf{", b"{" + b" " * 9_000], ids=["plain", "BOM", "blanks"])
def test_a_policy_file_may_have_as_many_characters_as_aws_takes(server: Server, policy: Path, start: bytes) -> None:
    policy.write_bytes(start + f'"a": "{"ä" * 2_040}"}}'.encode())
    policy.chmod(0o640)
    said = server.run("check")
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize(("mode", "right"), [(0o644, "read"), (0o660, "change"), (0o606, "change")])
def test_a_policy_file_of_others_is_warned_of(server: Server, policy: Path, mode: int, right: str) -> None:
    policy.write_text(POLICY)
    policy.chmod(mode)
    said = server.run("check")
    assert said.code == 0
    assert f"{server.config}: role[0].policy_file: {policy} is a file that others may {right}\n  hint: " in said.err


ACCOUNTS = """
owner = "no-such-user"
[[endpoint]]
name = "web"
group = "no such group"
"""


def test_an_owner_or_group_that_does_not_exist_is_a_warning_with_key_and_value(server: Server) -> None:
    server.configure(output=ACCOUNTS)
    said = server.run("check")
    assert said.code == 0
    assert "[[endpoint]]" in said.out
    place = f"rolekeeper: warning: {server.config}:"
    assert f"{place} credentials_file[0].owner: there is no user 'no-such-user'\n  hint: create the user" in said.err
    assert f"{place} endpoint[0].group: there is no group 'no such group'\n  hint: create the group" in said.err
    document = server.run("check", "--json").json
    assert [(warning["file"], warning["key"]) for warning in document["warnings"]] == [
        (str(server.config), "credentials_file[0].owner"),
        (str(server.config), "endpoint[0].group"),
    ]
    assert document["endpoint"] == [{"name": "web", "owner": "", "group": "no such group", "role": ""}]


@pytest.mark.skipif(os.geteuid() != 0, reason="a user namespace of one user needs root here")
def test_a_number_that_the_user_namespace_does_not_map_is_a_warning(server: Server) -> None:
    server.configure(output="owner = 0\ngroup = 12345")
    command = ["unshare", "--user", "--map-root-user", *server.command("check")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=server.environment(), timeout=LONGEST
    )
    assert "credentials_file[0].group: this user namespace does not map group 12345\n  hint: add it to" in done.stderr
    assert "owner" not in done.stderr


def test_the_default_output_and_what_is_right_are_not_warned_of(server: Server) -> None:
    server.config.write_text("")
    assert server.run("check", "--json").json["warnings"] == []
    server.configure(output="owner = 0\ngroup = 12345")
    assert server.run("check").err == ""


def beside_systemd(server: Server, active: str, version: str = "252.39-1~deb12u1") -> Said:
    """`check --json` where systemd says that it has this version, and that the socket unit is in this state."""
    (server.directory / "bin").mkdir(exist_ok=True)
    systemctl = server.directory / "bin" / "systemctl"
    answers = f'"show {SOCKET}") echo ActiveState={active} ;; "show --property=Version") echo "Version={version}"'
    systemctl.write_text(f'#!/bin/sh\ncase "$1 $2" in {answers};; esac\n')
    systemctl.chmod(0o755)
    script = 'mount -t tmpfs run /run && mkdir -p /run/systemd/system && exec "$@"'
    own_run = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    environment = server.environment(PATH=f"{systemctl.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    done = subprocess.run(
        [*own_run, *server.command("check", "--json")],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=LONGEST,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_an_endpoint_without_its_socket_is_warned_of(server: Server) -> None:
    server.config.write_text('[[endpoint]]\nname = "a"\n[[endpoint]]\nname = "b"\n')
    said = beside_systemd(server, "inactive")
    assert [warning["key"] for warning in said.json["warnings"]] == ["endpoint[0]", "endpoint[1]"]
    assert said.err.count(f"nothing serves it: {SOCKET} is not active\n  hint: `systemctl enable --now {SOCKET}`") == 2
    assert beside_systemd(server, "active").json["warnings"] == []


def test_an_endpoint_beside_a_systemd_that_is_too_old_is_warned_of(server: Server) -> None:
    server.config.write_text('[[endpoint]]\nname = "a"\n')
    for active in ("active", "inactive"):
        (warning,) = beside_systemd(server, active, "247.3-7+deb11u6").json["warnings"]
        assert warning["message"].endswith(f"{SOCKET} takes systemd 250 or later, and this is systemd 247")
        assert "rolekeeper endpoint --address" in warning["hint"]


def test_the_socket_unit_has_no_part_in_endpoints_of_another_runtime_directory(server: Server) -> None:
    server.configure('[[endpoint]]\nname = "a"\n')
    assert beside_systemd(server, "inactive").json["warnings"] == []


FRAGMENT = '[[credentials_file]]\npath = "/srv/web/credentials"\nrole = "{}"\n'


@pytest.fixture
def fragment(server: Server) -> Path:
    """A new fragment that names a role of the main file, and the one in force, which is wrong."""
    server.configure('[[role]]\nname = "web"\narn = "arn:aws:iam::123456789012:role/web"\n')
    (server.directory / "conf.d").mkdir()
    (server.directory / "conf.d" / "50-web.toml").write_text("[node]\nregion = 5\n")
    new = server.directory / "new"
    new.write_text(FRAGMENT.format("web"))
    return new


def test_a_fragment_is_checked_with_the_rest_of_the_configuration_in_the_place_of_the_old_one(
    server: Server, fragment: Path
) -> None:
    assert server.run("check").code == 78
    said = server.run("check", "--fragment", f"50-web.toml={fragment}")
    assert (said.code, said.err) == (0, "")
    assert "/srv/web/credentials" in said.out
    beside = server.run("check", "--fragment", f"60-web.toml={fragment}")
    assert (beside.code, "node.region" in beside.err) == (78, True)


@pytest.mark.parametrize(
    ("text", "why"), [(FRAGMENT.format("wep"), "names no [[role]]: wep"), ("[", "is not valid TOML")]
)
def test_a_wrong_fragment_is_refused_under_the_name_that_it_is_to_have(
    server: Server, fragment: Path, text: str, why: str
) -> None:
    fragment.write_text(text)
    said = server.run("check", "--fragment", f"50-web.toml={fragment}")
    assert (said.code, said.out) == (78, "")
    assert f"{server.directory}/conf.d/50-web.toml" in said.err
    assert why in said.err


def test_a_fragment_that_is_missing_is_named(server: Server) -> None:
    said = server.run("check", "--fragment", "50-web.toml=/nonexistent")
    assert (said.code, "/nonexistent: cannot be read" in said.err) == (78, True)


@pytest.mark.parametrize(
    "written", ["50-web.toml", "50-web.toml=", "50-web.conf=/new", "../web.toml=/new", ".a.toml=/new"]
)
def test_a_fragment_that_would_not_be_read_is_no_fragment(server: Server, written: str) -> None:
    said = server.run("check", "--fragment", written)
    assert (said.code, "NAME=FILE" in said.err) == (64, True)
