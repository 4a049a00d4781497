"""docs/outcomes.md says what the code does."""

import re
from pathlib import Path

import pytest

from rolekeeper.adapters.ssm.codes import MEANINGS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")
SERVICE_CODES, OUR_CODES = DOCUMENT.split("## Rolekeeper's own codes")
ROW = re.compile(r"^\| `([A-Za-z]+)` \| ([a-z-]+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_every_code_of_the_table_is_documented_and_no_other() -> None:
    assert [row[0] for row in ROW.findall(SERVICE_CODES)] == list(MEANINGS)


@pytest.mark.parametrize(
    "code",
    ["unreachable", "timeout", "connection-lost", "proxy-failed", "tls-failed", "ca-bundle-unreadable", "throttled"],
)
def test_our_own_codes_are_documented(code: str) -> None:
    assert f"`{code}`" in OUR_CODES
