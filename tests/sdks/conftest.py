"""Programs of Debian's that read what rolekeeper publishes; a machine without them skips their tests and says so."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GO_PATH = "/usr/share/gocode"
GO_LIBRARIES = "/src/github.com/aws/aws-sdk-go", "/src/github.com/aws/aws-sdk-go-v2"


def needs(program: str) -> str:
    """The path of the program; without it, there is no test here."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing: `make check` installs it as root on Debian")
    return found


@pytest.fixture(scope="session")
def go_reader() -> str:
    """profiles.go, built."""
    go = needs("go")
    if not all(Path(f"{GO_PATH}{library}").is_dir() for library in GO_LIBRARIES):
        pytest.skip("AWS's SDKs for Go are missing: `make check` installs them as root on Debian")
    built = ROOT / "build" / "tests" / "profiles"
    environment = {"GO111MODULE": "off", "GOPATH": GO_PATH, "GOCACHE": str(ROOT / "build" / "go"), "PATH": "/usr/bin"}
    command = [go, "build", "-o", str(built), str(Path(__file__).with_name("profiles.go"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return str(built)


@pytest.fixture(scope="session")
def ruby_reader() -> list[str]:
    """The command that runs profiles.rb."""
    ruby = needs("ruby")
    if subprocess.run([ruby, "-e", 'require "aws-sdk-core"'], capture_output=True, check=False).returncode:
        pytest.skip("AWS's SDK for Ruby is missing: `make check` installs it as root on Debian")
    return [ruby, str(Path(__file__).with_name("profiles.rb"))]
