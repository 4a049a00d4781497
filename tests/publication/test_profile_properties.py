"""The scanner against botocore's parser, and the editor against files that it has never seen."""

from pathlib import Path

import pytest
from botocore.configloader import raw_config_parse
from botocore.exceptions import ConfigParseError
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from tests.conftest import many

from rolekeeper.core.credentialsfile import read_profile, replace_profile
from rolekeeper.core.ini import UnparsableError, profile_values, scan
from rolekeeper.errors import OutputError

VALUES = {
    "aws_access_key_id": "ASIA-of-ours",
    "aws_secret_access_key": "secret-of-ours",
    "aws_session_token": "token-of-ours",
    "x_security_token_expires": "2026-11-23T18:00:00Z-of-ours",
    "x_rolekeeper_key_id": "ASIA-of-ours",
}
CHECKED = many(300, HealthCheck.function_scoped_fixture)

BLANKS = st.sampled_from(["", "", " ", "  ", "\t", "    ", "\x0b", "\x1c", "\x85", "\u3000"])
PIECES = st.sampled_from(
    [
        *"[]=:#; \tabA\x85\u2028\x0c\x1eü",
        "default",
        "DEFAULT",
        "[a]",
        "[default]",
        "[DEFAULT]",
        "aws_session_token",
        "x = 1",
    ]
)
ENDINGS = st.sampled_from(["\n", "\n", "\r\n", "\r"])
SOUP = st.lists(st.tuples(BLANKS, st.lists(PIECES, max_size=4).map("".join), ENDINGS).map("".join), max_size=12)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


def sdk_reading(path: Path, text: str) -> dict[str, dict[str, str]] | None:
    """What botocore reads; None when it refuses."""
    path.write_bytes(text.encode())
    try:
        parsed: dict[str, dict[str, str]] = raw_config_parse(str(path), parse_subsections=False)
    except ConfigParseError:
        return None
    return parsed


def our_reading(text: str) -> dict[str, dict[str, str]] | None:
    """What the scanner reads, with the inheritance from DEFAULT that botocore adds."""
    try:
        lines = scan(text)
    except UnparsableError:
        return None
    sections = {line.section: profile_values(lines, line.section) for line in lines if line.section is not None}
    inherited = sections.pop("DEFAULT", None) or {}
    return {name: inherited | (values or {}) for name, values in sections.items()}


@CHECKED
@given(lines=SOUP)
@example(lines=["[a]\n", "x = 1\n", "\n", "  [b]\n", " # c\n", "  2\n", "\n"])
@example(lines=["[a]]\n", "[]]\n", "x=\n"])
@example(lines=["[DEFAULT]\n", "x=1\n", "[DEFAULT]\n", "y=2\n", "[a]\n"])
def test_the_scanner_accepts_and_reads_just_what_botocore_does(scratch: Path, lines: list[str]) -> None:
    text = "".join(lines)
    assert our_reading(text) == sdk_reading(scratch, text)


@CHECKED
@given(text=st.text())
def test_no_line_is_lost_or_changed_by_scanning(text: str) -> None:
    try:
        lines = scan(text)
    except UnparsableError:
        return
    assert "".join(line.body + line.ending for line in lines) == text


@CHECKED
@given(lines=SOUP)
def test_editing_any_text_ends_in_the_profile_or_in_a_refusal(scratch: Path, lines: list[str]) -> None:
    text = "".join(lines)
    try:
        new = replace_profile(text, "default", VALUES, replace_long_lived_keys=True, where="/c")
    except OutputError:
        return
    before, after = sdk_reading(scratch, text), sdk_reading(scratch, new)
    assert before is not None
    assert after is not None
    assert after["default"] | VALUES == after["default"]
    assert {**before, "default": None} == {**after, "default": None}
    if "default" in before:  # else it has what DEFAULT gives to every section
        kept = {key: value for key, value in before["default"].items() if key != "aws_security_token"}
        assert after["default"] == kept | VALUES


OURS = st.permutations([*VALUES, "aws_security_token"]).flatmap(
    lambda keys: st.integers(0, len(keys)).map(lambda count: keys[:count])
)
WORDS = st.text(st.sampled_from("abc/+=#;:[]%$ü"), max_size=12)


@st.composite
def option(draw: st.DrawFn, key: str, indentation: str) -> list[str]:
    """An option's lines: the option, then perhaps continuation lines, blank lines and comments.

    Below one of our keys, a continuation line that looks like another setting is refused; it is tested elsewhere.
    """
    delimiter = draw(st.sampled_from(["=", " = ", ": ", "\t=\t", "      = "]))
    spelled = draw(st.sampled_from([key, key.upper(), key.title()]))
    lines = [f"{indentation}{spelled}{delimiter}v{draw(WORDS)}"]
    for kind in draw(st.lists(st.sampled_from(["continuation", "blank", "comment"]), max_size=3)):
        deeper = indentation + draw(st.sampled_from([" ", "    ", "\t"]))
        more = draw(WORDS).replace("=", "" if len(key) > 1 else "=")
        lines.append({"continuation": f"{deeper}c{more}", "blank": "", "comment": f"{deeper}#{draw(WORDS)}"}[kind])
    return lines


@st.composite
def section(draw: st.DrawFn, name: str) -> tuple[list[str], list[str]]:
    """A section's lines, and those of them that are not the credentials of the profile `default`."""
    indentation = draw(st.sampled_from(["", "  ", "\t"]))
    keys = draw(st.permutations([*draw(OURS), *draw(st.lists(st.sampled_from("xyz"), unique=True))]))
    lines, foreign = [f"[{name}]"], [f"[{name}]"]
    for key in keys:
        drawn = draw(option(key, indentation))
        mine = name == "default" and len(key) > 1
        lines += drawn
        foreign += [line for line in drawn if not mine or not line or line.strip().startswith("#")]
    return lines, foreign


@st.composite
def credentials_file(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    names = draw(st.permutations(["default", "other", "third"]))
    head = draw(st.lists(st.sampled_from(["# top", "", "  ; indented"]), max_size=2))
    lines, foreign = list(head), list(head)
    for name in names[: draw(st.integers(0, 3))]:
        drawn, others = draw(section(name))
        lines, foreign = lines + drawn, foreign + others
    return lines, foreign


@CHECKED
@given(drawn=credentials_file(), ending=ENDINGS, final=st.booleans())
def test_every_line_but_ours_stays_as_it_was_in_place(
    scratch: Path, drawn: tuple[list[str], list[str]], ending: str, *, final: bool
) -> None:
    lines, foreign = drawn
    text = "".join(line + ending for line in lines)
    if lines and lines[-1] and not final:
        text = text.removesuffix(ending)
    ending = ending if ending in text else "\n"
    new = replace_profile(text, "default", VALUES, replace_long_lived_keys=True, where="/c")
    kept = [line for line in new.split(ending) if "-of-ours" not in line]
    if "[default]" not in foreign:
        foreign = [*foreign, *([""] if foreign and foreign[-1] else []), "[default]"]
    assert "".join(f"{line}\n" for line in kept).rstrip("\n") == "".join(f"{line}\n" for line in foreign).rstrip("\n")
    assert new.count("-of-ours") == len(VALUES)
    read = sdk_reading(scratch, new)
    assert read is not None
    assert read["default"] == {**read["default"], **VALUES}
    assert "aws_security_token" not in read["default"]
    assert read_profile(new, "default", where="/c") == read["default"]
