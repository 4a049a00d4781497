"""What keeps a program from the credentials that are there for it: variables, profiles, a second writer.

SDKs look for credentials in an order of their own (docs/protocol.md, section 6): variables come first, then profiles,
and the container endpoint after both. What is found is named, and no value is shown: some of them are secrets.
"""

import os
import pwd
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from rolekeeper.adapters.files.replace import read_file
from rolekeeper.adapters.outputs import accounts
from rolekeeper.adapters.outputs.credentialsfile import config_profile
from rolekeeper.adapters.supervision import unit
from rolekeeper.adapters.vault import agent
from rolekeeper.cli.output import label
from rolekeeper.cli.probes.case import Case
from rolekeeper.core import credentialsfile
from rolekeeper.core.findings import Finding, failed, ok, skipped, warning
from rolekeeper.errors import OutputError, RefusedError, RolekeeperError
from rolekeeper.model import OutputProblem
from rolekeeper.settings import CredentialsFile, Endpoint, Output, Settings

ENVIRONMENT_FILE = "/etc/environment"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_FILE = "AWS_SHARED_CREDENTIALS_FILE"
_LARGEST = 1024 * 1024  # bytes


def environment(case: Case) -> Iterator[Finding]:
    """The variables that every program gets, or those of this shell."""
    found = False
    for where, variables in _sources(case).items():
        names = sorted(_outranking(variables, case.settings))
        if names:
            found = True
            message = f"{', '.join(names)} in {where}: programs that get it use other credentials"
            hint = f"remove it from {where}, and start these programs again"
            yield warning("environment", OutputProblem("environment-outranks", message, hint))
    if not found:
        yield ok("environment", "no variable outranks what is published")


def _sources(case: Case) -> dict[str, Mapping[str, str]]:
    sources: dict[str, Mapping[str, str]] = {"this shell": case.environment, ENVIRONMENT_FILE: _read_environment()}
    if case.unit is not None:
        sources["systemd's environment (systemctl show-environment)"] = unit.manager_environment()
    return sources


def _outranking(variables: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """The variables that lead a program past every output."""
    yield from (name for name in _KEYS if variables.get(name))
    files = settings.credentials_files
    profiles = {file.profile or "default" for file in files}
    if files:
        yield from (name for name in _PROFILES if variables.get(name) and variables[name] not in profiles)
        if variables.get(_FILE) and variables[_FILE] not in {file.path for file in files}:
            yield _FILE


def _read_environment() -> dict[str, str]:
    """As pam_env(8) reads it: a variable a line, `export` before it allowed."""
    try:
        text = (read_file(ENVIRONMENT_FILE, _LARGEST) or b"").decode(errors="replace")
    except OSError:
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in text.splitlines())
    return {name.strip(): _unquoted(value) for name, _, value in pairs if not name.startswith("#")}


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value


def profiles(case: Case) -> Iterator[Finding]:
    """The files in the home of each output's owner that SDKs prefer to the output."""
    for output in case.settings.outputs:
        subject = label(output.output_name)
        home = _home(output, case.environment)
        if home is None:
            yield skipped("profile", "its owner has no home", subject)
            continue
        names = _outranking_profile(output, home, case.settings)
        if names is None:
            other = "else " if _is_in(home, output) else ""
            yield ok("profile", f"nothing {other}in {home}/.aws outranks it", subject)
        else:
            yield warning("profile", names, subject)


def _home(output: Output, variables: Mapping[str, str]) -> str | None:
    """The home of the user whose programs are to use the output, as SDKs find it."""
    try:
        number = accounts.user_number(output.owner, label(output.output_name))
        own = variables.get("HOME") if number == os.geteuid() else None
        return own or pwd.getpwuid(number).pw_dir
    except (OutputError, KeyError):
        return None


def _outranking_profile(output: Output, home: str, settings: Settings) -> OutputProblem | None:
    if isinstance(output, Endpoint):
        return _keys_before_endpoint(home, settings)
    config = f"{home}/.aws/config"
    if _is_in(home, output):  # the output itself warns of what is beside it
        return None
    names = credentialsfile.outranking(config_profile(config, output.profile or "default"))
    if not names:
        return None
    message = f"{', '.join(names)} in {config}, profile [{output.profile or 'default'}], outrank its credentials"
    return OutputProblem("profile-outranks", message, "remove these settings, or publish to a profile of its own")


def _is_in(home: str, output: Output) -> bool:
    """Whether SDKs find the output in the home without being told."""
    return isinstance(output, CredentialsFile) and Path(output.path).parent == Path(home, ".aws")


def _keys_before_endpoint(home: str, settings: Settings) -> OutputProblem | None:
    """Keys in a file come before an endpoint for every SDK."""
    path = f"{home}/.aws/credentials"
    if any(file.path == path for file in settings.credentials_files):
        return None
    try:
        text = credentialsfile.decode(read_file(path, _LARGEST) or b"", where=path)
        values = credentialsfile.read_profile(text, "default", where=path) or {}
    except (OSError, OutputError):
        return None
    if not values.get(credentialsfile.ACCESS_KEY_ID):
        return None
    message = f"{path} has keys in [default], and programs use these before they ask an endpoint"
    return OutputProblem("profile-outranks", message, "remove the keys, or the file")


def agent_beside(case: Case) -> Iterator[Finding]:
    """SSM Agent: with this registration it locks us out, with another it may write where we publish."""
    if os.geteuid() != 0:
        yield skipped("ssm-agent", "not looked at: only root sees it")
        return
    if not agent.agent_running(agent.DEFAULT_DIRECTORY):
        yield ok("ssm-agent", "does not run here")
        return
    ours = case.contents.registration
    try:
        theirs = agent.read_agent_vault().registration.node_id
    except RolekeeperError:
        theirs = "an unknown node"
    stop = "systemctl disable --now amazon-ssm-agent"
    if ours is not None and theirs == ours.node_id:
        message = f"SSM Agent runs as {theirs} too: a key rotation by one of the two locks the other out"
        yield failed("ssm-agent", RefusedError("agent-running", message, stop))
        return
    message = (
        f"SSM Agent runs as {theirs}, and publishes to /root/.aws/credentials [default] unless configured otherwise"
    )
    hint = f"{stop}, or give rolekeeper a file or a profile of its own"
    yield warning("ssm-agent", OutputProblem("agent-beside", message, hint))
