"""Every other profile of a credentials file stays as AWS's SDKs read it before, and ours has the new credentials.

botocore is one of them (test_credentials_files.py); these have parsers of their own.
"""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.publication.test_credentials_files import CASES, PUBLISHED, data
from tests.sinks import file_sink

from rolekeeper.model import RoleToken

OURS = "default"
TOKEN = RoleToken("ASIA0000000000000001", "secret/1", "token==1", datetime(2099, 1, 1, tzinfo=UTC))
HEADER = re.compile(r"^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]", re.MULTILINE)
NO_SOURCE = f"of profile {OURS}, "
FEW = 20  # profiles that are not ours, in all files
MOST_PROFILES = 2  # of one file: a reader looks at the whole file for each

Read = dict[str, dict[str, list[dict[str, Any]]]]


def profiles(path: Path) -> list[str]:
    found = list(dict.fromkeys(HEADER.findall(path.read_text("utf-8"))))
    return [*found[:: max(1, len(found) // MOST_PROFILES)], OURS]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files before and after a publication into each of them."""
    before, after = (tmp_path_factory.mktemp(name) for name in ("before", "after"))
    sink = file_sink(lambda _: None)
    for name in PUBLISHED:
        for directory in (before, after):
            (directory / name).write_bytes(data(CASES[name]))
        sink.publish(sink.output(path=str(after / name)), TOKEN)
    return before, after


def read_by(command: list[str], before: Path, after: Path) -> tuple[Read, Read]:
    wanted = {name: profiles(after / name) for name in PUBLISHED}
    done = subprocess.run(
        [*command, str(before), str(after)], input=json.dumps(wanted), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    old, new = json.loads(done.stdout)
    return old, new


def without_source(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what an SDK says of a profile because its `source_profile`, which is ours, had no keys before."""
    return [
        one
        for one in found
        if (one.get("settings") or {}).get("SourceProfileName") != OURS and NO_SOURCE not in one["error"]
    ]


def check(old: Read, new: Read) -> None:
    keys = {
        "aws_access_key_id": TOKEN.access_key_id,
        "aws_secret_access_key": TOKEN.secret_access_key,
        "aws_session_token": TOKEN.session_token,
    }
    assert set(new) == set(PUBLISHED)
    others = 0
    for name in PUBLISHED:
        for profile, found in new[name].items():
            if profile != OURS:
                assert without_source(found) == without_source(old[name][profile]), (name, profile)
                others += 1
        for one in new[name][OURS]:
            assert (one["error"], {key: one.get(key) for key in keys}) == ("", keys), name
    assert others > FEW


def test_as_the_sdks_for_go_read_them(go_reader: str, published: tuple[Path, Path]) -> None:
    check(*read_by([go_reader], *published))


def test_as_the_sdk_for_ruby_reads_them(ruby_reader: list[str], published: tuple[Path, Path]) -> None:
    check(*read_by(ruby_reader, *published))
