"""docs/outcomes.md says what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.ssm.conftest import error_reply, ssm_client

from rolekeeper.adapters.ssm.codes import MEANINGS
from rolekeeper.errors import FingerprintRefusedError, NodeUnknownError, RolekeeperError, ServiceError
from rolekeeper.model import Outcome, Registration

DOCUMENT = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")
SERVICE_CODES, OUR_CODES = DOCUMENT.split("## Rolekeeper's own codes")
ROW = re.compile(r"^\| `([A-Za-z]+)` \| ([a-z-]+) \| (.+) \| (.+) \|$", re.MULTILINE)


def outcome(error: BaseException) -> Outcome:
    kinds = {
        FingerprintRefusedError: Outcome.FINGERPRINT_REFUSED,
        NodeUnknownError: Outcome.NODE_UNKNOWN,
        ServiceError: Outcome.FAILED,
    }
    return kinds.get(type(error), Outcome.REFUSED)


def test_every_code_of_the_table_is_documented_and_no_other() -> None:
    assert [row[0] for row in ROW.findall(SERVICE_CODES)] == list(MEANINGS)


@pytest.mark.parametrize(("code", "documented"), [row[:2] for row in ROW.findall(SERVICE_CODES)])
@pytest.mark.parametrize("suffix", ["", "Exception"])
def test_each_code_leads_to_the_documented_outcome(
    code: str, documented: str, suffix: str, service: Any, node: Registration
) -> None:
    service.says(error_reply(code + suffix))
    with pytest.raises(RolekeeperError) as caught:
        ssm_client(service.url).request_role_token(node, "f")
    assert outcome(caught.value) == documented
    assert caught.value.hint


@pytest.mark.parametrize(
    "code",
    ["unreachable", "timeout", "connection-lost", "proxy-failed", "tls-failed", "ca-bundle-unreadable", "throttled"],
)
def test_our_own_codes_are_documented(code: str) -> None:
    assert f"`{code}`" in OUR_CODES
