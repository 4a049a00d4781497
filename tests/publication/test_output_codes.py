"""docs/outcomes.md lists each code that an output can be refused with, and no other."""

import errno
import os
import re
from pathlib import Path

from rolekeeper.adapters.files.replace import describe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "outcomes.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Codes of an output")[2].partition("## ")[0]
SOURCES = ("adapters/outputs/*", "adapters/files/*", "core/credentialsfile", "core/editcheck", "core/ini")
RAISED = re.compile(r'(?:RefusedFileError|OutputError|UnparsableError|refusal)\(\s*"([a-z0-9-]+)"')


def test_each_code_of_an_output_is_documented_and_no_other() -> None:
    files = [file for name in SOURCES for file in (ROOT / "src" / "rolekeeper").glob(f"{name}.py")]
    said = {code for file in files for code in RAISED.findall(file.read_text(encoding="utf-8"))}
    said |= {describe(OSError(number, os.strerror(number)))[0] for number in errno.errorcode}
    said |= {f"{what}-{kind}" for what in ("unknown", "unmapped") for kind in ("user", "group")}
    first_cells = re.findall(r"^\| (`[^|]+) \|", SECTION, re.MULTILINE)
    assert sorted(re.findall("`([^`]+)`", " ".join(first_cells))) == sorted(said)
