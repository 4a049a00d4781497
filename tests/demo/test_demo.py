"""The demonstration keeps its own promises: it says so when something fails, and it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).with_name("demo.py")
DAEMON_STARTS = "4. "
DAEMON_RUNS = "5. "


class Audience:
    """Watches the demonstration in a directory for temporary files of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, DEMO],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(directory), "HOME": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def watch_until(self, beginning: str) -> None:
        """Read until a line that begins so."""
        assert self.process.stdout is not None
        assert any(line.startswith(beginning) for line in self.process.stdout), "it ended before that"

    def watch_to_the_end(self) -> tuple[int, str, str]:
        out, complaints = self.process.communicate(timeout=100)
        return self.process.returncode, out, complaints

    def programs(self) -> dict[int, str]:
        """Every process that works in the demonstration's directory: pid and command line."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                here = (process / "cwd").readlink().is_relative_to(self.directory)
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or another user's
                continue
            if here:
                found[int(process.name)] = command
        return found

    def left_behind(self) -> tuple[list[Path], dict[int, str]]:
        return list(self.directory.iterdir()), self.programs()


@pytest.fixture
def audience(tmp_path: Path) -> Audience:
    return Audience(tmp_path)


def test_it_shows_the_whole_job_and_leaves_nothing_behind(audience: Audience) -> None:
    code, out, complaints = audience.watch_to_the_end()
    assert code == 0, complaints
    assert not complaints
    assert out.count(":assumed-role/RackServer/mi-") == 7  # twice by file, by process and by endpoint, then once more
    assert out.count(":assumed-role/Reports/mi-") == 2
    assert out.count("container-role ASIA") == 2
    before, after = re.findall(r"was (ASIA\w+), and is (ASIA\w+) now", out)[0]
    assert before != after
    assert "Entering rolekeeper hibernate - error occurred in RequestManagedInstanceRoleToken" in out
    secrets = re.findall(r"(?:secret_access_key|session_token|SECRET_ACCESS_KEY|ActivationCode\")[ =:\"]+(\S+)", out)
    assert [len(secret.strip('",')) for secret in secrets] == [len("1234...")] * 4  # never shown whole
    assert audience.left_behind() == ([], {})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_interrupted_it_leaves_nothing_behind(audience: Audience, number: signal.Signals, code: int) -> None:
    audience.watch_until(DAEMON_STARTS)
    assert audience.programs()
    audience.process.send_signal(number)
    ended, _, complaints = audience.watch_to_the_end()
    assert ended == code
    assert "Traceback" not in complaints
    assert audience.left_behind() == ([], {})


def test_it_fails_when_a_promise_is_broken(audience: Audience) -> None:
    audience.watch_until(DAEMON_RUNS)
    emulator = next(pid for pid, command in audience.programs().items() if " emulator " in command)
    os.kill(emulator, signal.SIGKILL)
    code, out, complaints = audience.watch_to_the_end()
    assert code == 1
    assert "Not as promised:" in complaints
    assert "Everything came out" not in out
    assert audience.left_behind() == ([], {})
