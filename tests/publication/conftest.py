import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.sinks import Sink, file_sink

from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile


@pytest.fixture
def new_output(tmp_path: Path) -> Callable[..., CredentialsFile]:
    """An output with the defaults of the configuration, in a directory of the test's own."""

    def build(**changes: object) -> CredentialsFile:
        values: dict[str, object] = {
            "path": str(tmp_path / "credentials"),
            "profile": "default",
            "mode": 0o600,
            "keep_mode": True,
            "owner": None,
            "group": None,
            "replace_long_lived_keys": False,
        }
        return CredentialsFile(**(values | changes))  # type: ignore[arg-type]

    return build


@pytest.fixture
def new_token() -> Callable[[int], RoleToken]:
    """The n-th token: all of its parts end in n."""
    expires_at = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)

    def build(number: int) -> RoleToken:
        return RoleToken(
            f"ASIA{number:016}", f"secret/{number}", f"token=={number}", expires_at + timedelta(hours=number)
        )

    return build


@pytest.fixture
def naps() -> list[timedelta]:
    """How long the sink under test slept, nap by nap; no time passes."""
    return []


@pytest.fixture
def sink(naps: list[timedelta]) -> Sink:
    return file_sink(naps.append)


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to others")
