"""What is for other tools, checked by these tools: those of packaging/fleet.txt, and Debian's."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packages.conftest import left_out, need

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
TOOLS = ROOT / ".venv" / "fleet" / "bin"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a tool in a directory, with a home of its own; one that is missing leaves the test out."""

    def call(
        program: str, *arguments: str | Path, cwd: Path = ROOT, package: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        if package:
            need(program, package)
        found = shutil.which(program, path=f"{TOOLS}:{os.defpath}:/usr/sbin:/sbin")
        if found is None:
            left_out(f"`make check` installs {program}")
        environment = {"PATH": f"{TOOLS}:{os.defpath}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        return subprocess.run(
            [str(found), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return call
