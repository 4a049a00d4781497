"""What takes hostile input, as functions of bytes: each returns, or something is wrong.

`python tests/fuzz/fuzz.py` runs them under a coverage-guided fuzzer, `test_fuzz_seeds.py` over the seeds and with
hypothesis. Each goes in where the input goes in: a file, a socket, a command. What counts as wrong: any error but the
documented ones; a message of several lines; something changed that should not have been.
"""

import atexit
import configparser
import io
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.cli import credential_process
from rolekeeper.cli.parser import main
from rolekeeper.config.load import load_settings
from rolekeeper.config.show import describe
from rolekeeper.core.credentialsfile import OUR_KEYS, STALE_TOKEN, read_profile, replace_profile, token_values
from rolekeeper.core.ini import CONTINUATION, OPTION, Line, scan
from rolekeeper.errors import ConfigurationError, OutputError, RefusedError, RolekeeperError, VaultError
from rolekeeper.model import NodeKey, Registration, RoleToken
from rolekeeper.settings import ServiceSettings

SCRATCH = Path(tempfile.mkdtemp(prefix="rolekeeper-fuzz-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
VECTORS = Path(__file__).parents[1] / "vectors"
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
TOKEN = RoleToken("ASIA-of-ours", "secret-of-ours", "token-of-ours", NOON)
VALUES = token_values(TOKEN)


def check_words(error: RolekeeperError, longest: int = 1 << 20) -> None:
    """A message is one printable line of at most `longest` characters, or one for each problem of a configuration."""
    lines = error.message.split("\n")
    assert len(lines) == (len(error.problems) if isinstance(error, ConfigurationError) else 1)
    assert all(line and line.isprintable() for line in lines), error.message
    assert len(error.message) <= longest
    assert error.code
    assert error.code.isascii()


def configuration(data: bytes) -> None:
    """A configuration file: settings that print and read back, or a ConfigurationError."""
    path = SCRATCH / "toml"
    path.write_bytes(data)
    try:
        settings = load_settings(path)
    except ConfigurationError as error:
        check_words(error)
        return
    if settings.service.proxy_url is None or "@" not in settings.service.proxy_url:  # which is not printed whole
        path.write_text(describe(settings), encoding="utf-8")
        assert load_settings(path) == settings


def vault(data: bytes) -> None:
    """vault.json: contents that can be saved and loaded again, or a VaultError."""
    file = SCRATCH / "vault" / "vault.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    vault = FileVault(file.parent, SystemClock())
    try:
        contents = vault.load()
    except VaultError as error:
        check_words(error)
        assert file.read_bytes() == data
        return
    vault.save(contents)
    assert vault.load() == contents


AGENT_FILES = ("Manifest", "Store/InstanceFingerprint", "Store/RegistrationKey")


def agent_vault(data: bytes) -> None:
    """One of the three files that SSM Agent keeps, told by the first byte, beside healthy ones."""
    directory, tree = SCRATCH / "agent", VECTORS / "vaults" / "tz-kolkata" / "Vault"
    (directory / "Store").mkdir(parents=True, exist_ok=True)
    for name in AGENT_FILES:
        (directory / name).write_bytes((tree / name).read_bytes())
    (directory / AGENT_FILES[(data or b"0")[0] % len(AGENT_FILES)]).write_bytes(data[1:])
    try:
        read_agent_vault(directory)
    except (VaultError, RefusedError) as error:
        check_words(error)


def credentials(data: bytes) -> None:
    """The text of a credentials file: our keys in it and nothing else changed, or a refusal."""
    replace_all, text = bool(data[:1] in (b"!", b"1")), data[1:].decode("utf-8", "replace")
    try:
        new = replace_profile(text, "default", VALUES, replace_long_lived_keys=replace_all, where="/c")
    except OutputError as error:
        check_words(error)
        return
    before, after = _sections(text), _sections(new)
    old_key = before.get("default", {}).get("aws_access_key_id", "")
    assert replace_all or not old_key.startswith("AKIA")
    assert after == {**before, "default": after["default"]}
    assert VALUES.items() <= after["default"].items()
    assert read_profile(new, "default", where="/c") == read_profile(new, "default", where="/c") | VALUES
    old_lines, new_lines = _foreign(text), _foreign(new)
    added = [body for body, _ in new_lines[len(old_lines) :]]
    assert [body for body, _ in new_lines[: len(old_lines)]] == [body for body, _ in old_lines]
    assert [ending for _, ending in new_lines[: len(old_lines)]][:-1] == [ending for _, ending in old_lines][:-1]
    assert added in ([], ["[default]"], ["", "[default]"])


def _sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_file(io.StringIO(text, newline=None))
    return {name: dict(section) for name, section in parser.items()}


def _foreign(text: str) -> list[tuple[str, str]]:
    """Every line that is no value of ours: what it says, and how it ends."""

    def is_ours(line: Line) -> bool:
        mine = line.section == "default" and line.key in (*OUR_KEYS, STALE_TOKEN)
        return mine and line.kind in (OPTION, CONTINUATION)

    return [(line.body, line.ending) for line in scan(text) if not is_ours(line)]


def published(data: bytes) -> None:
    """The file that `credential-process` reads: the SDKs' JSON, or two lines on standard error."""
    path = SCRATCH / "published"
    path.write_bytes(data)
    code, out, err = _said(lambda: credential_process.main(["--file", str(path)]))
    assert code in (0, 69, 74)
    if code == 0:
        told = json.loads(out)
        assert set(told) == {"Version", *credential_process.KEYS}
        assert all(told.values())
    else:
        assert out == b""
        assert [line.isprintable() for line in err.splitlines()] == [True, True], err


def status(data: bytes) -> None:
    """status.json, as `status` and `credential-process` read it when a daemon has not written it."""
    (SCRATCH / "status.json").write_bytes(data)
    file = SCRATCH / "status.toml"
    file.write_text(f'[daemon]\nruntime_directory = "{SCRATCH}"\n', encoding="utf-8")
    code, _, err = _said(lambda: main(["--config", str(file), "status"]))
    assert code in (3, 74), err
    credential_process.STATUS = str(SCRATCH / "status.json")
    code, _, err = _said(lambda: credential_process.main([]))
    assert code in (69, 74), err


def _said(act: Callable[[], int]) -> tuple[int, bytes, str]:
    """What a command of this process returned and said, on its standard streams or straight on their descriptors."""
    words, saved, files = io.StringIO(), [os.dup(1), os.dup(2)], [os.memfd_create("out"), os.memfd_create("err")]
    sys.stdout.flush()
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    try:
        with redirect_stderr(words), pytest.MonkeyPatch.context() as patch:
            patch.setattr(resource, "setrlimit", lambda *_: None)  # a lower hard limit would stay for all other tests
            code = act()
        sys.stdout.flush()
        out, err = (os.pread(file, 1 << 22, 0) for file in files)
    finally:
        for number, file in enumerate(saved, 1):
            os.dup2(file, number)
        for file in (*saved, *files):
            os.close(file)
    return code, out, words.getvalue() + err.decode()


def answers(data: bytes) -> None:
    """What comes from the network in the place of an HTTP answer: a token, or an error of the tree."""
    service = _loopback(data)
    operations: tuple[Callable[[], object], ...] = (
        lambda: service.request_role_token(NODE, FINGERPRINT),
        lambda: service.register("us-east-1", FINGERPRINT, CODE, FINGERPRINT, NODE.key),
        lambda: service.update_public_key(NODE, NODE.key),
    )
    try:
        operations[len(data) % 8 if len(data) % 8 < len(operations) else 0]()
    except RolekeeperError as error:
        check_words(error, longest=1000)
        said = error.message + error.hint
    else:
        said = ""
    assert not any(secret in said for secret in (CODE, NODE.key.private_key))


FINGERPRINT = "45b3eee3-0e73-4a83-9e10-d1a6ffe55249"
CODE = "SECRETCODE1234567890"
_RECORDED = json.loads((VECTORS / "signed-requests.json").read_text())[0]
NODE = Registration(_RECORDED["instance_id"], "us-east-1", NodeKey(_RECORDED["private_key_pkcs1_b64"], NOON))


class _Loopback:
    """Answers every connection with the bytes at hand, whatever was asked."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(5)
                connection.sendall(self.answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):  # else what was sent is lost with the reset
                    pass


_LOOPBACK: list[tuple[_Loopback, SsmService]] = []


def _loopback(answer: bytes) -> SsmService:
    """The service that is to hear `answer`; one for all runs, because to build it takes longer than a run."""
    if not _LOOPBACK:
        server, patience = _Loopback(), timedelta(seconds=10)
        settings = ServiceSettings(
            f"http://127.0.0.1:{server.port}",
            proxy_url=None,
            ca_bundle=None,
            fips=False,
            dual_stack=False,
            connect_timeout=patience,
            read_timeout=patience,
        )
        _LOOPBACK.append((server, SsmService(settings, SystemClock(), "1.2.3")))
    server, service = _LOOPBACK[0]
    server.answer = answer
    return service


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (configuration, vault, agent_vault, credentials, published, status, answers)
}
