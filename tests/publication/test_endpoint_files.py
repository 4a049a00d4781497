"""What is published for the endpoint: documents for the server, tokens and variables for programs."""

import base64
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.sinks import new_token

from rolekeeper.adapters.outputs.endpoint import EndpointDocuments
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.errors import OutputError
from rolekeeper.model import Lifetime, OutputContents, RoleToken
from rolekeeper.settings import Endpoint

RACK = Endpoint("rack")
GROUP, OWNER = 12345, 23456
LIFE = Lifetime(
    datetime(2026, 11, 23, 18, 0, tzinfo=UTC), datetime(2026, 11, 23, 19, 0, tzinfo=UTC), timedelta(hours=2)
)


@pytest.fixture
def run() -> Iterator[Path]:
    """A runtime directory that every user may enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "run"


@pytest.fixture
def sink(run: Path) -> EndpointDocuments:
    return EndpointDocuments(str(run))


def publish(sink: EndpointDocuments, output: Endpoint, token: RoleToken) -> None:
    sink.publish(output, token, LIFE, "boot")


def files(run: Path) -> dict[str, tuple[str, int, int]]:
    """Mode, owner and group of everything in the directory."""
    found = {path: path.stat() for path in [run, *run.rglob("*")]}
    return {
        str(path.relative_to(run)): (f"{stat.S_IMODE(one.st_mode):o}", one.st_uid, one.st_gid)
        for path, one in found.items()
    }


def test_preparing_makes_the_token_and_no_credentials(sink: EndpointDocuments, run: Path) -> None:
    sink.prepare(RACK)
    token = (run / "token" / "rack").read_bytes()
    assert len(base64.urlsafe_b64decode(token + b"=")) == 32
    assert (run / "env" / "rack").read_text() == (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4580/rack\n"
        f"AWS_CONTAINER_AUTHORIZATION_TOKEN={token.decode()}\n"
    )
    own = (os.geteuid(), os.getegid())
    assert files(run) == {
        ".": ("755", *own),
        "endpoint": ("700", *own),
        "endpoint/rack": ("600", *own),
        "token": ("711", *own),
        "token/rack": ("640", *own),
        "env": ("711", *own),
        "env/rack": ("640", *own),
    }
    assert sink.look(RACK) == OutputContents()


def held(token: RoleToken) -> OutputContents:
    return OutputContents(token.access_key_id, format_expiry(token.expires_at), is_complete=True)


def test_what_is_published_is_seen_again(sink: EndpointDocuments) -> None:
    assert sink.look(RACK) == OutputContents()
    one = new_token(1)
    publish(sink, RACK, one)
    assert sink.look(RACK) == held(one)
    publish(sink, RACK, new_token(2))
    assert sink.look(RACK) == held(new_token(2))


def test_a_token_stays_the_same_whatever_is_published_and_differs_by_name(sink: EndpointDocuments, run: Path) -> None:
    sink.prepare(RACK)
    token = (run / "token" / "rack").read_text()
    for number in (1, 2):
        publish(sink, RACK, new_token(number))
        sink.prepare(RACK)
        EndpointDocuments(str(run)).prepare(Endpoint("web"))
    assert (run / "token" / "rack").read_text() == token != (run / "token" / "web").read_text()


@pytest.mark.parametrize("lost", ["token/rack", "env/rack", "endpoint/rack", "endpoint", "token"])
def test_what_is_lost_or_changed_is_made_again_and_agrees(sink: EndpointDocuments, run: Path, lost: str) -> None:
    publish(sink, RACK, new_token(1))
    subprocess.run(["rm", "-r", run / lost], check=True)
    assert sink.look(RACK) == OutputContents()
    publish(sink, RACK, new_token(2))
    token = (run / "token" / "rack").read_text()
    assert f"TOKEN={token}\n" in (run / "env" / "rack").read_text()
    assert (run / "endpoint" / "rack").read_text().startswith(f"authorization: {token}\n")
    (run / "token" / "rack").chmod(0o644)
    assert sink.look(RACK) == OutputContents()
    sink.prepare(RACK)
    assert files(run)["token/rack"][0] == "640"
    assert sink.look(RACK) != OutputContents()


def test_a_document_that_was_cut_gets_a_new_token_that_programs_can_read(sink: EndpointDocuments, run: Path) -> None:
    sink.prepare(RACK)
    old = (run / "token" / "rack").read_text()
    (run / "endpoint" / "rack").write_bytes(b"autho")
    sink.prepare(RACK)
    new = (run / "token" / "rack").read_text()
    assert new != old
    assert (run / "endpoint" / "rack").read_text() == f"authorization: {new}\n\n"


def test_what_is_not_configured_any_more_is_removed(sink: EndpointDocuments, run: Path) -> None:
    sink.remove_others([])
    for name in ("rack", "web", "old"):
        sink.prepare(Endpoint(name))
    (run / "endpoint" / ".old.0123456789abcdef.rolekeeper-new").touch()  # a killed process has left it
    sink.remove_others([RACK, Endpoint("web")])
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert left == {f"{kind}/{name}" for kind in ("endpoint", "token", "env") for name in ("rack", "web")}


@pytest.mark.parametrize("kind", ["endpoint", "token", "env"])
def test_what_cannot_be_looked_through_for_old_endpoints_costs_no_other_output(node: Server, kind: str) -> None:
    node.runtime.mkdir()
    (node.runtime / kind).write_text("no directory")
    said = node.run("attempt")
    assert (said.code, said.err) == (0, "")
    assert node.output.exists()


def test_account_and_role_are_in_the_answer_when_they_are_known(sink: EndpointDocuments, run: Path) -> None:
    publish(sink, RACK, new_token(1))
    assert b"AccountId" not in (run / "endpoint" / "rack").read_bytes()
    sink.publish(RACK, new_token(1), LIFE, "boot", account_id="123456789012", role_arn="arn:aws:iam::1:role/a")
    document = (run / "endpoint" / "rack").read_text()
    assert '"AccountId": "123456789012", "RoleArn": "arn:aws:iam::1:role/a"}' in document


@pytest.mark.usefixtures("as_root")
def test_owner_and_group_alone_can_read_the_token_and_nobody_the_document(sink: EndpointDocuments, run: Path) -> None:
    shared = Endpoint("shared", group=GROUP)
    owned = Endpoint("owned", owner=OWNER, group=GROUP)
    for output in (shared, owned):
        publish(sink, output, new_token(1))
        assert sink.look(output) != OutputContents()

    def readable(user: int, group: int) -> set[str]:
        return {
            name
            for name in files(run)
            if not (run / name).is_dir()
            and subprocess.run(
                ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "cat", str(run / name)],
                check=False,
                capture_output=True,
            ).returncode
            == 0
        }

    assert readable(34567, 34567) == set()
    assert readable(34567, GROUP) == {"token/shared", "env/shared", "token/owned", "env/owned"}
    assert readable(OWNER, 34567) == {"token/owned", "env/owned"}


@pytest.mark.usefixtures("as_root")
def test_a_token_of_another_owner_is_kept_by_a_process_that_may_not_read_it(run: Path, sink: EndpointDocuments) -> None:
    owned = Endpoint("owned", owner=OWNER, group=GROUP)
    publish(sink, owned, new_token(1))
    inode = (run / "token" / "owned").stat().st_ino
    program = (
        "import sys\n"
        "from rolekeeper.adapters.outputs.endpoint import EndpointDocuments\n"
        "from rolekeeper.settings import Endpoint\n"
        f"output = Endpoint('owned', {OWNER}, {GROUP}); sink = EndpointDocuments(sys.argv[1]); sink.prepare(output)\n"
        "print(sink.look(output).access_key_id)"
    )
    command = ["setpriv", "--bounding-set=-all,+chown", sys.executable, "-c", program, str(run)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == new_token(1).access_key_id
    assert (run / "token" / "owned").stat().st_ino == inode


def test_a_missing_group_is_the_fault_of_that_endpoint_alone(sink: EndpointDocuments, run: Path) -> None:
    missing = Endpoint("missing", group="no-such-group")
    for act in (lambda: sink.prepare(missing), lambda: publish(sink, missing, new_token(1))):
        with pytest.raises(OutputError, match="Cannot publish to the endpoint missing: there is no group") as caught:
            act()
        assert caught.value.code == "unknown-group"
    assert not run.exists()
    publish(sink, RACK, new_token(1))


@pytest.mark.usefixtures("as_root")
def test_a_full_file_system_changes_nothing_that_is_answered(run: Path, sink: EndpointDocuments) -> None:
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", run], check=True)
    try:
        publish(sink, RACK, new_token(1))
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        with pytest.raises(OSError, match="No space"):
            (run / "filler").write_bytes(b"x" * 65536)
        for act in (
            lambda: sink.prepare(RACK),
            lambda: publish(sink, RACK, new_token(2)),
            lambda: sink.prepare(Endpoint("web")),
        ):
            with pytest.raises(OutputError) as caught:
                act()
            assert caught.value.code == "no-space"
        (run / "filler").unlink()
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        publish(sink, RACK, new_token(2))
    finally:
        subprocess.run(["umount", run], check=True)
