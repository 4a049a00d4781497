from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from rolekeeper.core.credentialsfile import format_expiry, read_profile, replace_profile, token_values
from rolekeeper.core.editcheck import check_edit
from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken

VECTORS = Path(__file__).parent.parent / "vectors"
VALUES = {
    "aws_access_key_id": "ASIANEW",
    "aws_secret_access_key": "new/secret",
    "aws_session_token": "new+token==",
    "x_security_token_expires": "2026-11-23T18:00:00Z",
    "x_rolekeeper_key_id": "ASIANEW",
}


def edit(text: str, profile: str = "default", *, replace_long_lived_keys: bool = False) -> str:
    new = replace_profile(text, profile, VALUES, replace_long_lived_keys=replace_long_lived_keys, where="/c")
    check_edit(text, new, profile, VALUES, where="/c")
    return new


def refusal(text: str, profile: str = "default") -> OutputError:
    with pytest.raises(OutputError) as caught:
        edit(text, profile)
    assert caught.value.message.startswith("Cannot use /c: ")
    assert caught.value.hint
    return caught.value


NEW_SECTION = """\
[default]
aws_access_key_id = ASIANEW
aws_secret_access_key = new/secret
aws_session_token = new+token==
x_security_token_expires = 2026-11-23T18:00:00Z
x_rolekeeper_key_id = ASIANEW
"""
OURS = """\
aws_access_key_id = ASIANEW
aws_secret_access_key = new/secret
aws_session_token = new+token==
x_security_token_expires = 2026-11-23T18:00:00Z
x_rolekeeper_key_id = ASIANEW
"""
OLD = """\
aws_access_key_id = ASIAOLD
aws_secret_access_key = old
aws_session_token = old
x_security_token_expires = 2026-11-23T17:00:00Z
x_rolekeeper_key_id = ASIAOLD
"""


def test_a_new_file_holds_one_section() -> None:
    assert edit("") == NEW_SECTION


def test_a_missing_section_is_appended_behind_a_blank_line() -> None:
    assert edit("[a]\nx = 1\n") == "[a]\nx = 1\n\n" + NEW_SECTION
    assert edit("[a]\nx = 1\n\n") == "[a]\nx = 1\n\n" + NEW_SECTION
    assert edit("# only a comment\n") == "# only a comment\n\n" + NEW_SECTION


def test_a_final_newline_that_is_missing_comes_before_the_new_section() -> None:
    assert edit("[a]\nx = 1") == "[a]\nx = 1\n\n" + NEW_SECTION


def test_appending_takes_the_files_own_newlines() -> None:
    assert edit("[a]\r\nx = 1\r\n") == "[a]\r\nx = 1\r\n\r\n" + NEW_SECTION.replace("\n", "\r\n")
    assert edit("[a]\rx = 1\r") == "[a]\rx = 1\r\r" + NEW_SECTION.replace("\n", "\r")


def test_only_the_values_of_existing_keys_change() -> None:
    assert edit("# top\n[default]\n" + OLD + "region = x\n") == "# top\n[default]\n" + OURS + "region = x\n"


@pytest.mark.parametrize(
    "old",
    [
        OLD.upper().replace("ASIAOLD", "ASIAOLD"),
        OLD.replace(" = ", "="),
        OLD.replace(" = ", "\t:   ").replace("\n", "  \n"),
        OLD.replace("aws_access_key_id = ", "AWS_Access_Key_ID     = "),
    ],
    ids=["capitals", "no blanks", "colons and trailing blanks", "aligned"],
)
def test_our_keys_are_written_in_the_form_that_every_sdk_reads_whatever_form_they_had(old: str) -> None:
    assert edit("[default]\n" + old + "Region=x\n") == "[default]\n" + OURS + "Region=x\n"


def test_our_keys_lose_their_indentation_where_nothing_else_depends_on_it() -> None:
    """The SDK for Ruby reads no indented keys."""
    ours, old = "[default]\n" + OURS, "[default]\n" + "".join(f"\t{line}\n" for line in OLD.splitlines())
    assert edit(old) == ours
    assert edit(f"{old}\n\t# mine\n[b]\n\tx = 1\n") == f"{ours}\n\t# mine\n[b]\n\tx = 1\n"
    for more in ("\tregion = x\n", "\t[b]\n\tx = 1\n"):
        assert edit(old + more) == "[default]\n" + "".join(f"\t{line}\n" for line in OURS.splitlines()) + more


def test_a_key_without_a_value_gets_one() -> None:
    assert edit("[default]\n" + OLD.replace("ASIAOLD", "")) == "[default]\n" + OURS


def test_crlf_stays_crlf_line_by_line() -> None:
    old = "[default]\r\n" + OLD.replace("\n", "\r\n") + "\n[b]\r\nx=1\n"
    assert edit(old) == "[default]\r\n" + OURS.replace("\n", "\r\n") + "\n[b]\r\nx=1\n"


def test_missing_keys_follow_the_last_of_ours() -> None:
    old = "[default]\naws_access_key_id=ASIAOLD\nregion=x\naws_secret_access_key=old\naws_session_token=o\n\n[b]\n"
    new = edit(old)
    assert new.endswith("x_security_token_expires = 2026-11-23T18:00:00Z\nx_rolekeeper_key_id = ASIANEW\n\n[b]\n")
    assert "\nregion=x\n" in new


def test_missing_keys_stand_right_after_the_header_when_there_is_none_of_ours() -> None:
    assert edit("[default]\n# mine\n\nregion = x\n") == (
        "[default]\naws_access_key_id = ASIANEW\naws_secret_access_key = new/secret\n"
        "aws_session_token = new+token==\n"
        "x_security_token_expires = 2026-11-23T18:00:00Z\nx_rolekeeper_key_id = ASIANEW\n# mine\n\nregion = x\n"
    )


@pytest.mark.parametrize("indentation", ["", "  ", "\t", "      "])
def test_inserted_keys_are_indented_like_the_options_there(indentation: str) -> None:
    new = edit(f"[default]\n{indentation}region = x\n{indentation}output = json\n[b]\nx = 1\n")
    assert new.startswith(f"[default]\n{indentation}aws_access_key_id = ASIANEW\n{indentation}aws_secret")
    assert new.endswith(f"{indentation}region = x\n{indentation}output = json\n[b]\nx = 1\n")


def test_an_indented_header_after_an_empty_section_stays_a_header() -> None:
    new = edit("[default]\n   [b]\nx = 1\n")
    assert read_profile(new, "b", where="/c") == {"x": "1"}
    assert read_profile(new, "default", where="/c") == VALUES


def test_an_empty_section_without_a_final_newline_gets_one() -> None:
    assert edit("[default]") == NEW_SECTION


def test_a_last_line_without_newline_keeps_none_when_its_value_changes() -> None:
    assert edit("[default]\n" + OLD.rstrip("\n")) == "[default]\n" + OURS.rstrip("\n")


def test_continuation_lines_of_our_keys_go_and_comments_between_them_stay() -> None:
    old = "[default]\n" + OLD.replace("= old\n", "=\n  old\n  # kept\n\n  more\n", 1)
    assert edit(old) == "[default]\n" + OURS.replace("new/secret\n", "new/secret\n  # kept\n\n")


def test_a_nested_value_of_another_key_is_not_taken_for_ours() -> None:
    old = "[default]\ns3 =\n  aws_access_key_id = nested\n  x = 1\n" + OLD
    assert edit(old) == "[default]\ns3 =\n  aws_access_key_id = nested\n  x = 1\n" + OURS


def test_a_stale_security_token_is_removed_with_its_continuation() -> None:
    old = "[default]\naws_security_token = stale\n  more\n# note\n" + OLD
    assert edit(old) == "[default]\n# note\n" + OURS


def test_a_security_token_of_another_profile_stays() -> None:
    assert edit("[b]\naws_security_token = t\n[default]\n" + OLD) == "[b]\naws_security_token = t\n[default]\n" + OURS


def test_separators_that_are_no_newlines_for_botocore_are_none_for_us() -> None:
    odd = "[b]\nnote = a\x0bb\x0cc\x1cd\x85e\u2028[default]\n"
    assert edit(odd + "[default]\n" + OLD) == odd + "[default]\n" + OURS


def test_ssm_agents_own_file_is_taken_over() -> None:
    path = VECTORS / "vaults" / "running-host-dmidecode-fails-like-absent" / "credentials"
    before = path.read_bytes().decode()
    after = edit(before)
    assert read_profile(after, "default", where="/c") == VALUES
    assert after.endswith("\n\n") == before.endswith("\n\n")


def test_editing_again_with_the_same_values_changes_nothing() -> None:
    for text in ("", "[default]\nregion = x\n", "[a]\r\nb = 1\r\n"):
        assert edit(edit(text)) == edit(text)


@pytest.mark.parametrize(
    "keys",
    [
        "aws_access_key_id = AKIAOLD\naws_secret_access_key = s\n",
        "aws_access_key_id = AKIAOLD\naws_secret_access_key = s\naws_session_token = t\n",
        "AWS_ACCESS_KEY_ID =\n  AKIAOLD\n",
        "aws_access_key_id = something-else\naws_secret_access_key = s\n",
        "#aws_access_key_id = AKIAOLD\naws_secret_access_key = s\n",
        "aws_access_key_id =\naws_secret_access_key = s\n",
        'aws_access_key_id = "AKIAOLD"\naws_secret_access_key = s\naws_session_token = t\n',
    ],
)
def test_long_lived_keys_are_replaced_only_on_demand(keys: str) -> None:
    assert refusal("[default]\n" + keys).code == "long-lived-keys"
    new = edit("[default]\n" + keys, replace_long_lived_keys=True)
    assert read_profile(new, "default", where="/c") == VALUES


@pytest.mark.parametrize(
    "keys",
    [
        "aws_access_key_id = ASIAOLD\n",
        "aws_access_key_id = test\naws_session_token = t\n",
        "aws_access_key_id = test\naws_security_token = t\n",
        "aws_access_key_id =\n",
        "aws_secret_access_key = s\naws_session_token = t\n",
        "region = x\n",
    ],
)
def test_temporary_or_no_keys_are_replaced_without_asking(keys: str) -> None:
    read = read_profile(edit("[default]\n" + keys), "default", where="/c")
    assert read is not None
    assert VALUES.items() <= read.items()


def test_long_lived_keys_of_another_profile_do_not_matter() -> None:
    other = "[other]\naws_access_key_id = AKIAOTHER\n"
    assert edit(other) == other + "\n" + NEW_SECTION


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("duplicate-section", "[a]\n[default]\n[a]\n"),
        ("duplicate-key", "[a]\nx = 1\nX : 2\n"),
        ("duplicate-key", "[default]\n" + OLD + OLD),
        ("unparsable-file", "x = 1\n[default]\n"),
        ("unparsable-file", "[default]\nno delimiter\n"),
        ("unparsable-file", "[default]\n= no key\n"),
        ("unparsable-file", "[default\n"),
        ("unparsable-file", "[default]\nx = \0\n"),
        ("unparsable-file", "\ufeff[default]\n"),
        ("profile-spelled-with-blanks", "[ default ]\nx = 1\n"),
        ("profile-spelled-with-blanks", "[default]\n[default\t]\n"),
        ("inherited-token", "[DEFAULT]\naws_security_token = t\n"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_refused(code: str, text: str) -> None:
    assert refusal(text).code == code


def test_a_refusal_names_the_line_and_quotes_nothing_of_it() -> None:
    error = refusal("[default]\nregion = x\nwJalrXUtnFEMI\n")
    assert "line 3" in error.message
    assert "wJalr" not in error.message + error.hint + repr(error.__cause__) + repr(error.__context__)


@pytest.mark.parametrize("profile", ["", "a]b", "a\nb", " a", "a\t", "DEFAULT", "a\0", "a\x85b"])
def test_a_name_that_no_section_can_have_is_refused(profile: str) -> None:
    assert refusal("", profile).code == "profile-name-invalid"


@pytest.mark.parametrize("profile", ["a b", "a[b", "ümlaut", "#a", "a=b", "default"])
def test_an_unusual_name_is_a_name(profile: str) -> None:
    assert read_profile(edit("[c]\nx = 1\n", profile), profile, where="/c") == VALUES


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "a\r", "ä", "a\x7f", "\t", "a\u2028"])
@pytest.mark.parametrize("key", VALUES)
def test_values_that_could_be_anything_but_one_word_are_refused(key: str, value: str) -> None:
    with pytest.raises(OutputError) as caught:
        replace_profile("", "default", VALUES | {key: value}, replace_long_lived_keys=False, where="/c")
    assert caught.value.code == "token-invalid"


def test_a_profile_that_is_not_there_reads_as_none() -> None:
    assert read_profile("[a]\nx = 1\n", "default", where="/c") is None
    assert read_profile("[default]\n", "default", where="/c") == {}


def test_a_token_becomes_the_four_keys_that_sdks_and_credential_process_need() -> None:
    token = RoleToken("ASIA1", "s", "t", datetime(2026, 11, 23, 18, 0, 0, 999999, tzinfo=UTC))
    assert token_values(token) == {
        "aws_access_key_id": "ASIA1",
        "aws_secret_access_key": "s",
        "aws_session_token": "t",
        "x_security_token_expires": "2026-11-23T18:00:00Z",
        "x_rolekeeper_key_id": "ASIA1",
    }


def test_an_expiry_is_written_in_utc_and_never_rounded_up() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    assert format_expiry(datetime(2026, 11, 23, 23, 30, 59, 999999, tzinfo=kolkata)) == "2026-11-23T18:00:59Z"


@pytest.mark.parametrize("line", ["[other]", "region = eu-west-1"])
def test_what_is_indented_below_one_of_our_keys_is_not_removed_with_its_value(line: str) -> None:
    """botocore takes it for a part of the value, and the SDKs for JavaScript for what it looks like."""
    error = refusal(f"[default]\naws_access_key_id = ASIAOLD\naws_session_token = old\n  {line}\n  x = 1\n")
    assert error.code == "unparsable-file"
    assert "line 4 is indented below aws_session_token" in error.message
    wrapped = "[default]\naws_session_token = old\n  old==\naws_access_key_id = ASIAOLD\naws_secret_access_key = s\n"
    assert "old" not in edit(wrapped)
