"""Replace one profile of a credentials file, text to text (docs/protocol.md, section 6; design promise 2).

The rules:
- our keys are the three of the credentials, when they expire, and once more the access key id that this expiry is of:
  another program that writes its credentials into the profile leaves those two as they are;
- they are written in lower case with ` = `, because SDKs for JavaScript, Go, Java, .NET, Ruby and Rust do not read them
  in capitals. An existing one keeps its place; the lines that continued its value go. It keeps its indentation only
  beside other indented options or headers, which would otherwise continue its value: the SDK for Ruby reads no indented
  keys;
- a missing key is inserted after the last of ours, or right after the section's header, with the indentation of the
  options there: deeper, it would continue another value; less deep, others would continue it;
- a stale `aws_security_token` is removed: botocore prefers it to `aws_session_token`;
- a missing section is appended, in the file's own newline style;
- everything else stays byte for byte: comments, blank lines, other keys and profiles, their order and their newlines.
Refused, each with a code: a file that botocore could not parse; a profile that is spelled with blanks (`[ default ]`),
which is another one for botocore and the same for other SDKs; a header or setting that is indented below one of our
keys, which botocore takes for a part of its value and other SDKs do not; long-lived keys, unless the output may replace
them. `core.editcheck` then reads both texts with a parser that shares no code with the editor.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from rolekeeper.core import ini
from rolekeeper.core.ini import COMMENT, CONTINUATION, HEADER, OPTION, Line
from rolekeeper.errors import OutputError
from rolekeeper.model import OutputContents, RoleToken

Values = Mapping[str, str]
"""A profile's keys, in lower case, and their values."""

ACCESS_KEY_ID = "aws_access_key_id"
SECRET_ACCESS_KEY = "aws_secret_access_key"  # noqa: S105 - the name of the key, not a value
SESSION_TOKEN = "aws_session_token"  # noqa: S105 - the name of the key, not a value
STALE_TOKEN = "aws_security_token"  # noqa: S105 - the name of the key, not a value
EXPIRES = "x_security_token_expires"
EXPIRY_OF = "x_rolekeeper_key_id"
OUR_KEYS = (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN, EXPIRES, EXPIRY_OF)

# What SDKs prefer to the keys in the same profile.
_OUTRANKING = ("role_arn", "credential_source", "web_identity_token_file", "credential_process")
_SINGLE_SIGN_ON = "sso_"
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_LONG_LIVED_PREFIX = "AKIA"
_TEMPORARY_PREFIX = "ASIA"


def token_values(token: RoleToken) -> dict[str, str]:
    """What the profile is to hold for this token."""
    return {
        ACCESS_KEY_ID: token.access_key_id,
        SECRET_ACCESS_KEY: token.secret_access_key,
        SESSION_TOKEN: token.session_token,
        EXPIRES: format_expiry(token.expires_at),
        EXPIRY_OF: token.access_key_id,
    }


def format_expiry(expires_at: datetime) -> str:
    """RFC 3339 in UTC, cut to whole seconds: never later than the token's own expiry."""
    return expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decode(data: bytes, *, where: str) -> str:
    """The text of a file; OutputError `file-not-utf8`, also for a byte order mark, which SDKs take for text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    else:
        if not text.startswith(_BOM):
            return text
        reason = "it begins with a byte order mark, which SDKs take for a part of the first line"
    raise refusal("file-not-utf8", where, reason, "save it as UTF-8 without a byte order mark")


def is_complete(values: Values) -> bool:
    """Whether a profile holds everything that we publish, and no stale token that botocore would prefer."""
    return all(values.get(key) for key in OUR_KEYS) and STALE_TOKEN not in values


def contents(values: Values) -> OutputContents:
    """What a profile with these values holds."""
    return OutputContents(values.get(ACCESS_KEY_ID, ""), values.get(EXPIRES, ""), is_complete=is_complete(values))


def outranking(values: Values) -> list[str]:
    """The settings of a profile that SDKs prefer to the keys in it."""
    return [key for key in values if key in _OUTRANKING or key.startswith(_SINGLE_SIGN_ON)]


def read_profile(text: str, profile: str, *, where: str) -> Values | None:
    """The profile's own keys (lower case) and values; None when there is no such profile.

    `where` names the file in errors. Raises OutputError when botocore could not parse the file.
    """
    return ini.profile_values(_scan(text, where), profile)


def holds_only(text: str, profile: str, *, where: str) -> bool:
    """Whether the file holds nothing but our keys of this profile. Raises OutputError as `read_profile` does."""
    ours = {None, STALE_TOKEN, *OUR_KEYS}  # None: the header, and blank lines
    return all(
        line.kind != COMMENT and line.section in (None, profile) and line.key in ours for line in _scan(text, where)
    )


def replace_profile(text: str, profile: str, values: Values, *, replace_long_lived_keys: bool, where: str) -> str:
    """The file's text with our keys of `profile` set to `values` (one for each of OUR_KEYS).

    `where` names the file in errors. Raises OutputError for everything that the rules above refuse.
    """
    _check_request(profile, values, where)
    lines = _scan(text, where)
    _check_spelling(lines, profile, where)
    _check_continuations(lines, profile, where)
    if not replace_long_lived_keys:
        _check_long_lived(lines, profile, where)
    edited = _remove_key(lines, profile, STALE_TOKEN)
    if not any(line.kind == HEADER and line.section == profile for line in edited):
        edited = _append_section(edited, profile)
    for key in OUR_KEYS:
        edited = _put(edited, profile, key, values[key])
    if _is_ours_alone(edited, profile):
        edited = [_without_indentation(line) if line.section == profile else line for line in edited]
    return "".join(line.body + line.ending for line in edited)


def without_expiry(text: str, profile: str, *, where: str) -> str:
    """The file's text without the expiry of our credentials, which would be kept beside another program's keys."""
    lines = _scan(text, where)
    _check_continuations(lines, profile, where)
    return "".join(line.body + line.ending for line in _remove_key(lines, profile, EXPIRES))


def refusal(code: str, where: str, reason: str, hint: str) -> OutputError:
    """The error about a file that cannot be used as it is."""
    return OutputError(code, f"Cannot use {where}: {reason}", hint)


def _scan(text: str, where: str) -> list[Line]:
    """Every line; raises OutputError when botocore could not parse the file."""
    if "\0" in text:
        raise refusal("unparsable-file", where, "it holds NUL bytes", "restore the file, or remove it")
    try:
        return _scanned(text)
    except ini.UnparsableError as error:
        hint = "correct that line by hand; boto3 and the AWS CLI cannot read the file, either"
        raise refusal(error.code, where, error.reason, hint) from None


@lru_cache(maxsize=1)  # an attempt edits a text and reads its profile, again and again
def _scanned(text: str) -> list[Line]:
    return ini.scan(text)


def _check_request(profile: str, values: Values, where: str) -> None:
    ordinary = profile.isprintable() and profile == profile.strip() and "]" not in profile
    if not ordinary or profile in ("", ini.INHERITED_SECTION):
        raise refusal(
            "profile-name-invalid",
            where,
            f"{profile!r} cannot be the name of a profile",
            "choose a name without ], control characters and outer blanks, other than DEFAULT",
        )
    for key in OUR_KEYS:
        if not values[key] or not _is_visible_ascii(values[key]):
            hint = "the service sent something else; try again, and report it when it stays"
            raise refusal("token-invalid", where, f"the new {key} is not printable ASCII without blanks", hint)


def _is_visible_ascii(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _check_spelling(lines: list[Line], profile: str, where: str) -> None:
    for name in {line.section for line in lines if line.section and line.section != profile}:
        if name.strip() == profile:
            raise refusal(
                "profile-spelled-with-blanks",
                where,
                f"it holds [{ini.shown(name)}], which some SDKs take for [{profile}] and others do not",
                f"write [{profile}] without the blanks, or remove that section",
            )


def _check_continuations(lines: list[Line], profile: str, where: str) -> None:
    """What continues the value of one of our keys is removed with it, so it must be nothing else for any SDK."""
    for number, line in enumerate(lines, 1):
        replaced = line.section == profile and line.key in (*OUR_KEYS, STALE_TOKEN)
        if line.kind == CONTINUATION and replaced and _is_of_another(line.body.strip()):
            reason = f"line {number} is indented below {line.key}: only some SDKs take it for a part of that value"
            raise refusal("unparsable-file", where, reason, "remove the indentation of that line and those below it")


def _is_of_another(text: str) -> bool:
    """Whether the line would be a header or another setting; the padding of a wrapped token is neither."""
    key, _, value = text.partition("=")
    return text.startswith("[") or (bool(value.strip("= ")) and key.strip().lower() not in OUR_KEYS)


def _check_long_lived(lines: list[Line], profile: str, where: str) -> None:
    """A secret key counts even without its id, which may be in a comment: AWS does not show a secret again."""
    values = ini.profile_values(lines, profile) or {}
    key_id = values.get(ACCESS_KEY_ID, "").strip("\"' ")
    temporary = values.get(SESSION_TOKEN) or values.get(STALE_TOKEN) or key_id.startswith(_TEMPORARY_PREFIX)
    if key_id.startswith(_LONG_LIVED_PREFIX) or ((key_id or values.get(SECRET_ACCESS_KEY)) and not temporary):
        raise refusal(
            "long-lived-keys",
            where,
            f"the profile [{profile}] holds long-lived keys",
            "move them to another profile, publish to another one, or set replace_long_lived_keys = true",
        )


def _remove_key(lines: list[Line], profile: str, key: str) -> list[Line]:
    """Without the option and what continues it; comments and blank lines between stay."""
    gone = (OPTION, CONTINUATION)
    return [line for line in lines if not (line.section == profile and line.key == key and line.kind in gone)]


def _append_section(lines: list[Line], profile: str) -> list[Line]:
    ending = next((line.ending for line in lines if line.ending), "\n")
    lines = _with_final_newline(lines, ending)
    if lines and lines[-1].body.strip():
        lines = [*lines, Line(ini.BLANK, None, None, "", ending)]
    return [*lines, Line(HEADER, profile, None, f"[{profile}]", ending)]


def _with_final_newline(lines: list[Line], ending: str) -> list[Line]:
    if not lines or lines[-1].ending:
        return lines
    last = lines[-1]
    return [*lines[:-1], Line(last.kind, last.section, last.key, last.body, ending)]


def _put(lines: list[Line], profile: str, key: str, value: str) -> list[Line]:
    for at, line in enumerate(lines):
        if line.kind == OPTION and line.section == profile and line.key == key:
            rest = [
                after for after in lines[at + 1 :] if not (after.kind == CONTINUATION and _same_option(after, line))
            ]
            return [*lines[:at], _with_value(line, key, value), *rest]
    return _insert(lines, profile, key, value)


def _same_option(one: Line, other: Line) -> bool:
    return (one.section, one.key) == (other.section, other.key)


def _with_value(line: Line, key: str, value: str) -> Line:
    """The line in the form that every SDK reads."""
    return Line(line.kind, line.section, line.key, f"{line.indentation}{key} = {value}", line.ending)


def _is_ours_alone(lines: list[Line], profile: str) -> bool:
    """Whether nothing in the profile but our keys, nor the header after it, depends on their indentation."""
    visible = [line for line in lines if line.kind not in (ini.BLANK, COMMENT)]
    last = max(at for at, line in enumerate(visible) if line.section == profile)
    after = visible[last + 1 : last + 2]
    mine = (line for line in visible if line.section == profile and line.kind != HEADER)
    return all(line.key in OUR_KEYS for line in mine) and not any(line.indentation for line in after)


def _without_indentation(line: Line) -> Line:
    body = line.body.lstrip() if line.kind == OPTION else line.body
    return Line(line.kind, line.section, line.key, body, line.ending)


def _insert(lines: list[Line], profile: str, key: str, value: str) -> list[Line]:
    mine = [at for at, line in enumerate(lines) if line.section == profile]
    ours = [at for at in mine if lines[at].kind == OPTION and lines[at].key in OUR_KEYS]
    at = ours[-1] if ours else next(at for at in mine if lines[at].kind == HEADER)
    model = lines[at] if ours else _next_visible(lines, at)
    ending = lines[at].ending or next((line.ending for line in lines if line.ending), "\n")
    before = _with_final_newline(lines[: at + 1], ending)
    body = f"{model.indentation}{key} = {value}"
    return [*before, Line(OPTION, profile, key, body, ending), *lines[at + 1 :]]


def _next_visible(lines: list[Line], at: int) -> Line:
    """The next option or header, the header itself when there is none: what a new line there must be in line with."""
    visible = (line for line in lines[at + 1 :] if line.kind not in (ini.BLANK, COMMENT))
    return next(visible, lines[at])
