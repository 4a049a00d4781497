"""A registered server whose faults are planted, and the doctor's findings."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Said, Server
from tests.daemonprocess.conftest import Daemon, daemons
from tests.ssm.certificates import Authority

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.emulator import Emulator
from rolekeeper.emulator.server import Tls
from rolekeeper.model import VaultContents

Finding = Mapping[str, Any]


class Doctor:
    """`rolekeeper doctor` on one server, called in this process."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def says(self, *options: str, env: Mapping[str, str] | None = None) -> Said:
        return self.server.run("doctor", "--json", *options, env=env)

    def findings(self, *options: str, env: Mapping[str, str] | None = None) -> list[Finding]:
        found: list[Finding] = self.says(*options, env=env).json["findings"]
        return found

    def finding(self, name: str, code: str, *options: str, env: Mapping[str, str] | None = None) -> Finding:
        """The finding of this name and code; there is just one, and it says what to do."""
        found = self.findings(*options, env=env)
        fitting = [one for one in found if (one["name"], one["code"]) == (name, code)]
        assert len(fitting) == 1, found
        (only,) = fitting
        assert only["level"] in ("warning", "failed")
        assert only["hint"]
        return only

    def failed(self, name: str, code: str, exit_code: int, *options: str) -> Finding:
        """As `finding`, of a link that is broken; the command ends with this exit code, and it is the first one."""
        said = self.says(*options)
        first = next((one for one in said.json["findings"] if one["level"] == "failed"), None)
        assert first is not None, said.json
        assert (first["name"], first["code"], first["exit_code"]) == (name, code, exit_code), said.json
        assert first["hint"]
        assert said.code == said.json["exit_code"] == exit_code
        return first

    def level(self, name: str, *options: str) -> str:
        """That of the only finding of this name."""
        levels = [one["level"] for one in self.findings(*options) if one["name"] == name]
        assert len(levels) == 1, levels
        return str(levels[0])

    def save(self, contents: VaultContents) -> None:
        vault = FileVault(self.server.directory / "vault", SystemClock())
        with vault.lock(timedelta(seconds=5)):
            vault.save(contents)


@pytest.fixture
def doctor(node: Server) -> Doctor:
    """Of a registered server, where no daemon runs."""
    return Doctor(node)


@pytest.fixture
def running(node: Server) -> Iterator[Daemon]:
    """The daemon of a registered server, which has published."""
    with daemons() as start:
        daemon = start(node)
        daemon.until_state("waiting")
        yield daemon


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def secure() -> Iterator[Callable[..., Emulator]]:
    """Makes services with TLS, of this CA and with a certificate for this name."""
    with ExitStack() as running_ones:

        def make(authority: Authority, host: str = "127.0.0.1", **options: bool) -> Emulator:
            chain = authority.chain(host, **options)
            return running_ones.enter_context(Emulator(tls=Tls(chain, chain)))

        yield make
