"""Readers of the published file, in processes of their own, while it is replaced again and again."""

import subprocess
import sys
from datetime import timedelta

from tests.conftest import LONGEST, Server
from tests.daemonprocess.conftest import Daemon, Start, published, until
from tests.readers import reading, told

REWRITES = 200
FOREIGN = "# kept by hand\n[other]\nregion = eu-central-1\n"

# Publishes a token that can be told apart from every other, again and again.
WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from rolekeeper import compose
from tests.sinks import Sink, file_sink
from rolekeeper.model import RoleToken
settings = compose.settings(sys.argv[1])
sink = file_sink(compose.clock().sleep)
for number in range(int(sys.argv[2])):
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    name = f"ASIA{number:016}"
    sink.publish(settings.credentials_files[0], RoleToken(name, f"secret-{name}", f"session-{name}" * 40, expires_at))
"""


def test_no_reader_sees_a_torn_an_empty_or_a_missing_file_through_200_rewrites(node: Server, start: Start) -> None:
    node.output.parent.mkdir()
    node.output.write_text(FOREIGN)
    node.emulator.token_lifetime = timedelta(seconds=2)
    daemon = start(node)
    until(lambda: FOREIGN + "\n" in node.output.read_text(), "the first publication")
    readers = [reading(kind, node.output, node.config) for kind in ("plain", "botocore")]
    subprocess.run([sys.executable, "-c", WRITER, str(node.config), str(REWRITES)], timeout=LONGEST, check=True)
    count = len(node.tokens())
    until(lambda: len(node.tokens()) > count, "another token of the daemon's")
    until(lambda: published(node) == node.tokens()[-1].access_key_id, "its publication")
    results = [told(reader) for reader in readers]
    assert daemon.stop() == 0
    by_writer = {
        (name := f"ASIA{number:016}"): (f"secret-{name}", f"session-{name}" * 40) for number in range(REWRITES)
    }
    by_daemon = {token.access_key_id: (token.secret_access_key, token.session_token) for token in node.tokens()}
    for result in results:
        assert result["wrong"] == {}, result["examples"]
        assert {name: (secret, token) for name, secret, token in result["seen"]}.items() <= {
            **by_writer,
            **by_daemon,
        }.items()
        assert len(result["seen"]) > REWRITES / 10  # it did look while the file was replaced
    assert node.output.read_text().startswith(FOREIGN)


def test_a_daemon_killed_again_and_again_never_leaves_half_a_file(node: Server, start: Start) -> None:
    node.output.parent.mkdir()
    node.output.write_text(FOREIGN)
    node.emulator.token_lifetime = timedelta(seconds=2)
    kill_when_published(start(node))
    readers = [reading(kind, node.output, node.config) for kind in ("plain", "botocore")]
    for _ in range(3):
        kill_when_published(start(node))
    for result in map(told, readers):
        assert result["wrong"] == {}, result["examples"]
        assert {name for name, *_ in result["seen"]} <= {token.access_key_id for token in node.tokens()}


def kill_when_published(daemon: Daemon) -> None:
    """Kill the daemon as soon as it has published once more."""
    before = published(daemon.server) if "aws_access_key_id" in daemon.server.output.read_text() else ""
    until(lambda: "[default]" in daemon.server.output.read_text() and published(daemon.server) != before, "a token")
    daemon.process.kill()
    daemon.wait()
