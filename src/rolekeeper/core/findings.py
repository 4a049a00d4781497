"""What `rolekeeper doctor` finds: one finding or more for each link of the chain, in the chain's order.

The chain leads from the configuration to a program that can read its credentials, and a link works only if those before
it do. So the first failed finding is the one to begin with, and it gives the exit code of the whole. A link that cannot
be looked at is skipped, which is no failure of its own.
"""

from collections.abc import Iterable
from enum import StrEnum

from rolekeeper.errors import Problem, RolekeeperError, one_line
from rolekeeper.model import OutputProblem
from rolekeeper.values import Value


class Level(StrEnum):
    """The result for a link."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


class Finding(Value):
    """One link. `subject` says which of several it is, such as an output; `code` is empty when all is well.

    `exit_code` is that of a command which fails for this reason (`errors`); 0 unless the level is failed.
    """

    name: str
    level: Level
    message: str
    hint: str = ""
    code: str = ""
    subject: str = ""
    exit_code: int = 0


def ok(name: str, message: str, subject: str = "") -> Finding:
    """The link works."""
    return Finding(name, Level.OK, one_line(message), subject=subject)


def skipped(name: str, message: str, subject: str = "") -> Finding:
    """The link was not looked at, and why."""
    return Finding(name, Level.SKIPPED, one_line(message), subject=subject)


def warning(name: str, problem: OutputProblem, subject: str = "") -> Finding:
    """The link works, and something about it needs a person's attention."""
    return Finding(name, Level.WARNING, one_line(problem.message), problem.hint, problem.code, subject)


def failed(name: str, error: RolekeeperError, subject: str = "") -> Finding:
    """The link is broken."""
    return Finding(name, Level.FAILED, error.message, error.hint, error.code, subject, error.exit_code)


def misconfigured(name: str, level: Level, code: str, problem: Problem, exit_code: int = 0) -> Finding:
    """A key of the configuration that is wrong, or does not fit this machine."""
    where = f"{problem.where}: {problem.key}" if problem.key else problem.where
    return Finding(name, level, one_line(f"{where}: {problem.message}"), problem.hint, code, exit_code=exit_code)


def exit_code(found: Iterable[Finding]) -> int:
    """That of the first failed finding; 0 without one."""
    return next((one.exit_code for one in found if one.level is Level.FAILED), 0)


def summary(found: Iterable[Finding]) -> str:
    """The whole in one line, with the link to begin with."""
    listed = list(found)
    worst = next((level for level in (Level.FAILED, Level.WARNING) if any(one.level is level for one in listed)), None)
    if worst is None:
        return "Everything that was looked at is ok."
    counts = {level: sum(one.level is level for one in listed) for level in (Level.FAILED, Level.WARNING)}
    words = {Level.FAILED: "failed", Level.WARNING: "warnings" if counts[Level.WARNING] > 1 else "warning"}
    counted = ", ".join(f"{count} {words[level]}" for level, count in counts.items() if count)
    first = next(one for one in listed if one.level is worst)
    return f"{counted}; begin with: {first.name}{f' {first.subject}' if first.subject else ''}"
