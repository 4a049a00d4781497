"""Whether an edited credentials file differs from the old one in our keys alone (design promise 2).

Both texts are read with the parser of boto3 and the AWS CLI, that of the standard library, which shares no code with
the editor (`core.credentialsfile`). This is a module of its own because `status` does without that parser.
"""

import configparser
from functools import lru_cache
from io import StringIO

from rolekeeper.core.credentialsfile import STALE_TOKEN, Values, refusal


def check_edit(old: str, new: str, profile: str, values: Values, *, where: str) -> None:
    """Compare the edited text with the old one, as the standard library's parser reads both.

    Raises OutputError when boto3 and the AWS CLI could not read the file or would read other credentials, or when
    anything but our keys differs.
    """
    before, after = _parse(old), _parse(new)
    written = (value for section in (after or {}).values() for value in section.values())
    if before is None or after is None or not all(map(_is_nested_well, written)):
        raise refusal(
            "unparsable-file", where, "boto3 and the AWS CLI could not parse it", "restore the file, or remove it"
        )
    if STALE_TOKEN in after[profile]:
        reason = f"[{configparser.DEFAULTSECT}] gives {STALE_TOKEN} to every profile"
        raise refusal("inherited-token", where, reason, "remove it there: botocore prefers it to ours")
    expected = before | {profile: before.get(profile, before[configparser.DEFAULTSECT]) | dict(values)}
    expected[profile].pop(STALE_TOKEN, None)
    if after != expected:
        hint = "publish to a file of its own, and report this with the file's structure"
        raise refusal("edit-refused", where, "the edit would change more than our keys", hint)


class _Parser(configparser.RawConfigParser):
    def __dir__(self) -> list[str]:
        """An empty list: the constructor searches it for converters, which takes longer than reading a file."""
        return []


@lru_cache(maxsize=2)  # an attempt compares the same old text twice, as it looks at the file and as it publishes
def _parse(text: str) -> dict[str, dict[str, str]] | None:
    parser = _Parser()
    try:
        parser.read_file(StringIO(text, newline=None))
    except configparser.Error:
        return None  # the error would quote the file's lines, secrets among them
    return {
        configparser.DEFAULTSECT: dict(parser.defaults()),
        **{name: dict(parser.items(name)) for name in parser.sections()},
    }


def _is_nested_well(value: str) -> bool:
    """Whether botocore reads the value: one that begins on the next line has to be nested `key = value` lines."""
    return not value.startswith("\n") or all("=" in line for line in value.splitlines() if line.strip())
