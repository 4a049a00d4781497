"""What is known so far about this machine: filled by the probes, link after link."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from rolekeeper.adapters.ssm.reach import Route
from rolekeeper.adapters.supervision.unit import Unit
from rolekeeper.cli.condition import Condition
from rolekeeper.config.load import Loaded
from rolekeeper.model import TokenAnswer, VaultContents
from rolekeeper.ports import Clock
from rolekeeper.settings import Settings
from rolekeeper.values import replace

_LONGEST_CONNECT, _LONGEST_READ = timedelta(seconds=4), timedelta(seconds=6)
_LONGEST_ATTEMPT = timedelta(seconds=20)  # from which the times for hardware and outputs derive


@dataclass(slots=True)
class Case:
    """`configuration` is the file of --config, None for the one of the unit; `environment` is this process's.

    `settings` are those of `loaded`, with time limits for a person who waits.
    """

    configuration: str | None
    with_token: bool
    clock: Clock
    environment: Mapping[str, str]
    loaded: Loaded
    settings: Settings = field(init=False)
    unit: Unit | None = None
    condition: Condition | None = None
    contents: VaultContents = field(default_factory=VaultContents)
    route: Route | None = None
    clock_difference: timedelta | None = None
    token: TokenAnswer | None = None

    def __post_init__(self) -> None:
        self.settings = _brisk(self.loaded.settings)

    @property
    def concerns_unit(self) -> bool:
        """Whether this is about the installed service: it reads the configuration under /etc."""
        return self.configuration is None


def _brisk(settings: Settings) -> Settings:
    service, daemon = settings.service, settings.daemon
    return replace(
        settings,
        service=replace(
            service,
            connect_timeout=min(service.connect_timeout, _LONGEST_CONNECT),
            read_timeout=min(service.read_timeout, _LONGEST_READ),
        ),
        daemon=replace(daemon, attempt_timeout=min(daemon.attempt_timeout, _LONGEST_ATTEMPT)),
    )
