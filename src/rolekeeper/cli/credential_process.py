"""`rolekeeper credential-process`: what SDKs want from `credential_process`, from the published file.

SDKs start this whenever they need credentials, so it must start like a bare interpreter: no TOML, no `json`, no
argparse but for --help, no service. The file may be a shared credentials file or a process file. Without --file it is
the first one that the running daemon's status.json names.

An expiry counts for the access key that was published with it, which the profile names beside the expiry. Where that is
another key than the profile's, another program has written its own since, whose lifetime is unknown here.
"""

from __future__ import annotations

from os import O_NONBLOCK, fstat, stat, write
from os import open as open_descriptor
from stat import S_ISREG
from time import CLOCK_BOOTTIME, clock_gettime

from rolekeeper.cli.messages import keep_out_of_cores, say
from rolekeeper.cli.plainjson import dumps, loads
from rolekeeper.core.ini import UnparsableError, profile_values, scan

TYPE_CHECKING = False  # as typing's, whose import alone would cost a tenth of the whole
if TYPE_CHECKING:
    import argparse
    from datetime import datetime
    from typing import Any

EXAMPLE = (
    "# in ~/.aws/config\n  [profile rack]\n"
    "  credential_process = rolekeeper credential-process --file /srv/app/credentials"
)
STATUS = "/run/rolekeeper/status.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
KEYS = {
    "AccessKeyId": "aws_access_key_id",
    "SecretAccessKey": "aws_secret_access_key",
    "SessionToken": "aws_session_token",
    "Expiration": "x_security_token_expires",
}
EXPIRY_OF = "x_rolekeeper_key_id"
OPTIONS = ("--file", "--profile")
LONGEST_FILE = 4 * 1024 * 1024  # bytes; the daemon publishes into none that is longer
LONGEST_BOOT_ID = 64  # bytes; the kernel allocates what a reader asks of /proc/sys, and refuses 4 MiB
UNKNOWN_LIFE = 900  # seconds until SDKs have to ask again for credentials of another program
READ_HINT = "run as a user who may read that file"
FILE_HINT = "name a published file; `rolekeeper status` lists them"
EXPIRED_HINT = "`rolekeeper status` says why there are no newer ones"
EXIT_CODES = {"argument-invalid": 64, "no-daemon": 69, "expired": 69}
UNREADABLE = 74  # of every other code


def main(arguments: list[str]) -> int:
    """Print the JSON; anything but the two options goes to the ordinary parser, which explains."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if len(arguments) % 2 or not set(values) <= set(OPTIONS):
        from rolekeeper.cli.parser import main as main_with_help

        return main_with_help(["credential-process", *arguments])
    return _print(values.get("--file"), values.get("--profile"))


def configure(parser: argparse.ArgumentParser) -> None:
    """The two options."""
    parser.add_argument("--file", metavar="PATH", help="a published file, default the first one of the daemon")
    parser.add_argument("--profile", metavar="NAME", help="in that file, default `default` or what the daemon says")


def run(options: argparse.Namespace) -> int:
    """Print the JSON."""
    return _print(options.file, options.profile)


def _print(path: str | None, profile: str | None) -> int:
    keep_out_of_cores()
    if "" in (path, profile):  # as of a variable that is not set: no name, no credentials
        return _fail("argument-invalid", "--file or --profile is empty", "give it a value, or leave the option out")
    try:
        where, name = _first_output(profile) if path is None else (path, profile or "default")
        credentials = dumps(_credentials(where, name))
    except OSError as error:
        return _fail(
            "file-unreadable",
            f"Cannot read {error.filename or path or STATUS}: {error.strerror}",
            READ_HINT if isinstance(error, PermissionError) else FILE_HINT,
        )
    except _Unusable as error:
        return _fail(error.code, str(error), error.hint)
    left = f"{credentials}\n".encode()
    try:
        while left:  # a file takes what still fits on the disk; the next write says that there is no more
            left = left[write(1, left) :]
    except OSError as error:
        return _fail(
            "output-unwritable",
            f"Cannot write to standard output: {error.strerror}",
            "check where standard output leads to",
        )
    return 0


class _Unusable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def _first_output(profile: str | None) -> tuple[str, str]:
    try:
        outputs = loads(_text(STATUS))["outputs"]
        first: dict[str, Any] = next(one for one in outputs if one["path"] and profile in (None, one["profile"]))
        return str(first["path"]), str(first["profile"])
    except FileNotFoundError as error:
        raise _Unusable(
            "no-daemon", "No daemon says where credentials are published", "name the file with --file"
        ) from error
    except StopIteration as error:
        raise _Unusable(
            "no-credentials",
            "The daemon publishes in no shared credentials file" + (f" with the profile {profile}" if profile else ""),
            "name the file with --file; for an endpoint, use its file in /run/rolekeeper/env",
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Unusable(
            "status-unreadable", f"Cannot find an output in {STATUS}", "name the file with --file"
        ) from error


def _credentials(path: str, profile: str) -> dict[str, Any]:
    values = _values(path, profile)
    if values.get(EXPIRY_OF) not in (None, values.get(KEYS["AccessKeyId"])):
        values[KEYS["Expiration"]] = _in(UNKNOWN_LIFE)
    missing = [key for key in KEYS.values() if not values.get(key)]
    if missing:
        what = f"No credentials of rolekeeper in {path}, profile {profile}: {missing[0]} is missing"
        raise _Unusable("no-credentials", what, "name file and profile as the configuration has them")
    if _is_past(values[KEYS["Expiration"]], _published(path, profile)):
        what = f"The credentials in {path} expired at {values[KEYS['Expiration']]}"
        raise _Unusable("expired", what, EXPIRED_HINT)
    return {"Version": 1, **{name: values[key] for name, key in KEYS.items()}}


def _values(path: str, profile: str) -> dict[str, str]:
    """The values of the profile, or of a process file as if it were one."""
    text = _text(path)
    try:
        if text.startswith("{"):
            found = loads(text)
            return {key: str(found[name]) for name, key in KEYS.items() if found.get(name)}
        return profile_values(scan(text), profile) or {}
    except (UnparsableError, ValueError, RecursionError) as error:
        reason = getattr(error, "reason", "it is no JSON")
        raise _Unusable("unparsable-file", f"Cannot read {path}: {reason}", "correct that line by hand") from error


def _published(path: str, profile: str) -> dict[str, Any]:
    """What status.json says of this output, with the boot that it was written in; empty when it says nothing."""
    try:
        status = loads(_text(STATUS))
        outputs: list[dict[str, Any]] = status["outputs"]
        found = next(one for one in outputs if one["profile"] in (profile, "") and _is_same(one["path"], path))
        return {**found, "boot_id": status["boot_id"]}
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError, _Unusable):
        return {}


def _is_same(configured: str | None, path: str) -> bool:
    """Whether both name one file; a program may name it by another path, through a symlink for instance."""
    if configured == path:
        return True
    try:
        one, other = stat(configured or ""), stat(path)  # noqa: PTH116 - pathlib would cost the start
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _text(path: str, longest: int = LONGEST_FILE) -> str:
    """The file's text. It never waits, and takes no more than `longest` bytes."""
    with open(path, "rb", opener=_open) as file:
        if not S_ISREG(fstat(file.fileno()).st_mode):
            raise _Unusable("not-a-file", f"Cannot read {path}: it is not a regular file", "name the published file")
        data = file.read(longest + 1)
    if len(data) > longest:
        raise _Unusable(
            "file-too-large",
            f"Cannot read {path}: it holds more than {longest} bytes",
            "name the published file",
        )
    return data.decode(errors="replace")


def _open(path: str, flags: int) -> int:
    return open_descriptor(path, flags | O_NONBLOCK)


def _is_past(expiration: str, published: dict[str, Any]) -> bool:
    """Whether the service's clock says so, which the daemon has measured; else whether the wall clock does."""
    from datetime import UTC, datetime  # late: only a file with credentials needs it

    try:
        expires_at = datetime.fromisoformat(expiration)
        left = _seconds_left(expires_at, published)
        return expires_at <= datetime.now(UTC) if left is None else left <= 0
    except (ValueError, TypeError) as error:
        raise _Unusable(
            "expiry-invalid", f"{expiration!r} is no time", "let the daemon publish the file again"
        ) from error


def _seconds_left(expires_at: datetime, published: dict[str, Any]) -> float | None:
    """Of the published credentials' life, by the time since boot; None when status.json does not know them."""
    try:
        life = published["life"]
        issued, end = (type(expires_at).fromisoformat(life[name]) for name in ("issued_at", "expires_at"))
        if published["boot_id"] != _text(BOOT_ID, LONGEST_BOOT_ID).strip() or end.replace(microsecond=0) != expires_at:
            return None
        return (expires_at - issued).total_seconds() + float(life["issued_boot"]) - clock_gettime(CLOCK_BOOTTIME)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, _Unusable):
        return None


def _in(seconds: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fail(code: str, message: str, hint: str) -> int:
    from rolekeeper.errors import one_line  # late: only a failure needs it

    say(one_line(message), hint, code=code)
    return EXIT_CODES.get(code, UNREADABLE)
