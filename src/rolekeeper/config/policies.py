"""The policy files of roles, as far as `rolekeeper check` can judge them.

A policy file is read here, and again each time its role is assumed. What is wrong with it is an error of `check`, which
a person runs, and of `systemctl reload`, which runs `check` first. A start and a refresh of the daemon do not look at
it before they assume the role: there it is a fault of that role alone, and the daemon goes on.
"""

import json
from pathlib import Path

from rolekeeper.config.files import RawFile, read_regular
from rolekeeper.config.load import ROLES, Loaded
from rolekeeper.errors import Problem

LONGEST = 2_048  # characters without blanks between words; sts:AssumeRole takes no more
MOST_BYTES = 64 * 1024  # that an attempt reads of a policy file

_CHANGEABLE, _READABLE = 0o022, 0o004


def examine(loaded: Loaded) -> tuple[list[Problem], list[Problem]]:
    """Errors: the policy files that sts:AssumeRole would not take. Warnings: those that others may change or read.

    Raises InputOutputError when a file cannot be read just now.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for role, location in zip(loaded.settings.roles, loaded.locations[ROLES], strict=True):
        if role.policy_file is None:
            continue
        found = read_regular(Path(role.policy_file), MOST_BYTES)
        for found_so_far, (message, hint) in ((errors, _error(found)), (warnings, _warning(found))):
            if message:
                found_so_far.append(location.problem("policy_file", f"{role.policy_file} {message}", hint))
    return errors, warnings


def _error(found: RawFile | str) -> tuple[str, str]:
    """What is wrong with a policy file, and the remedy; empty when nothing is."""
    if isinstance(found, str):
        return found, "write the policy there, as a file that the user who runs rolekeeper may read"
    too_long = (f"is longer than {LONGEST} characters", "AWS takes no more: name managed policies in policy_arns")
    if len(found.data) > MOST_BYTES:
        return too_long
    try:
        policy = json.loads(found.data)
        sent = json.dumps(policy, ensure_ascii=False, separators=(",", ":"))
        sent.encode()  # JSON can escape what is no text
    except (ValueError, RecursionError):  # no text, no JSON, or a number of too many digits
        policy, sent = None, ""
    if not isinstance(policy, dict):
        return "is not a JSON object", "write an IAM policy document, such as the console's JSON tab shows"
    return too_long if len(sent) > LONGEST else ("", "")


def _warning(found: RawFile | str) -> tuple[str, str]:
    if isinstance(found, str) or not found.mode & (_CHANGEABLE | _READABLE):
        return "", ""
    rights = "change" if found.mode & _CHANGEABLE else "read"
    return f"is a file that others may {rights}", "take the right away: chmod go= and the file's name"
