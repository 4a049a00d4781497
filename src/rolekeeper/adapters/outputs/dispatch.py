"""Every output by its kind, and each within its own time: the Outputs port.

A disk or a file server that hangs cannot be interrupted. So each look and each publication gets its time, and the
attempt goes on without it when that is over (`patience`).
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from rolekeeper.adapters.patience import within
from rolekeeper.core.steps import SeenOutput
from rolekeeper.errors import OutputError
from rolekeeper.model import IssueRecord, RoleToken
from rolekeeper.settings import CredentialsFile, Endpoint, FileFormat, Output

T = TypeVar("T")


class OneKind(Protocol):
    """ports.Outputs for outputs of one kind."""

    def look(self, output: Any, longest: timedelta) -> SeenOutput:
        """What the output holds, and whether `publish` would succeed."""

    def publish(self, output: Any, token: RoleToken, issue: IssueRecord, longest: timedelta) -> None:
        """Put credentials into the output."""


class AllOutputs:
    """Fulfils ports.Outputs."""

    def __init__(
        self,
        shared: OneKind,
        process: OneKind,
        endpoints: OneKind,
        remove_other_endpoints: Callable[[Iterable[Endpoint]], None],
    ) -> None:
        self._files = {FileFormat.SHARED: shared, FileFormat.PROCESS: process}
        self._endpoints = endpoints
        self._remove_other_endpoints = remove_other_endpoints

    def remove_others(self, outputs: Iterable[Output]) -> None:
        """Remove the endpoints of an earlier configuration; what cannot be removed now is removed next time."""
        with suppress(OutputError):
            self._remove_other_endpoints(one for one in outputs if isinstance(one, Endpoint))

    def look(self, output: Output, longest: timedelta) -> SeenOutput:
        """What the output holds, and whether `publish` would succeed."""
        try:
            return _within(longest, output, lambda: self._kind(output).look(output, longest))
        except OutputError as error:
            return SeenOutput(output, None, error)

    def publish(self, output: Output, token: RoleToken, issue: IssueRecord, longest: timedelta) -> None:
        """Put credentials into the output; OutputError `output-hangs` when that does not end in time."""
        _within(longest, output, lambda: self._kind(output).publish(output, token, issue, longest))

    def _kind(self, output: Output) -> OneKind:
        return self._endpoints if isinstance(output, Endpoint) else self._files[output.format]


def _within(longest: timedelta, output: Output, work: Callable[[], T]) -> T:
    """What `work` returns or raises, if it ends in time; OutputError `output-hangs` when it does not."""
    try:
        return within(longest, work)
    except TimeoutError as error:
        where = output.path if isinstance(output, CredentialsFile) else f"the endpoint {output.name}"
        raise OutputError(
            "output-hangs",
            f"Cannot publish to {where}: its file system does not answer in time",
            "look at the disk or file server behind it; `[daemon] attempt_timeout` sets how long an attempt may take",
        ) from error
