"""restic, whose library minio-go reads `credential_process` in a *credentials* file only."""

import subprocess
from collections.abc import Iterator

import pytest
from tests.conftest import COMMAND, LONGEST, Server
from tests.sdks.conftest import needs
from tests.sdks.store import Store, running

from rolekeeper.emulator import Emulator


@pytest.fixture
def store(emulator: Emulator) -> Iterator[Store]:
    with running(emulator) as store:
        yield store


def restic(node: Server, store: Store, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing but these variables; the home directory is the server's."""
    return subprocess.run(
        [needs("restic"), "--no-cache", "--repo", f"s3:{store.url}/bucket/backup", *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        env=node.environment(RESTIC_PASSWORD="secret", AWS_EC2_METADATA_DISABLED="true", **environment),
    )


def backs_up(node: Server, store: Store, **environment: str) -> None:
    """restic makes a repository and a backup with the credentials of the moment, and again after a refresh."""
    for command in (("init",), ("backup", str(node.config))):
        assert node.run("attempt").code == 0
        store.keys.clear()
        done = restic(node, store, *command, **environment)
        assert done.returncode == 0, done.stderr
        assert set(store.keys) == {node.tokens()[-1].access_key_id}
    assert any(name.startswith("/bucket/backup/snapshots/") for name in store.objects)


def test_it_uses_the_profile_that_stands_beside_a_process_file(node: Server, store: Store) -> None:
    node.configure(output='format = "process"')
    backs_up(node, store, AWS_SHARED_CREDENTIALS_FILE=f"{node.output}.profile")


def test_it_uses_credential_process_in_a_profile_of_its_own_in_the_credentials_file(node: Server, store: Store) -> None:
    home = node.directory / ".aws"
    home.mkdir()
    line = f"credential_process = {COMMAND} credential-process --file {node.output}"
    (home / "credentials").write_text(f"[other]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n[rack]\n{line}\n")
    backs_up(node, store, AWS_PROFILE="rack")


def test_it_does_not_read_that_line_in_the_config_file(node: Server, store: Store) -> None:
    """Which is why the documents do not say so."""
    home = node.directory / ".aws"
    home.mkdir()
    line = f"credential_process = {COMMAND} credential-process --file {node.output}"
    (home / "config").write_text(f"[profile rack]\n{line}\n")
    node.run("attempt")
    assert restic(node, store, "init", AWS_PROFILE="rack", AWS_SDK_LOAD_CONFIG="1").returncode != 0
    assert not any(store.keys)


def test_it_uses_a_plain_credentials_file(node: Server, store: Store) -> None:
    backs_up(node, store, AWS_SHARED_CREDENTIALS_FILE=str(node.output))
