"""The process file: credentials as JSON, and beside it the profile by which SDKs read them with cat."""

import json
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from tests.publication.test_sink import names, refusal
from tests.sinks import Sink, new_token, process_sink

from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile, FileFormat
from rolekeeper.values import replace

GROUP = 12345


@pytest.fixture
def sink(naps: list[timedelta], tmp_path: Path) -> Sink:
    return process_sink(naps.append, home=tmp_path)


@pytest.fixture
def output(sink: Sink, tmp_path: Path) -> CredentialsFile:
    return sink.output(path=str(tmp_path / "rack.json"), format=FileFormat.PROCESS)


@pytest.fixture
def file(output: CredentialsFile) -> Path:
    return Path(output.path)


@pytest.fixture
def profile(output: CredentialsFile) -> Path:
    return Path(f"{output.path}.profile")


def holds(sink: Sink, output: CredentialsFile, token: RoleToken) -> bool:
    return sink.holds(output, token.access_key_id, token.expires_at)


def test_a_token_is_published_as_credential_process_prints_it(
    sink: Sink, output: CredentialsFile, file: Path, profile: Path
) -> None:
    sink.prepare(output)
    assert names(file.parent) == set()
    sink.publish(output, new_token(1))
    assert json.loads(file.read_text()) == {
        "Version": 1,
        "AccessKeyId": "ASIA0000000000000001",
        "SecretAccessKey": "secret/1",
        "SessionToken": "token==1",
        "Expiration": "2026-11-23T19:00:00Z",
    }
    assert profile.read_text() == f"[default]\ncredential_process = /bin/cat {file}\n"
    assert names(file.parent) == {file.name, profile.name}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, profile)} == {0o600}


def test_boto3_reads_it_by_the_profile_and_renews(
    sink: Sink, output: CredentialsFile, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    soon = datetime.now(UTC) + timedelta(minutes=5)  # boto3 renews 15 minutes before the end
    sink.publish(output, replace(new_token(1), expires_at=soon))
    credentials = boto3.Session().get_credentials()
    assert (credentials.method, credentials.token) == ("custom-process", "token==1")
    sink.publish(output, replace(new_token(2), expires_at=soon))
    assert credentials.token == "token==2"


def test_just_these_credentials_are_held_and_only_if_the_profile_points_to_them(
    sink: Sink, output: CredentialsFile, profile: Path, file: Path
) -> None:
    assert not holds(sink, output, new_token(1))
    sink.publish(output, new_token(1))
    assert holds(sink, output, new_token(1))
    assert not holds(sink, output, new_token(2))
    profile.unlink()
    assert not holds(sink, output, new_token(1))
    sink.publish(output, new_token(1))
    assert holds(sink, output, new_token(1))
    assert not sink.overwritten(output, "ASIA0000000000000001", new_token(1).expires_at)
    file.write_text('{"Version": 1, "AccessKeyId": "ASIAOTHER", "SecretAccessKey": "s"}')
    assert sink.overwritten(output, "ASIA0000000000000001", new_token(1).expires_at)


@pytest.mark.parametrize("path", ["a b.json", "a'b.json", "$HOME.json", "a;b.json", "a#b.json", "a%b.json", "ä.json"])
def test_a_path_that_sdks_would_not_read_alike_is_refused(sink: Sink, tmp_path: Path, path: str) -> None:
    output = sink.output(path=str(tmp_path / path), format=FileFormat.PROCESS)
    assert refusal(lambda: sink.prepare(output)).code == "path-not-plain"
    assert refusal(lambda: sink.publish(output, new_token(1))).code == "path-not-plain"
    assert not (tmp_path / path).exists()


FOREIGN = {
    "a credentials file": ("[default]\naws_access_key_id = AKIA1\n", "unparsable-file"),
    "other JSON": ('{"some": "thing"}', "unparsable-file"),
    "a list": ("[]", "unparsable-file"),
    "half of ours": ('{"Version": 1, "Acc', "unparsable-file"),
    "deep": ("[" * 100_000, "unparsable-file"),
    "long-lived keys": ('{"Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "s"}', "long-lived-keys"),
}


@pytest.mark.parametrize(("text", "code"), FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_not_ours_is_left_alone(
    sink: Sink, output: CredentialsFile, file: Path, text: str, code: str
) -> None:
    file.write_text(text)
    assert refusal(lambda: sink.prepare(output)).code == code
    assert refusal(lambda: sink.publish(output, new_token(1))).code == code
    assert file.read_text() == text


def test_an_empty_file_is_filled_and_long_lived_keys_go_if_the_output_says_so(sink: Sink, tmp_path: Path) -> None:
    output = sink.output(path=str(tmp_path / "a.json"), replace_long_lived_keys=True)
    for text in ("", FOREIGN["long-lived keys"][0]):
        Path(output.path).write_text(text)
        sink.publish(output, new_token(1))
        assert holds(sink, output, new_token(1))


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("# mine\n[default]\ncredential_process = /bin/cat {file}\nregion = us-east-1\n", True),
        ("", False),
        ("[other]\ncredential_process = /bin/cat /elsewhere\n", False),
    ],
)
def test_a_profile_that_points_to_the_file_stays_as_it_is(
    sink: Sink,
    output: CredentialsFile,
    file: Path,
    profile: Path,
    text: str,
    *,
    stays: bool,
) -> None:
    profile.write_text(text.format(file=file))
    sink.publish(output, new_token(1))
    ours = f"[default]\ncredential_process = /bin/cat {file}\n"
    assert profile.read_text() == (text.format(file=file) if stays else ours)


def test_a_profile_of_another_program_is_left_alone(sink: Sink, output: CredentialsFile, profile: Path) -> None:
    profile.write_text("[default]\naws_access_key_id = AKIA1\n")
    error = refusal(lambda: sink.prepare(output))
    assert error.code == "profile-occupied"
    assert f"credential_process = /bin/cat {output.path}" in error.hint
    assert refusal(lambda: sink.publish(output, new_token(1))).code == "profile-occupied"
    assert "AKIA1" in profile.read_text()


@pytest.mark.usefixtures("as_root")
def test_both_files_and_a_new_directory_get_owner_group_and_mode_of_the_output(sink: Sink, tmp_path: Path) -> None:
    output = sink.output(path=str(tmp_path / "new" / "a.json"), mode=0o640, owner=GROUP, group=GROUP)
    sink.publish(output, new_token(1))
    found = {path.name: path.stat() for path in [tmp_path / "new", *(tmp_path / "new").glob("a*")]}
    assert {name: (stat.S_IMODE(one.st_mode), one.st_uid, one.st_gid) for name, one in found.items()} == {
        "new": (0o710, GROUP, GROUP),
        "a.json": (0o640, GROUP, GROUP),
        "a.json.profile": (0o640, GROUP, GROUP),
    }
    sink.publish(output, new_token(2))
    assert holds(sink, output, new_token(2))


@pytest.mark.usefixtures("as_root")
def test_a_reader_in_a_bare_root_directory_needs_nothing_but_cat(sink: Sink, tmp_path: Path) -> None:
    """As a container has it: the directory of the file is there under the same path, and the image has a cat."""
    image = tmp_path / "image"
    output = sink.output(path=str(tmp_path / "aws" / "rack.json"))
    sink.publish(output, new_token(1))
    inside = image / output.path.lstrip("/")
    for directory in (image / "bin", inside.parent):
        directory.mkdir(parents=True)
    script = (
        f"for file in $(ldd /bin/cat | grep -o '/[^ ]*') /bin/cat; do cp --parents -L $file {image}; done\n"
        f"mount --bind {tmp_path / 'aws'} {inside.parent}\n"
        f"exec chroot {image} $(sed -n 's/^credential_process = //p' {output.path}.profile)"
    )
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-euc", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["SessionToken"] == "token==1"
