"""What docs/reliability.md names is there: each command, each test, and as many cases as it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[^`]+)`")


def test_each_test_that_the_page_names_is_there() -> None:
    named = set(NAMED.findall(PAGE))
    assert len(named) > 30
    assert [path for path in sorted(named) if not (ROOT / path.partition("::")[0]).exists()] == []


def test_each_make_target_that_the_page_names_is_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", PAGE)) - {"it", "every"} <= targets


def attacks() -> dict[str, tuple[str, list[str]]]:
    """Of each attack how many cases the page says, and the tests that are named."""
    table = PAGE.partition("## Promise by promise\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {attack: (cases, NAMED.findall(command)) for _, attack, cases, _, command in rows[1:]}


def collected(*tests: str) -> list[str]:
    """What pytest would run of these, as in `make faults`."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "ROLEKEEPER_WHOLE": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("tests/")]


def test_a_number_of_cases_that_stands_alone_is_how_many_tests_the_command_has() -> None:
    said = {attack: (int(cases), tests) for attack, (cases, tests) in attacks().items() if cases.isdecimal()}
    found = collected(*{test for _, tests in said.values() for test in tests})

    def count(tests: list[str]) -> int:
        within = tuple(f"{test}{end}" for test in tests for end in ("::", "[", "/"))
        return sum(one in tests or one.startswith(within) for one in found)

    assert len(said) > 12
    assert {attack: number for attack, (number, _) in said.items()} == {
        attack: count(tests) for attack, (_, tests) in said.items()
    }


def test_every_other_number_of_cases_says_of_what() -> None:
    wordless = [attack for attack, (cases, _) in attacks().items() if not re.search(r"[a-z]{4}|^\d+$", cases)]
    assert wordless == []
