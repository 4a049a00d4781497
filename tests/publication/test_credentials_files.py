"""Credentials files as people have them (credentials_files.toml), before and after a publication, as SDKs read them."""

import json
import random
import shutil
import string
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from botocore.configloader import raw_config_parse
from botocore.credentials import SharedCredentialProvider
from botocore.exceptions import ConfigParseError
from botocore.session import Session
from tests.sinks import Sink, new_token

from rolekeeper.core.credentialsfile import OUR_KEYS, STALE_TOKEN
from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken

CASES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("credentials_files.toml").read_text("utf-8"))
PUBLISHED = [name for name, case in CASES.items() if "refused" not in case]
TOKEN_LENGTH = 1200
# The parsers of AWS's SDKs for JavaScript, version 3 and 2: what each makes of every file in two directories.
NODE_READERS = """
const fs = require("fs"), directories = process.argv.slice(1);
const {loadSharedConfigFiles} = require("@smithy/shared-ini-file-loader");
const {ini} = require("aws-sdk/lib/util");
async function read(path) {
  const files = await loadSharedConfigFiles({filepath: path, configFilepath: "/dev/null", ignoreCache: true});
  return [files.credentialsFile, ini.parse(fs.readFileSync(path, "utf8"))];
}
(async () => {
  const found = {};
  for (const name of fs.readdirSync(directories[0]))
    found[name] = await Promise.all(directories.map(directory => read(`${directory}/${name}`)));
  console.log(JSON.stringify(found));
})();
"""


def data(case: dict[str, Any]) -> bytes:
    chance = random.Random(1)  # noqa: S311 - nothing is secret here
    alphabet = string.ascii_letters + string.digits + "+/"
    texts = [
        case["text"]
        .replace("{n}", f"{number:04}")
        .replace("{token}", "".join(chance.choices(alphabet, k=TOKEN_LENGTH)))
        for number in range(case.get("repeat", 1))
    ]
    return "".join(texts).encode(case.get("encoding", "utf-8"))


def profiles(path: Path) -> dict[str, Any]:
    """Every profile as a session of botocore has it."""
    session = Session()
    session.set_config_variable("credentials_file", str(path))
    session.set_config_variable("config_file", f"{path}-config")
    found: dict[str, Any] = session.full_config["profiles"]
    return found


def without_default(read: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in read.items() if name != "default"}


def keys_of(token: RoleToken) -> tuple[str, str, str]:
    return token.access_key_id, token.secret_access_key, token.session_token


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_other_profile_stays_as_botocore_read_it_and_ours_has_the_token(
    name: str, sink: Sink, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "credentials"
    for path in (before, after):
        path.write_bytes(data(CASES[name]))
    sink.publish(sink.output(), new_token(1))
    old, new = raw_config_parse(str(before)), raw_config_parse(str(after))
    assert without_default(new) == without_default(old)
    assert without_default(profiles(after)) == without_default(profiles(before))
    assert SharedCredentialProvider(str(after), "default").load().get_frozen_credentials()[:3] == keys_of(new_token(1))
    if "default" not in old:  # what a profile without keys has from [DEFAULT]
        before.write_bytes(before.read_bytes() + b"\n[default]\n")
        old = raw_config_parse(str(before))
    kept = {key: value for key, value in old["default"].items() if key not in (*OUR_KEYS, STALE_TOKEN)}
    assert {key: value for key, value in new["default"].items() if key not in OUR_KEYS} == kept


@pytest.mark.parametrize("name", [name for name in CASES if name not in PUBLISHED])
def test_a_file_that_cannot_be_edited_safely_is_left_alone(name: str, sink: Sink, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(data(CASES[name]))
    with pytest.raises(OutputError) as refused:
        sink.publish(sink.output(), new_token(1))
    assert refused.value.code == CASES[name]["refused"]
    assert file.read_bytes() == data(CASES[name])


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].get("refused") != "long-lived-keys"])
def test_what_botocore_cannot_read_is_refused_and_nothing_else(name: str, tmp_path: Path) -> None:
    """Long-lived keys aside, which are no fault of the file."""
    file = tmp_path / "credentials"
    file.write_bytes(data(CASES[name]))
    try:
        raw_config_parse(str(file))
    except ConfigParseError:
        assert name not in PUBLISHED
    else:
        assert name in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_profile_is_warned_of_when_sdks_prefer_something_else_in_it(name: str, sink: Sink, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(data(CASES[name]))
    seen = sink.look(sink.output())
    assert seen.problem is None
    assert seen.contents is not None
    warning = seen.contents.warning
    outranking = CASES[name].get("outranking")
    assert (warning and warning.code) == (outranking and "keys-outranked")
    assert warning is None or f"[default]: {outranking} in {file} outrank them" in warning.message


def node_reads(*directories: Path) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    command = [node, "-e", NODE_READERS, *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Cannot find module" in done.stderr:
        pytest.skip(
            "node finds no @smithy/shared-ini-file-loader and aws-sdk: NODE_PATH names where they are installed"
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_other_profile_stays_as_the_sdks_for_javascript_read_it(sink: Sink, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for directory in (before, after):
        directory.mkdir()
        for name in PUBLISHED:
            (directory / name).write_bytes(data(CASES[name]))
    for name in PUBLISHED:
        sink.publish(sink.output(path=str(after / name)), new_token(1))
    ours = dict(zip(OUR_KEYS, keys_of(new_token(1)), strict=False))
    found = node_reads(before, after)
    assert set(found) == set(PUBLISHED)
    for name, (olds, news) in found.items():
        for old, new in zip(olds, news, strict=True):
            assert without_default(new) == without_default(old), name
            assert new["default"].items() >= ours.items(), name
