"""What one value in the configuration may be: each function takes what TOML holds and returns what settings hold.

They raise pydantic's own kind of error, with our message and hint in it; problems.py takes these out again. No message
repeats a URL, because a proxy's may hold a password. Where a key may be absent, the empty string means the same as
absence, so that a file in conf.d can undo what an earlier file says.
"""

import posixpath
import re
import unicodedata
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic_core import PydanticCustomError

from rolekeeper import durations, identifiers

WRONG_VALUE = "wrong_value"
NEVER = "never"

_T = TypeVar("_T")
_OTHERS_MAY_WRITE = 0o002
_OWNER_MAY_READ = 0o400
_HIGHEST_ACCOUNT_NUMBER = 2**32 - 2  # chown(2) takes the one above for "leave as it is"
_INHERITED_SECTION = "DEFAULT"  # as configparser, and botocore with it, reads a file
_MODE = re.compile(r"0?[0-7]{3}")
_MODE_MEANT = re.compile(r"[67][0-7]{2}")  # 600, but not TOML's 0o640, which arrives as 416
_NUMBER = re.compile(r"[0-9]{1,10}")
# What botocore sends requests to: labels of at most 63 characters, or an IPv6 address, which urlsplit has checked.
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?=.{{1,255}}$)(({_LABEL}\.)*{_LABEL}\.?|.*:.*)")
_URL_HINT = "write http:// or https://, a host, and a port where one is needed"
_ASCII_HINT = "write a host name in its xn-- form; a user or password with such a character cannot be used"
_MODE_HINT = 'write "0600", or "0640" to let the group read'
_REGION_HINT = 'write one such as "eu-central-1"; for FIPS endpoints set service.fips'
_ACTIVATION_HINT = "copy the ActivationId that create-activation printed"
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}")
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/([!-~]+/)*[A-Za-z0-9_+=,.@-]{1,128}")
_LONGEST_ARN = 2_048  # characters, as are the limits below; all are those of sts:AssumeRole
_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")
_LONGEST_TAG_KEY, _LONGEST_TAG_VALUE = 128, 256
_RESERVED_TAGS = "aws:"
_NAME_HINT = "use at most 64 letters, digits and . _ - with no dot in front: it names files and a URL's path"
_ROLE_HINT = 'write one such as "arn:aws:iam::123456789012:role/app", as `aws iam get-role` shows it'
_POLICY_HINT = 'write one such as "arn:aws:iam::aws:policy/ReadOnlyAccess"'
_SESSION_HINT = "use 2 to 64 letters, digits and _ + = , . @ -"
_EXTERNAL_ID_HINT = "use 2 to 1224 letters, digits and _ + = , . @ : / -, as in the role's trust policy"
_TAG_HINT = "use letters, digits, blanks and _ . : / = + - @"
_ACCOUNT_HINT = "write a name in quotes, or a number"
_TOML_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
    ((date, time), "a date or time"),
)


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """An error that carries `message` and `hint` through pydantic."""
    return PydanticCustomError(WRONG_VALUE, "{message}", {"message": message, "hint": hint})


def optional(check: Callable[[object], _T]) -> Callable[[object], _T | None]:
    """`check`, for a key that may be left empty."""
    return lambda value: None if value == "" else check(value)


def duration(shortest: timedelta, longest: timedelta) -> Callable[[object], timedelta]:
    """A check for a duration within these bounds."""

    def check(value: object) -> timedelta:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise wrong("is a number without a unit", _seconds_hint(_digits(value)))
        found = _duration(_text(value, durations.HINT))
        if not shortest <= found <= longest:
            bounds = f"{durations.text(shortest)} and {durations.text(longest)}"
            raise wrong(f"is {durations.text(found)}", f"write a duration between {bounds}")
        return found

    return check


def never_or(check: Callable[[object], _T]) -> Callable[[object], _T | None]:
    """`check`, for a key that may hold the word "never" (None)."""
    return lambda value: None if value == NEVER else check(value)


def absolute_path(value: object) -> str:
    """An absolute path without `..`, with doubled and trailing slashes taken out."""
    text = _text(value, "write an absolute path in quotes")
    if not text.startswith("/"):
        raise wrong("is not an absolute path", "begin it with /; ~ and variables are not expanded")
    if ".." in text.split("/"):
        raise wrong('has ".." in it', "write the path without detours")
    path = "/" + posixpath.normpath(text).lstrip("/")
    if path == "/":
        raise wrong("is the root directory", "name a place below it")
    return path


def absolute_file(value: object) -> str:
    """An absolute path that does not end like a directory's."""
    path = absolute_path(value)
    if str(value).endswith(("/", "/.")):
        raise wrong("names a directory", "write the path of the file itself")
    return path


def profile(value: object) -> str:
    """A name that a section header of a credentials file can hold."""
    text = _text(value, "write a name in quotes")
    if not text:
        raise wrong("is empty", 'write "default", or the name that programs use')
    if "[" in text or "]" in text:
        raise wrong("has a bracket in it", "brackets enclose the name in the file; write the name alone")
    if text == _INHERITED_SECTION:
        raise wrong("is no profile: SDKs copy its keys to every profile", 'write "default", in lower case')
    if text != text.strip():
        raise wrong("begins or ends with a blank", "SDKs disagree about such names; remove the blank")
    return text


def mode(value: object) -> int:
    """The permissions of a file, from a string of octal digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        digits = _digits(value)
        raise wrong("is a number", f'write "0{digits}", in quotes' if _MODE_MEANT.fullmatch(digits) else _MODE_HINT)
    text = _matching(_MODE, value, "is not a file's permissions in octal digits", _MODE_HINT)
    bits = int(text, 8)
    if bits & _OTHERS_MAY_WRITE:
        raise wrong("lets everybody write the file", "take 2 from the last digit")
    if not bits & _OWNER_MAY_READ:
        raise wrong("does not let the owner read the file", _MODE_HINT)
    return bits


def account(value: object) -> str | int:
    """A user or a group: a name or a number; a string of digits is the number. Domains have names with blanks."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _HIGHEST_ACCOUNT_NUMBER:
            raise wrong("is not the number of a user or group", _ACCOUNT_HINT)
        return value
    text = _text(value, _ACCOUNT_HINT)
    if not text or text != text.strip() or any(character in ":/," for character in text):
        raise wrong("is not the name of a user or group", _ACCOUNT_HINT)
    return text


def endpoint_url(value: object) -> str:
    """The URL of a service: http or https, and nothing in it but host, port and path."""
    text, parts = _url(value)
    if "@" in parts.netloc:
        raise wrong("has a user name in it", "the service expects none; write the URL without it")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise wrong("has no valid host name", "use letters, digits and hyphens between the dots, or an address")
    return text


def proxy_url(value: object) -> str:
    """The URL of a proxy: http or https, possibly with user and password."""
    return _url(value)[0]


def region(value: object) -> str:
    """The name of an AWS region."""
    return _matching(identifiers.REGION, value, "is not the name of a region", _REGION_HINT)


def activation_id(value: object) -> str:
    """An activation ID: a UUID in lower case."""
    return _matching(identifiers.UUID, value, "is not an activation ID", _ACTIVATION_HINT)


def name(value: object) -> str:
    """The name of an endpoint or a role."""
    return _matching(identifiers.NAME, value, "is not a plain name", _NAME_HINT)


def role_arn(value: object) -> str:
    """The ARN of an IAM role, of any partition."""
    return _limited(_matching(_ROLE_ARN, value, "is not the ARN of a role", _ROLE_HINT), _LONGEST_ARN)


def policy_arn(value: object) -> str:
    """The ARN of a managed policy, AWS's or an account's own."""
    return _limited(_matching(_POLICY_ARN, value, "is not the ARN of a managed policy", _POLICY_HINT), _LONGEST_ARN)


def session_name(value: object) -> str:
    """The name of a role session, as it appears in CloudTrail."""
    return _matching(_SESSION_NAME, value, "is not the name of a role session", _SESSION_HINT)


def external_id(value: object) -> str:
    """The external ID that a role's trust policy requires."""
    return _matching(_EXTERNAL_ID, value, "is not an external ID", _EXTERNAL_ID_HINT)


def tag_key(value: object) -> str:
    """The key of a session tag."""
    text = _limited(_tag_text(value), _LONGEST_TAG_KEY)
    if not text:
        raise wrong("has an empty key", "write a key of 1 to 128 characters")
    if text.lower().startswith(_RESERVED_TAGS):
        raise wrong(f"begins with {_RESERVED_TAGS}", "AWS keeps these for itself: choose another key")
    return text


def tag_value(value: object) -> str:
    """The value of a session tag; it may be empty."""
    return _limited(_tag_text(value), _LONGEST_TAG_VALUE)


def toml_type(value: object) -> str:
    """What TOML calls the type of `value`, with an article."""
    return next((name for kinds, name in _TOML_TYPES if isinstance(value, kinds)), "something else")


def _duration(text: str) -> timedelta:
    try:
        return durations.parse(text)
    except ValueError as error:
        raise wrong(str(error), _seconds_hint(text)) from None


def _seconds_hint(number: str) -> str:
    return f'write "{number}s"' if _NUMBER.fullmatch(number) else durations.HINT


def _digits(number: float) -> str:
    """`number` as digits when it is whole and of ordinary size; Python refuses to write huge ones out."""
    return str(number) if isinstance(number, int) and 0 < number <= _HIGHEST_ACCOUNT_NUMBER else ""


def _matching(pattern: re.Pattern[str], value: object, message: str, hint: str) -> str:
    text = _text(value, hint)
    if not pattern.fullmatch(text):
        raise wrong(message, hint)
    return text


def _limited(text: str, longest: int) -> str:
    if len(text) > longest:
        raise wrong(f"is longer than {longest} characters", "AWS takes no more")
    return text


def _tag_text(value: object) -> str:
    text = _text(value, "write a string in quotes")
    if not all(unicodedata.category(one)[0] in "LNZ" or one in "_.:/=+-@" for one in text):
        raise wrong("has a character that a session tag cannot hold", _TAG_HINT)
    return text


def _url(value: object) -> tuple[str, SplitResult]:
    text = _text(value, _URL_HINT)
    try:
        parts = urlsplit(text)
        port_is_possible = parts.port != 0
    except ValueError:
        raise wrong("is not a URL", _URL_HINT) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_possible or " " in text:
        raise wrong("is not an http or https URL with a host", _URL_HINT)
    if "\\" in text:  # some take it for the end of the host, others for a character of user or password
        raise wrong("has a backslash in it", "write / for it; in a user or password, write %5C")
    if not (text.isascii() and unquote(parts.netloc).isascii()):  # a login has no agreed encoding for others
        raise wrong("has a character in it that is not ASCII", _ASCII_HINT)
    if parts.query or parts.fragment:
        raise wrong("has a query or a fragment", "write the URL without ? and #")
    return text, parts


def _text(value: object, hint: str) -> str:
    if not isinstance(value, str):
        raise wrong(f"must be a string, not {toml_type(value)}", hint)
    if not value.isprintable():
        raise wrong("has a character in it that cannot be printed", hint)
    return value
