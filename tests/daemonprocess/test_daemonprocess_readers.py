"""Readers of the published file, in processes of their own, while it is replaced again and again."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.conftest import LONGEST, Server
from tests.daemonprocess.conftest import Daemon, Start, published, until

REWRITES = 200
FOREIGN = "# kept by hand\n[other]\nregion = eu-central-1\n"

# Reads until its standard input ends; prints what it has seen, and what it should never see.
READER = """
import json, os, select, sys
from botocore.configloader import raw_config_parse
seen, wrong, reads = set(), [], 0
print("reading", flush=True)
while not select.select([0], [], [], 0)[0]:
    reads += 1
    try:
        found = raw_config_parse(sys.argv[1])
        profile = found["default"]
        seen.add((profile["aws_access_key_id"], profile["aws_secret_access_key"], profile["aws_session_token"]))
        if found["other"] != {"region": "eu-central-1"} or "x_security_token_expires" not in profile:
            wrong.append(repr(found))
    except Exception as error:
        wrong.append(repr(error))
print(json.dumps({"reads": reads, "seen": sorted(seen), "wrong": wrong[:5]}))
"""

# Publishes a token that can be told apart from every other, again and again.
WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from rolekeeper import compose
from rolekeeper.adapters.sink import FileSink
from rolekeeper.model import RoleToken
settings = compose.settings(sys.argv[1])
sink = FileSink(compose.clock().sleep)
for number in range(int(sys.argv[2])):
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    name = f"ASIA{number:016}"
    sink.publish(settings.outputs[0], RoleToken(name, f"secret-{name}", f"session-{name}" * 40, expires_at))
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def reading(path: Path) -> subprocess.Popen[str]:
    """A reader that has begun."""
    reader = python(READER, str(path))
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    return reader


def end(reader: subprocess.Popen[str]) -> Any:
    return json.loads(reader.communicate(timeout=LONGEST)[0])


def test_no_reader_sees_a_torn_an_empty_or_a_missing_file_through_200_rewrites(node: Server, start: Start) -> None:
    node.output.parent.mkdir()
    node.output.write_text(FOREIGN)
    node.emulator.token_lifetime = timedelta(seconds=2)
    daemon = start(node)
    until(lambda: FOREIGN + "\n" in node.output.read_text(), "the first publication")
    readers = [reading(node.output) for _ in range(2)]
    writer = python(WRITER, str(node.config), str(REWRITES))
    assert writer.communicate(timeout=LONGEST) == ("", None)
    assert writer.returncode == 0
    count = len(node.tokens())
    until(lambda: len(node.tokens()) > count, "another token of the daemon's")
    until(lambda: published(node) == node.tokens()[-1].access_key_id, "its publication")
    results = [end(reader) for reader in readers]
    assert daemon.stop() == 0
    by_writer = {
        (name := f"ASIA{number:016}"): (f"secret-{name}", f"session-{name}" * 40) for number in range(REWRITES)
    }
    by_daemon = {token.access_key_id: (token.secret_access_key, token.session_token) for token in node.tokens()}
    for result in results:
        assert result["wrong"] == []
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
    reader = reading(node.output)
    for _ in range(3):
        kill_when_published(start(node))
    result = end(reader)
    assert result["wrong"] == []
    assert {name for name, *_ in result["seen"]} <= {token.access_key_id for token in node.tokens()}


def kill_when_published(daemon: Daemon) -> None:
    """Kill the daemon as soon as it has published once more."""
    before = published(daemon.server) if "aws_access_key_id" in daemon.server.output.read_text() else ""
    until(lambda: "[default]" in daemon.server.output.read_text() and published(daemon.server) != before, "a token")
    daemon.process.kill()
    daemon.wait()
