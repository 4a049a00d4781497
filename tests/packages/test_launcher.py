"""The command that each way of installing leaves, run in an environment that is set against it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.packages.conftest import ROOT, Unpacked

from rolekeeper import __version__

# What Python reads of its environment, with a value that changes or breaks an interpreter that heeds it. DIR holds
# modules that end the program when they are loaded.
HOSTILE = {
    "PYTHONHOME": "DIR",
    "PYTHONPATH": "DIR",
    "PYTHONSTARTUP": "DIR/json.py",
    "PYTHONUTF8": "nonsense",
    "PYTHONPLATLIBDIR": "nowhere",
    "PYTHONUSERBASE": "DIR",
    "PYTHONINSPECT": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONDEBUG": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONHASHSEED": "nonsense",
    "PYTHONIOENCODING": "utf-16",
    "PYTHONMALLOC": "nonsense",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONTRACEMALLOC": "nonsense",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONDEVMODE": "1",
    "PYTHONDUMPREFS": "1",
    "PYTHONINTMAXSTRDIGITS": "nonsense",
    "PYTHONPYCACHEPREFIX": "DIR/cache",
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONCASEOK": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONEXECUTABLE": "DIR/python3",
    "__PYVENV_LAUNCHER__": "DIR/python3",
}


@pytest.fixture(scope="module")
def by_package(unpacked: Unpacked) -> Path:
    return unpacked.launcher


@pytest.fixture(scope="module")
def by_make(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a package's tree, but for one interpreter; `make install` itself is tried in tests/systems."""
    root = tmp_path_factory.mktemp("by-make")
    home = root / "lib" / "rolekeeper"
    libraries = home / "lib" / "python3" / "site-packages"
    shutil.copytree(ROOT / "src" / "rolekeeper", libraries / "rolekeeper", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "bin").mkdir()
    minor = f"3.{sys.version_info[1]}"
    (home / "lib" / f"python{minor}").symlink_to("python3")
    interpreter = os.path.realpath(sys.executable)
    for name in ("python3", f"python{minor}"):
        (home / "bin" / name).symlink_to(interpreter)
    (home / "pyvenv.cfg").write_text(f"home = {Path(interpreter).parent}\n")
    (root / "bin").mkdir()
    shutil.copy(ROOT / "packaging" / "launcher", root / "bin" / "rolekeeper")
    return root / "bin" / "rolekeeper"


@pytest.fixture(scope="module")
def by_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel; the commands tried here need no library."""
    root = tmp_path_factory.mktemp("by-pip")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", root]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = root.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", root / "venv" / "bin" / "python3"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True, capture_output=True)
    return root / "venv" / "bin" / "rolekeeper"


@pytest.fixture(params=["by_package", "by_make", "by_pip"])
def launcher(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A directory whose modules end any program that loads them."""
    for name in ("json", "argparse", "re", "sitecustomize", "usercustomize", "rolekeeper"):
        (tmp_path / f"{name}.py").write_text("import os\nos.write(2, b'hijacked')\nos._exit(1)\n")
    return tmp_path


def run(launcher: Path, *arguments: str, directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(directory), **environment}
    return subprocess.run(
        [launcher, *arguments], cwd=directory, env=variables, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("variable", HOSTILE)
def test_no_variable_of_the_caller_changes_the_program(variable: str, launcher: Path, trap: Path) -> None:
    done = run(launcher, "version", "--json", directory=trap, **{variable: HOSTILE[variable].replace("DIR", str(trap))})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"version": __version__}
    assert not (trap / "cache").exists()


def test_a_link_to_the_command_is_the_command(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(launcher)
    assert run(tmp_path / "link", "version", directory=tmp_path).stdout == f"rolekeeper {__version__}\n"


def test_the_command_is_found_through_a_relative_path(launcher: Path) -> None:
    done = run(Path("rolekeeper"), "version", directory=launcher.parent, PATH=".")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"rolekeeper {__version__}\n")


def test_exit_code_and_arguments_are_the_programs(launcher: Path, tmp_path: Path) -> None:
    done = run(launcher, "credential-process", "--file", "/no such/fi'le", directory=tmp_path)
    assert done.returncode == 74
    assert "/no such/fi'le" in done.stderr


INTERPRETERS = {  # what is in bin/, as links, -> which of it runs; None when nothing can
    "the system's python3 is taken, not the newest": ({"3": "old", "3.11": "old", "3.14": "new"}, "python3"),
    "the newest, when python3 is not supported": ({"3": "unsupported", "3.12": "old", "3.13": "new"}, "python3.13"),
    "one that is there": ({"3": "gone", "3.11": "gone", "3.12": "new", "3.13": "gone"}, "python3.12"),
    "none": ({"3": "unsupported", "3.11": "gone", "3.12": "gone"}, None),
}


@pytest.mark.parametrize(("links", "runs"), INTERPRETERS.values(), ids=INTERPRETERS)
def test_the_launcher_takes_a_supported_interpreter(links: dict[str, str], runs: str | None, tmp_path: Path) -> None:
    home = tmp_path / "usr" / "lib" / "rolekeeper" / "bin"
    home.mkdir(parents=True)
    for name in ("old", "new", "unsupported"):
        (tmp_path / name).write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    for version, target in links.items():
        (home / f"python{version}").symlink_to(tmp_path / target)
    launcher = tmp_path / "usr" / "bin" / "rolekeeper"
    launcher.parent.mkdir()
    shutil.copy(ROOT / "packaging" / "launcher", launcher)
    done = run(launcher, "run", directory=tmp_path)
    if runs is None:
        assert done.returncode == 69
        assert done.stderr == (
            "rolekeeper: Cannot start: it is installed for Python 3.11 3.12, and none of these is here;"
            " install one of them, or rolekeeper for the Python of this machine\n"
        )
    else:
        assert done.stdout == f"{runs} -I -B {launcher} run\n"


def test_a_virtual_environment_whose_python_has_changed_says_so(by_make: Path, tmp_path: Path) -> None:
    shutil.copytree(by_make.parents[1], tmp_path / "moved", symlinks=True)
    for link in (tmp_path / "moved/lib/rolekeeper/lib").glob("python3.*"):
        link.unlink()
    done = run(tmp_path / "moved/bin/rolekeeper", "run", directory=tmp_path)
    assert done.returncode == 69
    assert done.stderr.startswith("rolekeeper: Cannot start: it is not installed for Python 3.")
    assert done.stderr.count("\n") == 1


def test_an_attempt_of_the_daemon_writes_no_bytecode_either(unpacked: Unpacked) -> None:
    program = "from rolekeeper.compose import own_command as f; print(*f(None, 'attempt')[1:3])"
    assert unpacked.execute("-c", program).stdout == "-I -B\n"


def test_a_python_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    for name, code in {"python3": 1, "python3.13": 0, "python3.11": 0}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run([ROOT / "packaging/find-python"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'python3.13'}\n"


def test_without_any_supported_python_the_package_to_install_is_named(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "packaging/find-python"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("find-python: no Python 3.11 to 3.14 is here; ")
    assert done.stderr.count("\n") == 1
