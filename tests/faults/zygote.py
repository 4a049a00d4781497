"""A process that has imported everything a command needs, and forks a child for each run of it.

Started as `python -m tests.faults.zygote FD`, it reads jobs from the socket FD, one JSON object a line, and answers
each with one. The child calls `rolekeeper.cli.main` as the installed command does, so what comes before it, the
interpreter's start and some 12,000 system calls of imports, is neither waited for nor traced.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tests.faults.tracing import Trace, be_traced, reap

from rolekeeper import cli

LONGEST_SECONDS = 60
STREAMS = ("stdin", "stdout", "stderr")
NAMED = {"/proc/sys/kernel/random/boot_id": "boot_id"}  # files of the system's that are attacked as our own
EXITED_NOT = -1  # in place of an exit code, when the child was still there after LONGEST_SECONDS


def _become(job: dict[str, Any], streams: list[Path]) -> None:
    """Make this child the command that the job describes."""
    for descriptor, stream in enumerate(streams):
        opened = os.open(stream, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
        os.dup2(opened, descriptor)
        os.close(opened)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["root"])
    sys.argv = job["command"]
    if job["spoiled"]:
        be_traced()


def _follow(job: dict[str, Any], pid: int, streams: list[Path]) -> tuple[int, Trace | None]:
    if not job["spoiled"]:
        return os.waitpid(pid, 0)[1], None
    names = {**dict(zip(map(str, streams), STREAMS, strict=True)), **NAMED}
    trace = Trace(pid, job["root"], names, **job["spoiled"])
    return trace.run(), trace


def _perform(job: dict[str, Any]) -> dict[str, Any] | None:
    """One run; None in the child."""
    streams = [Path(job["scratch"], name) for name in STREAMS]
    for stream, text in zip(streams, (job["stdin"], "", ""), strict=True):
        stream.write_text(text)
    pid = os.fork()
    if pid == 0:
        _become(job, streams)
        return None
    code, trace = _ended(job, pid, streams)
    steps = [(step.kind.value, step.call) for step in trace.steps] if trace else []
    return {"code": code, "out": streams[1].read_text(), "err": streams[2].read_text(), "steps": steps}


def _ended(job: dict[str, Any], pid: int, streams: list[Path]) -> tuple[int, Trace | None]:
    def give_up(_number: int, _frame: object) -> None:
        os.kill(pid, signal.SIGKILL)
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_SECONDS)
    try:
        status, trace = _follow(job, pid, streams)
    except TimeoutError:
        reap(pid)
        return EXITED_NOT, None
    finally:
        signal.alarm(0)
    return os.waitstatus_to_exitcode(status), trace


def _serve(lines: TextIO) -> dict[str, Any] | None:
    """Do jobs until the other side goes; returns the job to be done by this process, when it is a child."""
    for line in lines:
        job = json.loads(line)
        for name in job.get("modules", ()):
            with suppress(ImportError):  # some names are given by another module, and are there with it
                importlib.import_module(name)
        gc.freeze()  # what is there already is no child's garbage
        answer = {} if "modules" in job else _perform(job)
        if answer is None:
            return dict(job)
        lines.write(json.dumps(answer) + "\n")
        lines.flush()
    return None


def main() -> int:
    """Serve; in a child, be the command."""
    with socket.socket(fileno=int(sys.argv[1])) as channel, channel.makefile("rw") as lines:
        job = _serve(lines)
    if job is None:
        return 0
    code = cli.main()
    if job["learn"]:
        Path(job["learn"]).write_text(json.dumps(list(sys.modules)))
    return code


if __name__ == "__main__":
    sys.exit(main())
