"""The chain in order, and how it is walked: on after a failure, as far as that makes sense, and never for long.

A link is skipped when one that it needs has failed or was skipped. Each has its time, and all together have theirs: a
network that is dead, a resolver or a disk that hangs costs a bounded time, and the findings before it are kept.
"""

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta

from rolekeeper.adapters.patience import within
from rolekeeper.cli.probes import machine, network, outputs, programs
from rolekeeper.cli.probes.case import Case
from rolekeeper.core.findings import Finding, Level, failed, skipped
from rolekeeper.errors import RolekeeperError, UnavailableError
from rolekeeper.values import Value

LONGEST = timedelta(seconds=28)

Probe = Callable[[Case], Iterator[Finding]]


class Link(Value):
    """One link: its name, which it gives to its findings, its probe, the links that it needs, and its time."""

    name: str
    probe: Probe
    needs: tuple[str, ...] = ()
    longest: timedelta = timedelta(seconds=5)


WITHOUT_CONFIGURATION = (Link("unit", machine.service_unit, longest=timedelta(seconds=6)),)
CHAIN = (
    Link("configuration", machine.configuration),
    *WITHOUT_CONFIGURATION,
    Link("daemon", machine.daemon),
    Link("vault", machine.vault),
    Link("hardware", machine.hardware, ("vault",), timedelta(seconds=10)),
    Link("name", network.name),
    Link("route", network.connection, ("name",), timedelta(seconds=6)),
    Link("service", network.service, ("name", "route"), timedelta(seconds=13)),
    Link("clock", network.time, ("service",)),
    Link("token", network.token, ("vault", "hardware", "service"), timedelta(seconds=8)),
    Link("role", network.roles, (), timedelta(seconds=10)),
    Link("session", network.session),
    Link("output", outputs.writable, longest=timedelta(seconds=10)),
    Link("credentials", outputs.credentials),
    Link("reader", outputs.readable),
    Link("socket", outputs.socket, longest=timedelta(seconds=6)),
    Link("environment", programs.environment, longest=timedelta(seconds=6)),
    Link("profile", programs.profiles),
    Link("ssm-agent", programs.agent_beside),
)


def walk(case: Case, longest: timedelta = LONGEST, links: tuple[Link, ...] = CHAIN) -> list[Finding]:
    """Every finding, in the order of the links."""
    until = case.clock.now().boot + longest
    found: list[Finding] = []
    broken: set[str] = set()
    for link in links:
        needed = next((name for name in link.needs if name in broken), None)
        left = until - case.clock.now().boot
        if needed is not None:
            seen = [skipped(link.name, f"not looked at: it needs {needed}")]
        elif left <= timedelta(0):
            seen = [skipped(link.name, f"not looked at: the time of {longest.seconds} s is over")]
        else:
            seen = _look(link, case, min(left, link.longest))
        found += seen
        if any(one.level is Level.FAILED or _was_skipped(one, link) for one in seen):
            broken.add(link.name)
    return found


def _was_skipped(one: Finding, link: Link) -> bool:
    return one.level is Level.SKIPPED and one.name == link.name and not one.subject


def _look(link: Link, case: Case, longest: timedelta) -> list[Finding]:
    seen: list[Finding] = []

    def look() -> None:
        seen.extend(link.probe(case))

    try:
        within(longest, look)
    except TimeoutError:
        hint = "see what hangs: a name server, a disk, a file server, or a program such as dmidecode"
        error = UnavailableError("timeout", f"it does not end within {longest.total_seconds():.0f} s", hint)
        return [*seen, failed(link.name, error)]
    except RolekeeperError as error:
        return [*seen, failed(link.name, error)]
    except (OSError, subprocess.SubprocessError) as error:  # one link that cannot be looked at costs no other
        hint = "run `rolekeeper doctor` as root outside a container"
        return [*seen, failed(link.name, UnavailableError("not-looked-at", f"cannot look at it: {error}", hint))]
    return seen
