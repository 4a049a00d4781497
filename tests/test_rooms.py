"""The rooms of the source: which module may import which, and who alone may touch the clock, files and environment.

Imports run one way: leaves <- core <- ports <- adapters | daemon | attempt <- compose <- cli. An import inside a
function or under TYPE_CHECKING counts like any other.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rolekeeper

SOURCE = Path(rolekeeper.__file__).parent

# A room is named by the modules in it, as patterns of their names below rolekeeper; the first one that fits counts.
ROOMS = {
    "leaf": r"(__init__|errors|model|settings|durations|identifiers|values)",
    "core": r"core(\..*)?",
    "ports": r"ports",
    "adapters": r"adapters(\..*)?",
    "daemon": r"daemon",
    "attempt": r"attempt(\..*)?",
    "config": r"config(\..*)?",
    "compose": r"compose",
    "endpoint": r"endpoint(\..*)?",
    "emulator": r"emulator(\..*)?",
    "cli": r"(cli(\..*)?|__main__)",
}
MAY_IMPORT = {
    "leaf": {"leaf"},
    "core": {"leaf", "core"},
    "ports": {"leaf", "core", "ports"},
    "adapters": {"leaf", "core", "ports", "adapters"},
    "daemon": {"leaf", "core", "ports", "daemon"},
    "attempt": {"leaf", "core", "ports", "attempt"},
    "config": {"leaf", "config"},
    "compose": {"leaf", "core", "ports", "adapters", "daemon", "attempt", "config", "compose"},
    "endpoint": {"leaf", "endpoint"},  # it has to start like a bare interpreter
    "emulator": {"emulator"},  # and SHARED_WITH_EMULATOR
    "cli": set(ROOMS),
}
SHARED_WITH_EMULATOR = r"(__init__|errors|adapters\.files\.\w+)"  # it has to be independent of what it is to test

# Packages that only some modules may import. `credential-process` and `endpoint` have to start like a bare interpreter,
# and the clock's module is larger than what they need of the time.
KEPT_TO = {
    "botocore": r"(adapters\.(sts|operator)|emulator\..*)",  # its data also in adapters/ssm/endpoints, by path
    "boto3": r"(adapters\.operator|emulator\..*)",
    "urllib3": r"emulator\..*",
    "psutil": r"adapters\.hardware",
    "cryptography": r"(adapters\.ssm\.nodekey|adapters\.vault\.box|emulator\..*)",
    "pydantic": r"config\..*",
    "pydantic_core": r"config\..*",
    "structlog": r"adapters\.supervision\.journal",
    "sdnotify": r"adapters\.supervision\.systemd",
    "h11": r"emulator\..*",
    "time": r"(adapters\.clock|emulator\..*|endpoint\..*|cli\.credential_process)",
}
# Names that only some modules may use, as they are written: `module.name`.
USED_ONLY_IN = {
    r"(datetime|date)\.(now|utcnow|today)": r"(adapters\.clock|emulator\..*|cli\.credential_process)",
    r"io\.(open|open_code|FileIO)": r"(?!core\.).*",  # core may have StringIO, which touches no file
    r"os\.(replace|renames|link)|shutil\.move|(?!os\.)[\w.]*\.rename": r"adapters\.files\.replace",
    r"os\.rename": r"adapters\.files\.(replace|paths)",  # the latter gives a new directory its name
    r"os\.(environ|environb|getenv|getenvb)": r"(compose|cli(\..*)?|emulator\..*)",
}
# What a pure module has no use for: the world outside, its clock, its chance.
IMPURE_MODULES = frozenset(
    [
        *("asyncio", "fcntl", "glob", "http", "logging", "multiprocessing", "os", "pathlib", "random", "secrets"),
        *("select", "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "uuid"),
    ]
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval"})

LARGEST_MODULE = 400  # lines
LARGEST_FUNCTION = 60  # lines
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Module:
    """A module: its name below rolekeeper, the names it imports in full, and the dotted names and calls in it."""

    name: str
    imports: frozenset[str]
    uses: frozenset[str]
    calls: frozenset[str]


def read(root: Path) -> list[Module]:
    paths = sorted(root.rglob("*.py"))
    known = {module_name(root, path) for path in paths}
    return [parse(module_name(root, path), path, known) for path in paths]


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts if parts == ("__init__",) or parts[-1] != "__init__" else parts[:-1])


def parse(name: str, path: Path, known: set[str]) -> Module:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    package = ["rolekeeper", *name.split(".")] if path.name == "__init__.py" else ["rolekeeper", *name.split(".")][:-1]
    imports = frozenset(found for node in nodes for found in imported(node, package, known))
    uses = frozenset(ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute))
    calls = frozenset(node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return Module(name, imports, uses | imports, calls)


def imported(node: ast.AST, package: list[str], known: set[str]) -> Iterator[str]:
    """The full names that a statement imports: `from a import b` is a.b where that is a module of ours or not ours."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*start, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            ours = base == "rolekeeper" or base.startswith("rolekeeper.")
            yield whole if not ours or whole.removeprefix("rolekeeper.") in known else base


def room(name: str) -> str:
    return next((room for room, pattern in ROOMS.items() if re.fullmatch(pattern, name)), "none")


def offences(root: Path) -> list[str]:
    """Every sentence that is wrong about a tree of modules."""
    return [offence for module in read(root) for offence in offences_of(module)]


def offences_of(module: Module) -> Iterator[str]:
    if room(module.name) == "none":
        yield f"{module.name} is in no room: add it to one in this test"
        return
    for name in sorted(module.imports):
        top, _, rest = name.partition(".")
        if top == "rolekeeper" and not may_import(module.name, rest or "__init__"):
            yield f"{module.name} imports {rest or top}, which is the wrong way"
        if not re.fullmatch(KEPT_TO.get(top, ".*"), module.name):
            yield f"{module.name} imports {top}, which is kept to {KEPT_TO[top]}"
        if room(module.name) == "core" and top in IMPURE_MODULES:
            yield f"{module.name} imports {top}, but core is pure"
    yield from misuses(module)


def may_import(importer: str, name: str) -> bool:
    if room(importer) == "emulator" and re.fullmatch(SHARED_WITH_EMULATOR, name):
        return True
    return room(name) in MAY_IMPORT[room(importer)]


def misuses(module: Module) -> Iterator[str]:
    for pattern, allowed in USED_ONLY_IN.items():
        used = sorted(name for name in module.uses if re.fullmatch(rf"(.*\.)?({pattern})", name))
        if used and not re.fullmatch(allowed, module.name):
            yield f"{module.name} uses {used[0]}, which is kept to {allowed}"
    if room(module.name) == "core" and module.calls & IMPURE_CALLS:
        yield f"{module.name} calls {', '.join(sorted(module.calls & IMPURE_CALLS))}, but core is pure"


def test_the_source_keeps_to_its_rooms() -> None:
    assert offences(SOURCE) == []


def test_no_module_and_no_function_is_longer_than_a_reader_likes() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    assert [path for path, text in texts.items() if len(text.splitlines()) > LARGEST_MODULE] == []
    functions = [node for text in texts.values() for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTIONS)]
    assert [node.name for node in functions if node.end_lineno - node.lineno >= LARGEST_FUNCTION] == []


# One offence for each way in which the check finds any; which rooms may import which is said once, in MAY_IMPORT.
WRONG = {
    "core reaches outward": ("core/a.py", "from rolekeeper import ports", "core.a imports ports"),
    "core reaches an adapter in a function": (
        "core/a.py",
        "def f():\n    from rolekeeper.adapters import clock",
        "core.a imports adapters.clock",
    ),
    "a relative import counts": ("core/a.py", "from ..adapters import clock", "core.a imports adapters.clock"),
    "a leaf imports core": ("model.py", "import rolekeeper.core", "model imports core"),
    "a type import counts": (
        "daemon.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rolekeeper.adapters.clock import SystemClock",
        "daemon imports adapters.clock",
    ),
    "the emulator knows the model": (
        "emulator/a.py",
        "from rolekeeper.model import Output",
        "emulator.a imports model",
    ),
    "core reads files": ("core/a.py", "import pathlib", "core.a imports pathlib, but core is pure"),
    "core opens": ("core/a.py", "x = open('/etc/passwd')", "core.a calls open"),
    "core opens by another name": ("core/a.py", "from io import FileIO", "core.a uses io.FileIO"),
    "core asks the time": ("core/a.py", "import datetime\nnow = datetime.datetime.now(None)", "datetime.datetime.now"),
    "an adapter asks the time": ("adapters/a.py", "from time import monotonic", "adapters.a imports time"),
    "an adapter replaces a file": ("adapters/a.py", "import os\nos.replace('a', 'b')", "adapters.a uses os.replace"),
    "an adapter renames a path": ("adapters/a.py", "def f(path):\n    path.rename('b')", "adapters.a uses path.rename"),
    "a name is taken out of os": ("adapters/a.py", "from os import replace", "adapters.a uses os.replace"),
    "an adapter reads the environment": (
        "adapters/a.py",
        "import os\nos.environ.get('A')",
        "adapters.a uses os.environ",
    ),
    "botocore out of its place": (
        "adapters/a.py",
        "from botocore.session import Session",
        "adapters.a imports botocore",
    ),
    "a module without a room": ("utils.py", "", "utils is in no room"),
}


@pytest.mark.parametrize(("file", "text", "offence"), WRONG.values(), ids=WRONG)
def test_an_offence_is_found(tmp_path: Path, file: str, text: str, offence: str) -> None:
    for name in (
        "__init__",
        "model",
        "ports",
        "config/__init__",
        "core/__init__",
        "adapters/__init__",
        "adapters/clock",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").touch()
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    (found,) = offences(tmp_path)
    assert offence in found


RIGHT = {
    "compose.py": "import os\nfrom rolekeeper.adapters.clock import SystemClock\nos.environ.get('A')",
    "cli/run.py": "from rolekeeper import compose, config, emulator\nfrom . import options",
    "cli/options.py": "import argparse",
    "emulator/a.py": "import time\nfrom rolekeeper import __version__, errors\nfrom . import b",
    "emulator/b.py": "from rolekeeper.adapters.files import replace",
    "adapters/files/replace.py": "import os\nos.replace('a', 'b')",
    "adapters/clock.py": "import time\nfrom datetime import datetime\ndatetime.now(None)",
    "core/a.py": "from datetime import timedelta\nfrom rolekeeper.model import Output\nx = 'a'.replace('a', 'b')",
    "daemon.py": "def f(clock):\n    return clock.now()",
}


def test_what_the_rules_allow_is_no_offence(tmp_path: Path) -> None:
    for name, text in {"__init__.py": "", "adapters/__init__.py": "", "config/__init__.py": "", **RIGHT}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    assert offences(tmp_path) == []


HEAVY = {
    "pydantic",
    "pydantic_core",
    "botocore",
    "boto3",
    "psutil",
    "cryptography",
    "asyncio",
    "ssl",
    "http",
    "tomllib",
}
RESIDENT = ["daemon", "adapters.clock", "adapters.supervision.journal", "adapters.supervision.systemd"]


@pytest.mark.parametrize("name", RESIDENT)
def test_what_stays_in_memory_loads_nothing_heavy(name: str) -> None:
    program = f"import sys, rolekeeper.{name}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) & HEAVY == set()
