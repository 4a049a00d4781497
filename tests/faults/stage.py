"""A server whose commands run in children of a zygote, and which is put back to the same beginning before each run."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import COMMAND, Server
from tests.faults.calls import Kind, Step
from tests.faults.scenarios import Scenario
from tests.faults.sealed import OWN_ETC

ROOT = Path(__file__).parents[2]
# A request that could not be sent is waited for as long: the service may have answered before it was all there.
PATIENCE = '[service]\nread_timeout = "5s"\n'


@dataclass(frozen=True)
class Ran:
    """How a command ended, what it printed, and the steps that it took if they were counted."""

    code: int
    out: str
    err: str
    steps: tuple[Step, ...] = ()

    @property
    def was_killed(self) -> bool:
        return self.code == -9


class Zygote:
    """The other side of zygote.py."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._ours, theirs = socket.socketpair()
        alone = ["unshare", "--mount", "sh", "-c", OWN_ETC, "sh", str(scratch / "etc")]
        command = [*alone, sys.executable, "-m", "tests.faults.zygote", str(theirs.fileno())]
        # Python makes the streams when it starts, by the environment: a command's are those of a command.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL, env=env
        )
        theirs.close()
        self._lines = self._ours.makefile("rw")

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self._lines.write(json.dumps(job) + "\n")
        self._lines.flush()
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def close(self) -> None:
        self._lines.close()
        self._ours.close()
        self._process.wait(timeout=60)


@contextmanager
def zygote(scratch: Path) -> Iterator[Zygote]:
    scratch.mkdir(parents=True, exist_ok=True)
    started = Zygote(scratch)
    try:
        yield started
    finally:
        started.close()


@dataclass
class Stage:
    """One scenario on one server, to be run again and again from the same beginning."""

    zygote: Zygote
    server: Server
    scenario: Scenario
    template: Path = field(init=False)

    def __post_init__(self) -> None:
        self.template = self.server.directory.with_name("template")
        self.scenario.prepare(self.server)
        if self.server.node_id:
            assert self.run("attempt").code == 0
        shutil.copytree(self.server.directory, self.template, symlinks=True)
        self._learn()

    def _learn(self) -> None:
        """Have the zygote import what the commands of this scenario import, so that nobody meets an import later."""
        learned = self.zygote.scratch / "modules"
        for arguments in (self.scenario.arguments, lambda _: ("attempt",)):
            self.reset()
            self._run(arguments(self.server), learn=str(learned))
            self.zygote.ask({"modules": json.loads(learned.read_text())})

    def reset(self) -> None:
        shutil.rmtree(self.server.directory)
        shutil.copytree(self.template, self.server.directory, symlinks=True)
        self.server.emulator.clear_faults()
        self.server.emulator.forget_requests()
        self.scenario.reset(self.server)
        config = self.server.config
        config.write_text(config.read_text().replace("[service]\n", PATIENCE))

    def run(self, *arguments: str) -> Ran:
        return self._run(arguments)

    def perform(
        self, at: int | None = None, fault: str = "", *, lasting: bool = False, takes_effect: bool = False
    ) -> Ran:
        """The scenario's command under trace, spoiled at one step if that is given; see Trace."""
        closed = self.scenario.closed
        spoiled = {"at": at, "fault": fault, "lasting": lasting, "takes_effect": takes_effect, "closed": closed}
        return self._run(self.scenario.arguments(self.server), spoiled=spoiled)

    def again(self) -> Ran:
        """The scenario's command once more, as a person would."""
        return self._run(self.scenario.arguments(self.server))

    def _run(self, arguments: tuple[str, ...], *, spoiled: dict[str, Any] | None = None, learn: str = "") -> Ran:
        activation = self.server.activation
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.server.directory)}
        job = {
            "command": [COMMAND, "--config", str(self.server.config), *arguments],
            "environment": {**environment, **self.scenario.environment},
            "stdin": activation.code if activation else "",
            "root": str(self.server.directory),
            "scratch": str(self.zygote.scratch),
            "spoiled": spoiled,
            "learn": learn,
        }
        answer = self.zygote.ask(job)
        steps = tuple(Step(Kind(kind), call) for kind, call in answer["steps"])
        return Ran(answer["code"], answer["out"], answer["err"], steps)
