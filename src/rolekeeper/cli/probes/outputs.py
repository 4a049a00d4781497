"""Each output: whether the daemon can write it, what it holds, and whether those that it is for can read it."""

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

from rolekeeper import compose
from rolekeeper.adapters.outputs import accounts, untouched
from rolekeeper.adapters.outputs.endpoint import document_path, shown_paths
from rolekeeper.adapters.outputs.processfile import PROFILE
from rolekeeper.adapters.supervision import transient
from rolekeeper.attempt.look import longest_for_output
from rolekeeper.cli.endpointsocket import SOCKET, is_for_systemd, unserved
from rolekeeper.cli.output import label
from rolekeeper.cli.probes.case import Case
from rolekeeper.config.load import ENDPOINTS
from rolekeeper.core.findings import Finding, failed, ok, skipped, warning
from rolekeeper.core.jsonvalues import decode, shown
from rolekeeper.core.loop.status import OutputStatus
from rolekeeper.errors import OutputError, UnavailableError
from rolekeeper.model import Freshness, OutputProblem
from rolekeeper.settings import CredentialsFile, Endpoint, FileFormat, Output, Settings

_IN_SANDBOX = timedelta(seconds=9)
_LONGEST_TEST = 2  # seconds that a test of one file may take
_GROUP_READS, _OTHERS_READ = 0o040, 0o004
_NOBODY = 65534
_ONLY_ROOT = "only root"
_WHEN_BAD = {
    Freshness.EXPIRED: "the credentials in it have expired",
    Freshness.ABSENT: "it holds no credentials of this node",
    Freshness.HELD_BY_ANOTHER: "it holds another program's credentials",
    Freshness.UNKNOWN: "whose credentials it holds is not known",
}


def writable(case: Case) -> Iterator[Finding]:
    """Whether each output can be written, from within the unit's sandbox if there is one."""
    if case.unit is None:
        yield from look(case.settings)
        return
    if os.geteuid() != 0:
        yield skipped("output", f"not looked at: {_ONLY_ROOT} sees what the unit sees")
        return
    try:
        said = transient.run(compose.own_command(None, "doctor", "--outputs"), _IN_SANDBOX)
    except UnavailableError as error:
        if error.code != transient.UNKNOWN:
            raise
        yield warning("output", OutputProblem(error.code, error.message, error.hint))
        yield from look(case.settings)
        return
    try:
        yield from (decode(Finding, one) for one in json.loads(said))
    except ValueError:
        yield skipped("output", "the look from within the unit's sandbox was cut off")


def look(settings: Settings) -> Iterator[Finding]:
    """The same from where this process is; nothing that a reader sees is changed, and nothing is made."""
    outputs = compose.outputs(settings)
    for output in settings.outputs:
        subject = label(output.output_name)
        if isinstance(output, Endpoint) and not Path(document_path(_runtime(settings), output)).exists():
            yield skipped("output", "nothing was published yet", subject)
            continue
        if isinstance(output, CredentialsFile) and (missing := untouched.missing_directory(output)):
            yield _creatable(output, missing, subject)
            continue
        with untouched.no_new_lock(output) if isinstance(output, CredentialsFile) else nullcontext():
            seen = outputs.look(output, longest_for_output(settings))
        if seen.problem is not None:
            yield failed("output", seen.problem, subject)
        else:
            yield ok("output", "can be written", subject)
        if seen.contents is not None and seen.contents.warning is not None:
            yield warning("output", seen.contents.warning, subject)


def _creatable(output: CredentialsFile, missing: str, subject: str) -> Finding:
    try:
        untouched.refuse_creation(output, os.environ.get(compose.UNIT))
    except OutputError as error:
        return failed("output", error, subject)
    return ok("output", f"can be written: the directory {missing} will be created", subject)


def credentials(case: Case) -> Iterator[Finding]:
    """What each output holds, as status.json and the files show."""
    if case.condition is None or case.condition.reported is None:
        yield skipped("credentials", "no daemon has reported what the outputs hold")
        return
    known = {one.output_name: one for one in case.condition.outputs()}
    for output in case.settings.outputs:
        subject = label(output.output_name)
        found = known.get(output.output_name)
        if found is None:
            yield skipped("credentials", "the daemon does not publish there yet", subject)
        else:
            yield _held(found, subject)


def _held(found: OutputStatus, subject: str) -> Finding:
    problem, until = (
        found.problem,
        shown(found.expires_at) if found.expires_at else "an unknown time",
    )
    if found.freshness is Freshness.FRESH and problem is None:
        return ok("credentials", f"fresh until {until}", subject)
    if found.freshness in (Freshness.FRESH, Freshness.STALE):
        stale = OutputProblem("stale", f"{found.freshness}, until {until}", "`rolekeeper refresh` requests new ones")
        return warning("credentials", problem or stale, subject)
    words = _WHEN_BAD[found.freshness]
    if problem is not None:
        return failed("credentials", OutputError(problem.code, f"{words}: {problem.message}", problem.hint), subject)
    hint = "`rolekeeper refresh` publishes there and says what is in the way"
    return failed("credentials", UnavailableError(found.freshness.value, words, hint), subject)


def readable(case: Case) -> Iterator[Finding]:
    """Whether owner and group of each output can read what is there."""
    for output in case.settings.outputs:
        subject = label(output.output_name)
        if os.geteuid() != 0:
            yield skipped("reader", f"not looked at: {_ONLY_ROOT} can try it as another user", subject)
            continue
        paths = _paths(output, case.settings)
        if not paths:
            yield skipped("reader", "there is nothing to read yet", subject)
            continue
        try:
            wrong = [one for path in paths for one in _unreadable(output, path)]
        except OutputError as error:
            yield failed("reader", error, subject)
            continue
        for problem in wrong:
            yield failed("reader", problem, subject)
        if not wrong:
            yield ok("reader", f"can be read by {_readers(output)}", subject)


def _paths(output: Output, settings: Settings) -> list[str]:
    """The files that programs read; the directory of one that is not there yet."""
    if isinstance(output, Endpoint):
        paths: tuple[str, ...] = shown_paths(_runtime(settings), output)
    elif output.format is FileFormat.PROCESS:
        paths = output.path, f"{output.path}{PROFILE}"
    else:
        paths = (output.path,)
    there = (path if os.path.lexists(path) else f"{os.path.dirname(path)}/" for path in paths)  # noqa: PTH120
    return [path for path in dict.fromkeys(there) if os.path.lexists(path)]


def _unreadable(output: Output, path: str) -> Iterator[OutputError]:
    owner = accounts.user_number(output.owner, path)
    group = accounts.group_number(output.group, path)
    mode = Path(path).stat().st_mode if os.path.exists(path) else 0  # noqa: PTH110
    is_directory = path.endswith("/")
    readers = {f"the user {output.owner}": _user(owner)} if owner else {}
    if group is not None:
        if not is_directory and not mode & _GROUP_READS:
            hint = 'write mode = "0640" beside the group, or leave the group out'
            message = f"{path} does not let the group {output.group} read it (mode {mode & 0o777:04o})"
            yield OutputError("group-cannot-read", message, hint)
        else:
            readers[f"the group {output.group}"] = {"user": _NOBODY, "group": group, "extra_groups": []}
    elif isinstance(output, CredentialsFile) and not output.keep_mode and output.mode & _OTHERS_READ:
        readers["every user"] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    for name, identity in readers.items():
        if not _may("-x" if is_directory else "-r", path, identity):
            hint = f"let it search the directories on the way: `namei -l {path}` shows them"
            yield OutputError("reader-shut-out", f"{name} cannot {'enter' if is_directory else 'read'} {path}", hint)


def _user(number: int) -> dict[str, object]:
    """The identity that a process of the user has."""
    try:
        found = pwd.getpwuid(number)
    except KeyError:
        return {"user": number, "group": number, "extra_groups": []}
    return {"user": number, "group": found.pw_gid, "extra_groups": os.getgrouplist(found.pw_name, found.pw_gid)}


def _may(test: str, path: str, identity: dict[str, object]) -> bool:
    """Ask the kernel, as that user: modes, ACLs and every directory on the way count."""
    command = ["/usr/bin/env", "test", test, path]
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            command, check=False, timeout=_LONGEST_TEST, cwd="/", **identity
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = f"cannot try {path} as user {identity['user']}: {type(error).__name__}"
        hint = "run this as root outside a container; a file server that hangs also keeps programs from reading"
        raise OutputError("reader-untested", why, hint) from error
    return bool(done.returncode == 0)


def _readers(output: Output) -> str:
    names = [f"{kind} {one}" for kind, one in (("user", output.owner), ("group", output.group)) if one is not None]
    return " and ".join(names) or "its owner"


def socket(case: Case) -> Iterator[Finding]:
    """Whether systemd listens for the endpoints."""
    if not case.settings.endpoints:
        return
    if not case.concerns_unit or case.unit is None or not is_for_systemd(case.settings):
        yield skipped("socket", "systemd does not serve the endpoints of this configuration")
    elif why := unserved(case.settings):
        for location in case.loaded.locations[ENDPOINTS]:
            yield failed("socket", UnavailableError(why.code, f"{location.key}: {why.message}", why.hint))
    else:
        yield ok("socket", f"{SOCKET} listens")


def _runtime(settings: Settings) -> str:
    return settings.daemon.runtime_directory
