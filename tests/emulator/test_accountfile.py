import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from tests.emulator.conftest import Machine

from rolekeeper.cli.parser import main
from rolekeeper.emulator import Emulator
from rolekeeper.emulator.account import new_account
from rolekeeper.emulator.accountfile import load, save
from rolekeeper.errors import InputOutputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_everything_survives_a_restart(path: Path, keys: tuple[RSAPrivateKey, ...], client: Callable[..., Any]) -> None:
    with Emulator(state_file=path) as first:
        activation = first.create_activation(role="Web", limit=2)
        machine = Machine(first, keys[0]).register(activation)
        token = machine.request_token().json
        first.request_rotation(machine.node_id)
        first.create_role("service-role/Report", trusts=("Web",), external_id="x1", longest_session=timedelta(hours=2))
        before = (first.roles, first.activations, first.nodes, first.tokens, first.admin)
    with Emulator(state_file=path) as second:
        assert (second.roles, second.activations, second.nodes, second.tokens, second.admin) == before
        assert second.activations[activation.activation_id].registrations == 1
        machine.emulator = second
        assert machine.request_token().json["UpdateKeyPair"] is True
        assert machine.node_id in client("sts", second, token).get_caller_identity()["Arn"]
        machine.register(activation)


def test_a_changed_key_and_a_deregistration_survive_a_restart(path: Path, keys: tuple[RSAPrivateKey, ...]) -> None:
    with Emulator(state_file=path) as first:
        activation = first.create_activation(limit=2)
        gone, kept = (Machine(first, keys[0]).register(activation) for _ in range(2))
        first.deregister(gone.node_id)
        kept.change_key(keys[1])
    with Emulator(state_file=path) as second:
        kept.emulator, kept.key = second, keys[1]
        assert list(second.nodes) == [kept.node_id]
        assert kept.request_token().status == 200


def test_the_file_is_written_before_the_answer_leaves(path: Path, keys: tuple[RSAPrivateKey, ...]) -> None:
    with Emulator(state_file=path) as emulator:
        machine = Machine(emulator, keys[0]).register()
        assert machine.node_id in json.loads(path.read_text())["nodes"]
        issued = machine.request_token().json["AccessKeyId"]
        assert issued in json.loads(path.read_text())["tokens"]


def test_the_file_is_its_owners_alone_and_nothing_is_left_beside_it(path: Path) -> None:
    with Emulator(state_file=path) as emulator:
        emulator.create_activation()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_account_and_region_are_kept_unless_others_are_requested(path: Path) -> None:
    with Emulator(state_file=path, account_id="999999999999", region="eu-west-1"):
        pass
    with Emulator(state_file=path) as kept:
        assert (kept.account_id, kept.region) == ("999999999999", "eu-west-1")
    with Emulator(state_file=path, region="eu-west-3") as moved:
        assert (moved.account_id, moved.region) == ("999999999999", "eu-west-3")


def test_without_a_file_every_start_is_a_new_service() -> None:
    with Emulator() as first, Emulator() as second:
        assert first.admin != second.admin


CANNOT_READ = "Cannot read the emulator's state in"


@pytest.mark.parametrize(
    ("make", "name", "line", "hint"),
    [
        (lambda _: None, "missing/state", "Cannot write the emulator's state to {}: No such file", "create the dir"),
        (lambda path: path.mkdir(), "state", f"{CANNOT_READ} {{}}: it is not a regular file", "correct the path"),
        (os.mkfifo, "state", f"{CANNOT_READ} {{}}: it is not a regular file", "correct the path"),
        (lambda path: path.write_bytes(b"\xff"), "state", f"{CANNOT_READ} {{}}: UnicodeDecodeError", "remove it"),
        (lambda path: path.symlink_to(path), "state", f"{CANNOT_READ} {{}}: Too many levels", "symlinks"),
    ],
    ids=["no directory", "directory", "fifo", "not text", "symlink loop"],
)
def test_a_state_file_that_cannot_be_used_is_one_line_and_exit_code_74(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    name: str,
    line: str,
    hint: str,
) -> None:
    path = tmp_path / name
    make(path)
    assert main(["emulator", "--port", "0", "--state", str(path)]) == 74
    printed = capfd.readouterr()
    message, advice = printed.err.splitlines()
    assert printed.out == ""
    assert message.startswith(f"rolekeeper: {line.format(path)}")
    assert hint in advice


def damaged(document: Any, change: Callable[[Any], object]) -> str:
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(version=1),
        lambda document: document.pop("administrator"),
        lambda document: document["administrator"].pop("secret_access_key"),
        lambda document: document.update(nodes=[]),
        lambda document: document.update(region=1),
        lambda document: next(iter(document["activations"].values())).update(limit="many"),
        lambda document: next(iter(document["activations"].values())).update(expires_at="soon"),
        lambda document: next(iter(document["activations"].values())).update(expires_at="2026-11-23T00:00:00"),
        lambda document: next(iter(document["activations"].values())).update(tags=[["one"]]),
    ],
)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(path: Path, change: Callable[[Any], object]) -> None:
    with Emulator(state_file=path) as emulator:
        emulator.create_activation()
    path.write_text(damaged(json.loads(path.read_text()), change))
    before = path.read_bytes()
    with pytest.raises(InputOutputError) as caught:
        Emulator(state_file=path)
    assert caught.value.code == "emulator-state-unreadable"
    assert str(path) in caught.value.message
    assert "remove it" in caught.value.hint
    assert path.read_bytes() == before


@given(st.binary(max_size=200))
@example(b"[" * 10_000)
def test_bytes_that_are_no_state_never_make_anything_but_that_error(raw: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "state.json"
        path.write_bytes(raw)
        with pytest.raises(InputOutputError):
            load(path)


def test_a_state_that_cannot_be_written_is_an_error_of_the_service_and_nothing_is_applied(
    tmp_path: Path, keys: tuple[RSAPrivateKey, ...]
) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    with Emulator(state_file=directory / "state.json") as emulator:
        machine = Machine(emulator, keys[0]).register()
        directory.rename(tmp_path / "elsewhere")
        answer = machine.request_token()
        assert (answer.status, answer.code) == (500, "InternalServerError")
        assert "Cannot write the emulator's state" in answer.message
        assert emulator.tokens == {}
        record = emulator.requests[-1]
        assert (record.verdict, record.applied) == ("InternalServerError", False)


def test_a_file_that_is_not_there_is_no_state(path: Path) -> None:
    assert load(path) is None


def test_what_was_saved_is_what_is_loaded(path: Path) -> None:
    state = new_account("123456789012", "us-east-1")
    save(path, state)
    assert load(path) == state


def test_tokens_that_expired_long_ago_are_forgotten(node: Machine, emulator: Emulator) -> None:
    emulator.token_lifetime = timedelta(days=-2)
    node.request_token()
    emulator.token_lifetime = timedelta(hours=-23)
    node.request_token()
    emulator.token_lifetime = timedelta(hours=1)
    node.request_token()
    assert len(emulator.tokens) == 2
