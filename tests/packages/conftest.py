"""Both packages, built once and only when the sources have changed, and the .deb unpacked."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_BUILD = 600  # seconds; the first one fetches the libraries


@dataclass(frozen=True)
class Packages:
    """What `make packages` has built, and what it printed."""

    deb: Path
    rpm: Path
    printed: str


@dataclass(frozen=True)
class Unpacked:
    """A package's files below `root`, run without being installed."""

    root: Path

    @property
    def tree(self) -> Path:
        return self.root / "usr" / "lib" / "rolekeeper"

    @property
    def site_packages(self) -> Path:
        return self.tree / "lib" / "python3" / "site-packages"

    @property
    def launcher(self) -> Path:
        return self.root / "usr" / "bin" / "rolekeeper"

    @property
    def python(self) -> Path:
        return self.tree / "bin" / "python3"

    def rolekeeper(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return self.execute("-m", "rolekeeper", *arguments, stdin=stdin)

    def execute(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run the package's interpreter, isolated as the launcher does it."""
        command = [str(self.python), "-I", "-B", *arguments]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.root)}
        return subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


def need(program: str, package: str) -> None:
    """See that a program is there, or install it; as root that has to succeed, for others the test is skipped."""
    if shutil.which(program) is None:
        pair = f"{program}:{package}"
        done = subprocess.run([ROOT / "packaging" / "need-programs", pair], capture_output=True, text=True, check=False)
        if done.returncode:
            left_out(done.stderr.strip())


def left_out(reason: str) -> NoReturn:
    """The test cannot be made: for root, who can have all it takes, that is a failure and no reason to skip it."""
    if os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def packages() -> Packages:
    need("x86_64-linux-gnu-strip", "binutils")
    need("rpmbuild", "rpm")
    command = [sys.executable, "packaging/packages.py", "--architecture=amd64"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST_BUILD)
    assert done.returncode == 0, done.stdout + done.stderr
    (deb,) = (Path(word) for word in done.stdout.split() if word.endswith(".deb"))
    (rpm,) = (Path(word) for word in done.stdout.split() if word.endswith(".rpm"))
    return Packages(deb, rpm, done.stdout)


@pytest.fixture(scope="session")
def unpacked(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    need("dpkg-deb", "dpkg")
    root = tmp_path_factory.mktemp("deb")
    output("dpkg-deb", "--extract", packages.deb, root)
    if not os.access(root / "usr/lib/rolekeeper/bin/python3", os.X_OK):
        left_out("the package's interpreter, /usr/bin/python3, is not there")
    return Unpacked(root)
