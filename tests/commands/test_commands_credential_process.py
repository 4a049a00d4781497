"""`credential-process`: what SDKs start, used by a real one, and what it must not load."""

import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session
from tests.conftest import COMMAND, LONGEST, Server
from tests.daemonprocess.conftest import daemons, until

from rolekeeper.emulator import Emulator

KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "x_security_token_expires")
HEAVY = {
    "argparse",
    "getpass",
    "subprocess",
    "importlib.metadata",
    "tomllib",
    "botocore",
    "boto3",
    "pathlib",
    "typing",
    "structlog",
    "pydantic",
    "logging",
    "json",
    "re",
    "enum",
    "contextlib",
}


def credential_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As an SDK starts it: without a configuration, and with hardly an environment."""
    command = [COMMAND, "credential-process", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False, env={"PATH": "/bin"})


def publish(path: Path, *, profile: str = "default", expires: str = "", leave_out: str = "") -> None:
    lines = {
        "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_session_token": "IQoJb3JpZ2luX2Vj//token==",
        "x_security_token_expires": expires or (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    text = "".join(f"{name} = {value}\n" for name, value in lines.items() if name != leave_out)
    path.write_text(f"[other]\nregion = x\n\n[{profile}]\n{text}")


def test_a_real_sdk_uses_what_it_prints(node: Server) -> None:
    assert node.run("attempt").code == 0
    config = node.directory / "config"
    config.write_text(
        f"[profile rack]\ncredential_process = {COMMAND} credential-process --file {node.output}\nregion = us-east-1\n"
    )
    session = Session(profile="rack")
    session.set_config_variable("config_file", str(config))
    session.set_config_variable("credentials_file", os.devnull)
    caller = session.create_client("sts", endpoint_url=node.emulator.url).get_caller_identity()
    assert caller["Arn"] == f"arn:aws:sts::{node.emulator.account_id}:assumed-role/rolekeeper/{node.node_id}"
    credentials: Any = session.get_credentials()
    assert credentials.get_frozen_credentials().access_key == node.tokens()[-1].access_key_id
    assert not credentials.refresh_needed(refresh_in=0)


def test_it_prints_the_sdks_json_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path / "credentials", expires="2199-11-23T16:46:21Z")
    said = credential_process("--file", str(tmp_path / "credentials"))
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout) == {
        "Version": 1,
        "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "SessionToken": "IQoJb3JpZ2luX2Vj//token==",
        "Expiration": "2199-11-23T16:46:21Z",
    }


def test_another_profile_is_named(tmp_path: Path) -> None:
    publish(tmp_path / "credentials", profile="web server")
    assert credential_process("--profile", "web server", "--file", str(tmp_path / "credentials")).returncode == 0


REFUSALS: dict[str, tuple[dict[str, str], tuple[str, ...], int, str]] = {  # what is published, options, code and words
    "expired": ({"expires": "2020-01-01T00:00:00Z"}, (), 69, "expired at 2020-01-01T00:00:00Z"),
    "an expiry that is no time": ({"expires": "tomorrow"}, (), 74, "'tomorrow' is no time"),
    "another profile": ({"profile": "web"}, (), 74, "No credentials of rolekeeper in "),
    "an empty profile": ({}, ("--profile", ""), 64, "is empty"),  # as of a variable that is not set
    "an empty file": ({}, ("--file", ""), 64, "is empty"),
    **{f"no {key}": ({"leave_out": key}, (), 74, f"{key} is missing") for key in KEYS},
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_handed_out_is_told_without_a_secret(tmp_path: Path, case: str) -> None:
    published, options, code, words = REFUSALS[case]
    publish(tmp_path / "credentials", **published)
    said = credential_process("--file", str(tmp_path / "credentials"), *options)
    assert (said.returncode, said.stdout) == (code, "")
    assert words in said.stderr
    assert not any(secret in said.stderr for secret in ("wJalr", "IQoJ"))


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path, Path("/proc/self/mem")):
        said = credential_process("--file", str(path))
        assert (said.returncode, said.stdout) == (74, "")
        assert f"Cannot read {path}: " in said.stderr
        assert "Traceback" not in said.stderr


def test_without_a_file_and_a_daemon_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    said = beside_a_daemon(tmp_path)  # which has written nothing
    assert (said.returncode, said.stdout) == (69, "")
    assert "name the file with --file" in said.stderr


def beside_a_daemon(runtime: Path, *arguments: str, before: str = "true") -> subprocess.CompletedProcess[str]:
    """As on a machine whose daemon wrote these files, in a mount namespace of its own."""
    script = f'mount -t tmpfs run /run && cp -r "$1" /run/rolekeeper && shift && {before} && exec "$@"'
    own_run = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(runtime)]
    command = [*own_run, COMMAND, "credential-process", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)


def test_without_a_file_it_prints_the_first_output_that_the_daemon_names(node: Server) -> None:
    other = node.directory / "other"
    node.configure(f'[[credentials_file]]\npath = "{other}"\nprofile = "rack"\n')
    with daemons() as start:
        start(node).until_state("waiting")
    first, rack = (beside_a_daemon(node.runtime, *more) for more in ((), ("--profile", "rack")))
    assert json.loads(first.stdout) == json.loads(rack.stdout)
    assert json.loads(first.stdout)["AccessKeyId"] == node.tokens()[-1].access_key_id
    other.unlink()
    assert beside_a_daemon(node.runtime).returncode == 0
    assert str(other) in beside_a_daemon(node.runtime, "--profile", "rack").stderr
    assert beside_a_daemon(node.runtime, "--profile", "nobody's").returncode == 74


def test_an_expiry_that_another_program_kept_beside_its_own_keys_does_not_count(node: Server) -> None:
    """Whether the daemon is still there, or went with the last boot, or its registration was cleared."""
    with daemons() as start:
        start(node).until_state("waiting")
    key = node.tokens()[-1].access_key_id
    text = node.output.read_text().replace(f"aws_access_key_id = {key}", "aws_access_key_id = ASIAOTHEROTHEROTHERO")
    expiry = text.partition("x_security_token_expires = ")[2].split()[0]
    node.output.write_text(text.replace(expiry, "2020-01-01T00:00:00Z"))
    link = node.directory / "link"
    link.symlink_to(node.output.parent)
    is_handed_out_for_a_while(node, node.output)
    is_handed_out_for_a_while(node, link / node.output.name)
    (node.runtime / "status.json").unlink()
    is_handed_out_for_a_while(node, node.output)
    node.run("clear", "--yes")
    assert "x_security_token_expires" not in node.output.read_text()
    is_handed_out_for_a_while(node, node.output)


def is_handed_out_for_a_while(node: Server, path: Path) -> None:
    said = beside_a_daemon(node.runtime, "--file", str(path))
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    left = datetime.fromisoformat(answer["Expiration"]) - datetime.now(UTC)
    assert answer["AccessKeyId"] == "ASIAOTHEROTHEROTHERO"
    assert timedelta(minutes=10) < left <= timedelta(minutes=15)


def test_credentials_of_a_registration_that_was_cleared_are_not_handed_out(node: Server) -> None:
    """They are still in the file, and nothing tells until when they are good."""
    assert node.run("attempt").code == 0
    assert node.run("clear", "--yes").code == 0
    said = credential_process("--file", str(node.output))
    assert (said.returncode, said.stdout) == (74, "")
    assert "x_security_token_expires is missing" in said.stderr


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_services_clock_judges_however_wrong_the_wall_clock_is(tmp_path: Path, hours: int) -> None:
    with Emulator() as emulator:
        emulator.offset = timedelta(hours=hours)
        node = Server(tmp_path, emulator)
        node.register()
        with daemons() as start:
            start(node).until_state("waiting")
    said = beside_a_daemon(node.runtime)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["AccessKeyId"] == node.tokens()[-1].access_key_id


def test_a_wall_clock_that_was_set_back_revives_no_credentials(node: Server) -> None:
    with daemons() as start:
        start(node).until_state("waiting")
    assert beside_a_daemon(node.runtime).returncode == 0
    an_hour_passes(node)
    said = beside_a_daemon(node.runtime)
    assert (said.returncode, said.stdout) == (69, "")
    assert "expired at" in said.stderr


@pytest.mark.parametrize("changes", [{"boot_id": "another"}, {"life": None}, {"life": []}, {"life": {}}], ids=repr)
def test_a_status_that_tells_no_age_leaves_the_expiry_to_the_wall_clock(node: Server, changes: dict[str, Any]) -> None:
    with daemons() as start:
        start(node).until_state("waiting")
    an_hour_passes(node, **changes)
    assert beside_a_daemon(node.runtime).returncode == 0
    (node.runtime / "status.json").unlink()
    assert beside_a_daemon(node.runtime, "--file", str(node.output)).returncode == 0


def an_hour_passes(node: Server, **changes: Any) -> None:
    """By the clock that only runs; `changes` are of the output, and of the document where they are its members."""
    status = node.status_file()
    (output,) = status["outputs"]
    output["life"]["issued_boot"] -= 3601
    output |= changes
    status |= {name: value for name, value in changes.items() if name in status}
    (node.runtime / "status.json").write_text(json.dumps(status))


def test_a_container_that_is_shown_an_uptime_of_its_own_is_handed_out_nothing_expired(node: Server) -> None:
    """As lxcfs does; the kernel's clock is the host's all the same."""
    with daemons() as start:
        start(node).until_state("waiting")
    an_hour_passes(node)
    (node.runtime / "uptime").write_text("1.00 0.00\n")
    said = beside_a_daemon(node.runtime, before="mount --bind /run/rolekeeper/uptime /proc/uptime")
    assert (said.returncode, said.stdout) == (69, "")


def test_a_core_that_is_piped_to_a_program_holds_no_memory(tmp_path: Path) -> None:
    """To such a one (core_pattern) no limit of its size applies; what of the memory is in it does."""
    publish(tmp_path / "credentials")
    reader, writer = os.pipe()
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ))  # so that it cannot end
    command = [COMMAND, "credential-process", "--file", str(tmp_path / "credentials")]
    with subprocess.Popen(command, stdout=writer) as process:
        try:
            kept = Path(f"/proc/{process.pid}/coredump_filter")
            until(lambda: kept.read_text() == "00000000\n", "an empty filter")
        finally:
            process.kill()
            os.close(reader)
            os.close(writer)


def test_json_that_is_cut_off_by_a_full_disk_is_no_success(tmp_path: Path) -> None:
    publish(tmp_path / "credentials")
    out = tmp_path / "out"
    out.write_bytes(b"x" * 500)  # of the 512 bytes that a file may then have
    script = f'ulimit -f 1; exec {COMMAND} credential-process --file "$1" >> "$2"'
    limited = ["/bin/sh", "-c", script, "sh", str(tmp_path / "credentials"), str(out)]
    environment = {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"}  # bytecode would be cut off, too
    done = subprocess.run(limited, capture_output=True, text=True, timeout=LONGEST, check=False, env=environment)
    assert done.returncode == 74
    assert "Cannot write to standard output: File too large" in done.stderr


def test_it_loads_next_to_nothing(tmp_path: Path) -> None:
    publish(tmp_path / "credentials")
    call = "import sys; from rolekeeper.cli import main; sys.exit(main())"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-X",
            "importtime",
            "-c",
            call,
            "credential-process",
            "--file",
            tmp_path / "credentials",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "rolekeeper.cli.credential_process" in loaded
    assert not loaded & HEAVY
    assert {name for name in loaded if name.startswith("rolekeeper")} <= {
        "rolekeeper",
        "rolekeeper.cli",
        "rolekeeper.cli.credential_process",
        "rolekeeper.cli.messages",
        "rolekeeper.cli.plainjson",
        "rolekeeper.core",
        "rolekeeper.core.ini",
    }
