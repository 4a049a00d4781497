"""What the demonstration stands on: a directory of its own, the programs it starts, and what the audience sees.

- Every command is shown as it is run: in this directory, with nothing of the caller's environment but PATH and LANG.
- Programs get a session of their own, so that Ctrl-C reaches only the demonstration, which ends them.
- Whatever happens, `close` ends every program and removes the directory.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

PROGRAMS = Path(sys.executable).parent  # rolekeeper, aws and python of the same virtual environment
PATIENCE_SECONDS = 20
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CredentialsFile = int | IO[bytes]
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class NotAsPromisedError(Exception):
    """Something came out otherwise than the demonstration says."""


class Stage(AbstractContextManager["Stage"]):
    """The directory, the environment of every program, and the programs in the background by name."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rolekeeper-demo-")).resolve()
        path = os.pathsep.join((str(PROGRAMS), os.environ.get("PATH", os.defpath)))
        self.environment = {
            "PATH": path,
            "HOME": str(self.directory),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "AWS_MAX_ATTEMPTS": "1",  # a service on the loopback interface that does not answer is not there
        }
        self._running: list[subprocess.Popen[str]] = []
        self._background: dict[str, subprocess.Popen[str]] = {}
        self._steps = 0
        self._starting = False
        self._interrupted = 0

    def __enter__(self) -> Self:
        for number in INTERRUPTIONS:
            signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self, title: str) -> None:
        """Say what comes now."""
        self._steps += 1
        print(f"\n{BOLD}{self._steps}. {title}{PLAIN}", flush=True)

    def say(self, text: str) -> None:
        """Show some lines, indented."""
        for line in text.splitlines():
            print(f"   {line}", flush=True)

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file in the directory."""
        path = self.directory / name
        path.touch(mode)
        path.write_text(text, encoding="utf-8")
        return path

    def run(
        self, *command: str, expect: int = 0, show: Callable[[str], str] = str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and show both; `show` chooses what of its output."""
        self._show_command(command, environment, "")
        process = self._spawn(command, environment, subprocess.PIPE, subprocess.PIPE)
        out, complaints = process.communicate()
        self._running.remove(process)
        done = subprocess.CompletedProcess(command, process.returncode, out, complaints)
        self.say(show(done.stdout).rstrip())
        self.say(done.stderr.rstrip())
        if expect:
            self.say(f"{DIM}exit code {done.returncode}{PLAIN}")
        promise(done.returncode == expect, f"{command[0]} ends with exit code {expect}, not {done.returncode}")
        return done

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a command in the background; what it prints goes to NAME.out and NAME.log."""
        self._show_command(command, environment, " &")
        with (self.directory / f"{name}.out").open("wb") as out, (self.directory / f"{name}.log").open("wb") as log:
            self._background[name] = self._spawn(command, environment, out, log)

    def terminate(self, name: str) -> int:
        """Send SIGTERM to a command in the background; its exit code."""
        process = self._background[name]
        print(f" {BOLD}$ kill -TERM {process.pid}{PLAIN}", flush=True)
        process.terminate()
        return self.ends(name)

    def ends(self, name: str) -> int:
        """Wait until a command in the background has ended; its exit code."""
        process = self._background.pop(name)
        return process.wait(PATIENCE_SECONDS)

    def wait_until(self, what: str, seen: Callable[[], bool]) -> None:
        """Look again and again, until `seen` says yes."""
        latest = time.monotonic() + PATIENCE_SECONDS
        while not seen():
            promise(time.monotonic() < latest, what)
            for name, process in self._background.items():
                promise(process.poll() is None, f"the {name} goes on running")
            time.sleep(0.05)

    def control(self, method: str, url: str, change: Mapping[str, Any] | None = None) -> Any:
        """Ask the emulator's control interface, and show it as one would do that by hand."""
        body = None if change is None else json.dumps(change)
        if body is not None:
            self._show_command(("curl", "-X", method, "-d", body, url), {}, "")
        request = urllib.request.Request(url, (body or "").encode() or None, method=method)  # noqa: S310 - our own loopback URL
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def text(self, name: str) -> str:
        """A file in the directory."""
        return (self.directory / name).read_text(encoding="utf-8")

    def close(self) -> None:
        """End what still runs and remove the directory."""
        for number in INTERRUPTIONS:
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory)

    def _spawn(
        self, command: tuple[str, ...], environment: Mapping[str, str], out: CredentialsFile, log: CredentialsFile
    ) -> subprocess.Popen[str]:
        """Start a program and note it down; an interruption waits until that is done, so that none is forgotten."""
        self._starting = True
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        self._starting = False
        if self._interrupted:
            self._interrupt(self._interrupted, None)
        return process

    def _interrupt(self, number: int, _frame: object) -> None:
        self._interrupted = number
        if not self._starting:
            print(f"\nInterrupted by {signal.Signals(number).name}.", file=sys.stderr)
            raise SystemExit(128 + number)

    def _show_command(self, command: tuple[str, ...], environment: Mapping[str, str], end: str) -> None:
        variables = [f"{name}={value}" for name, value in environment.items()]
        print(f" {BOLD}$ {' '.join([*variables, shlex.join(command)])}{end}{PLAIN}", flush=True)


def promise(kept: bool, what: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Go on only if it is so."""
    if not kept:
        raise NotAsPromisedError(what)
