"""SSM Agent beside us: it writes the same credentials file as docs/protocol.md (section 5) has seen it, in place.

The agent here is a process that truncates the file and writes it anew piece by piece, each step when it is told to. It
keeps the other profiles that it finds, as SSM Agent means to.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.configloader import raw_config_parse
from tests.sinks import file_sink

from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile

OTHER = "# top\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = a#b\n"
PATIENCE = 20  # naps of the sink
ROOT = Path(__file__).parents[2]

AGENT = r"""
import os, re, sys
path = sys.argv[1]

def step(word):
    print(word, flush=True)
    sys.stdin.readline()

print("ready", flush=True)
number = 0
while sys.stdin.readline():
    number += 1
    with open(path) as file:
        kept = re.sub(r"(?ms)^\[default\]\n.*?(?=^\[|\Z)", "", file.read())
    ours = "[default]\n" + "".join(f"{key} = agent{number}\n" for key in (
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token")) + "\n"
    text = (kept + ours).encode()
    half = len(kept.encode()) // 2 if kept else len(text) // 2
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    step("truncated")
    os.write(file, text[:half])
    step("half")
    os.write(file, text[half:])
    step("whole")
    os.close(file)
    print("closed", flush=True)
"""


class Agent:
    """The agent's process, one step at a time."""

    def __init__(self, file: Path) -> None:
        command = [sys.executable, "-c", AGENT, str(file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hears() == "ready"

    def hears(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def goes_on(self) -> str:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.hears()

    def until(self, word: str) -> None:
        while self.goes_on() != word:
            pass

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(OTHER)
    path.chmod(0o600)
    return path


@pytest.fixture
def agent(file: Path) -> Iterator[Agent]:
    running = Agent(file)
    yield running
    running.end()


def output(file: Path, owner: int | None = None) -> CredentialsFile:
    return CredentialsFile(
        str(file), "default", 0o600, keep_mode=True, owner=owner, group=None, replace_long_lived_keys=False
    )


def token(number: int) -> RoleToken:
    return RoleToken(f"ASIA{number:016}", f"ours{number}", f"ours{number}", datetime(2100, 1, 1, tzinfo=UTC))


def writer(file: Path) -> str:
    """Whose credentials the file holds, all three of them; the other profile is whole."""
    found = raw_config_parse(str(file))
    assert found["other"] == {"aws_access_key_id": "AKIAOTHER", "aws_secret_access_key": "a#b"}
    assert file.read_text().startswith(OTHER)
    ours = found["default"]
    number = re.sub("[^0-9]", "", ours["aws_access_key_id"]).lstrip("0")
    whose = "agent" if ours["aws_access_key_id"].startswith("agent") else "ours"
    assert ours["aws_secret_access_key"] == ours["aws_session_token"] == f"{whose}{number}"
    return f"{whose}{number}"


@pytest.mark.parametrize("step", ["truncated", "half", "whole", "closed"])
def test_what_the_agent_is_writing_is_waited_for_and_then_taken_over(file: Path, agent: Agent, step: str) -> None:
    agent.until(step)
    waited: list[object] = []

    def nap(duration: object) -> None:
        if not waited:
            agent.until("closed")
        waited.append(duration)

    file_sink(nap).publish(output(file), token(1))
    assert len(waited) == (0 if step == "closed" else 1)
    assert writer(file) == "ours1"
    agent.until("closed")
    assert writer(file) == "agent2"
    assert file_sink(nap).overwritten(output(file), token(1).access_key_id, token(1).expires_at)
    file_sink(nap).publish(output(file), token(3))
    assert writer(file) == "ours3"
    assert not file_sink(nap).overwritten(output(file), token(3).access_key_id, token(3).expires_at)


@pytest.mark.parametrize("step", ["truncated", "half", "whole"])
def test_while_somebody_keeps_the_file_open_nothing_is_published_and_nothing_lost(
    file: Path, agent: Agent, step: str
) -> None:
    agent.until(step)
    for act in (lambda sink: sink.prepare(output(file)), lambda sink: sink.publish(output(file), token(1))):
        naps: list[object] = []
        with pytest.raises(OutputError, match="another program is writing it") as caught:
            act(file_sink(naps.append))
        assert (caught.value.code, len(naps)) == ("file-being-written", PATIENCE)
    if step != "whole":
        agent.until("whole")
    agent.until("closed")
    assert writer(file) == "agent1"
    file_sink(naps.append).publish(output(file), token(2))
    assert writer(file) == "ours2"


# Root without the capability to ask who writes the file of another user, as the unit leaves it: it publishes, and tells
# of each nap, until which whoever writes may go on.
POWERLESS = ["setpriv", "--bounding-set=-lease"]
PUBLISHER = """
import sys
from tests.rivals.test_rivals_agent import Path, file_sink, output, token
def nap(_):
    print("nap", flush=True)
    sys.stdin.readline()
file_sink(nap).publish(output(Path(sys.argv[1]), owner=12345), token(1))
print("published", flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes files of others")
@pytest.mark.parametrize("step", ["truncated", "half", "whole", "closed"])
def test_where_nobody_tells_who_writes_the_file_it_is_published_once_it_stands_still(
    file: Path, agent: Agent, step: str
) -> None:
    os.chown(file, 12345, 12345)
    agent.until(step)
    command = [*POWERLESS, sys.executable, "-c", PUBLISHER, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdin
        assert publisher.stdout
        for said in publisher.stdout:
            if said == "published\n":
                break
            if step != "closed":
                step = agent.goes_on()
            publisher.stdin.write("\n")
            publisher.stdin.flush()
    assert publisher.returncode == 0
    assert step == "closed"
    assert writer(file) == "ours1"
    assert file.stat().st_uid == 12345
