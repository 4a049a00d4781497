"""What docs/reliability.md names is there: each command and each test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_each_test_that_the_page_names_is_there() -> None:
    named = {path.partition("::") for path in re.findall(r"`(tests/[^`]+)`", PAGE)}
    assert len(named) > 30
    assert [path for path, _, _ in sorted(named) if not (ROOT / path).exists()] == []
    assert [test for path, _, test in sorted(named) if test and f"def {test}(" not in (ROOT / path).read_text()] == []


def test_each_make_target_that_the_page_names_is_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", PAGE)) - {"it", "every"} <= targets
