"""A box: a real systemd in namespaces of its own, booted by `sdbox` in about half a second, over this machine's files.

What is written in it is gone when it stops, unless it has a `state` directory. Everything in it is done through
`run`, which enters the box as root, and through the files below `root`.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BOXES = Path(f"/dev/shm/rolekeeper-boxes-{os.getpid()}")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SDBOX_DIR": str(BOXES)}
LONGEST = 60  # seconds that anything may take on a busy machine
NEEDED = (
    *("/lib/systemd/systemd:systemd", "dbus-daemon:dbus", "nsenter:util-linux", "ip:iproute2", "dmidecode:dmidecode"),
    *("x86_64-linux-gnu-strip:binutils", "rpmbuild:rpm"),  # to build the packages
)


def why_not() -> str:
    """Why no box can be booted here; empty when one can. As root, Debian's packages are installed that it takes."""
    if os.geteuid() != 0:
        return "a real systemd in namespaces takes root"
    command = [str(HERE.parents[1] / "packaging" / "need-programs"), *NEEDED]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command in the box ended."""

    code: int
    out: str
    err: str


@dataclass
class Box:
    """One box. `binds` are HOST:BOX pairs of directories; `state` keeps what is written over a stop or a crash.

    `rootfs` is the root file system below the box's own, default this machine's.
    `variable` is NAME=VALUE in the environment of systemd and of every command.
    """

    name: str
    binds: tuple[str, ...] = ()
    private_network: bool = False
    state: Path | None = None
    rootfs: Path | None = None
    variable: str = ""

    def start(self) -> None:
        more = {"NET": "1"} if self.private_network else {}
        if self.variable:
            more["PID1_ENV"] = self.variable
        if self.state is not None:
            self.state.mkdir(parents=True, exist_ok=True)
            more["STATE"] = str(self.state)
        if self.rootfs is not None:
            more["ROOTFS"] = str(self.rootfs)
        said = self._sdbox("start", *self.binds, **more)
        if said.out.strip() not in ("running", "degraded"):
            pytest.fail(f"the box did not boot: {said}")

    def stop(self) -> None:
        self._sdbox("stop")

    def crash(self) -> None:
        """Every process gone at once, as when the power fails."""
        self._sdbox("kill")

    @property
    def root(self) -> Path:
        """The box's root directory, seen from outside."""
        return Path(f"/proc/{(BOXES / self.name / 'pid1').read_text().strip()}/root")

    def run(self, *command: str, stdin: str = "", expect: int | None = 0) -> Said:
        """Run a command in the box as root; its exit code must be `expect`, unless that is None."""
        environment = ("env", self.variable) if self.variable else ()
        said = self._sdbox("exec", *environment, *command, stdin=stdin)
        assert expect in (None, said.code), f"{' '.join(command)}: {said.code}\n{said.out}\n{said.err}"
        return said

    def shell(self, script: str, expect: int | None = 0) -> Said:
        return self.run("/bin/bash", "-eu", "-s", stdin=script, expect=expect)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in the box, with its directories."""
        self.run("install", "-D", f"-m{mode:o}", "/dev/stdin", path, stdin=text)

    def read(self, path: str) -> str:
        return self.run("cat", path).out

    def systemctl(self, *arguments: str, expect: int | None = 0) -> Said:
        return self.run("systemctl", *arguments, expect=expect)

    def property(self, unit: str, name: str) -> str:
        return self.systemctl("show", "-P", name, unit).out.strip()

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Entries, oldest first; a field with bytes that are no text comes as a list of numbers."""
        out = self.run("journalctl", "--output=json", "--all", "--quiet", *matches, expect=None).out
        return [json.loads(line) for line in out.splitlines()]

    def until(self, what: str, seen: Callable[[], Any]) -> Any:
        """Look again and again until `seen` says something that counts as true; that is returned."""
        latest = time.monotonic() + LONGEST
        while not (found := seen()):
            if time.monotonic() > latest:
                self.explain()
                pytest.fail(f"in the box it never came about that {what}")
            time.sleep(0.05)
        return found

    def explain(self) -> None:
        """Print what happened in the box, for whoever reads why a test failed."""
        print(self.run("systemctl", "status", "--no-pager", "rolekeeper", expect=None).out)
        print(self.run("journalctl", "--no-pager", "-n", "60", expect=None).out)

    def background(self, *command: str) -> subprocess.Popen[str]:
        """A command that goes on while the test does; it ends with the box. Its output is to be read."""
        return subprocess.Popen(
            [HERE / "sdbox", "exec", self.name, *command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def _sdbox(self, verb: str, *arguments: str, stdin: str = "", **more: str) -> Said:
        done = subprocess.run(
            [HERE / "sdbox", verb, self.name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=4 * LONGEST,
            check=False,
            env={**ENVIRONMENT, **more},
        )
        return Said(done.returncode, done.stdout, done.stderr)


def forget_boxes() -> None:
    """Remove what stopped boxes have left behind."""
    shutil.rmtree(BOXES, ignore_errors=True)
