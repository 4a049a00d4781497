"""What one value in the configuration may be: each function takes what TOML holds and returns what settings hold.

They raise pydantic's own kind of error, with our message and hint in it; config_problems.py takes these out again. No
message repeats a URL, because a proxy's may hold a password. Where a key may be absent, the empty string says the same
as absence, so that a file in conf.d can take back what an earlier file says.
"""

import posixpath
import re
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


def rotation_age(value: object) -> timedelta | None:
    """The word "never" (None), or a duration of at least a second."""
    if value == NEVER:
        return None
    return duration(timedelta(seconds=1), durations.LONGEST)(value)


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
        raise wrong("is empty", 'write "default", or the name that programs are to ask for')
    if "[" in text or "]" in text:
        raise wrong("has a bracket in it", "brackets enclose the name in the file; write the name alone")
    if text == _INHERITED_SECTION:
        raise wrong("is no profile: SDKs give what stands there to every profile", 'write "default", in lower case')
    if text != text.strip():
        raise wrong("begins or ends with a blank", "SDKs disagree about such names; take the blank out")
    return text


def mode(value: object) -> int:
    """The permissions of a file, from a string of octal digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        digits = _digits(value)
        raise wrong("is a number", f'write "0{digits}", in quotes' if _MODE_MEANT.fullmatch(digits) else _MODE_HINT)
    text = _matching(_MODE, value, "is not a file's permissions in octal digits", _MODE_HINT)
    bits = int(text, 8)
    if bits & _OTHERS_MAY_WRITE:
        raise wrong("lets everybody write the file", "take the last digit's 2 out")
    if not bits & _OWNER_MAY_READ:
        raise wrong("does not let the owner read the file", _MODE_HINT)
    return bits


def account(value: object) -> str | int:
    """A user or a group: a name or a number; a string of digits is the number."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _HIGHEST_ACCOUNT_NUMBER:
            raise wrong("is not the number of a user or group", _ACCOUNT_HINT)
        return value
    text = _text(value, _ACCOUNT_HINT)
    if not text or any(character in " :/," for character in text):
        raise wrong("is not the name of a user or group", _ACCOUNT_HINT)
    return text


def endpoint_url(value: object) -> str:
    """The URL of a service: http or https, and nothing in it but host, port and path."""
    text, parts = _url(value)
    if "@" in parts.netloc:
        raise wrong("has a user name in it", "the service takes none; write the URL without it")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise wrong("has no valid host name", "use letters, digits and hyphens between the dots, or an address")
    return text


def proxy_url(value: object) -> str:
    """The URL of a proxy: http or https; user and password may be in it."""
    return _url(value)[0]


def region(value: object) -> str:
    """The name of an AWS region."""
    return _matching(identifiers.REGION, value, "is not the name of a region", _REGION_HINT)


def activation_id(value: object) -> str:
    """An activation ID: a UUID in lower case."""
    return _matching(identifiers.UUID, value, "is not an activation ID", _ACTIVATION_HINT)


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
