"""What a test wants to know of an attempt's report."""

from rolekeeper.model import AttemptReport, Lifetime, OutputName


def current(report: AttemptReport) -> tuple[OutputName, ...]:
    """The outputs that hold the newest credentials."""
    return tuple(one.name for one in report.outputs if one.is_current and report.expires_at is not None)


def written(report: AttemptReport) -> tuple[OutputName, ...]:
    """The outputs that this attempt published to."""
    return tuple(one.name for one in report.outputs if one.is_written)


def life(report: AttemptReport) -> Lifetime | None:
    """The life of the published credentials that expire first."""
    return min((one.life for one in report.outputs if one.life), key=lambda one: one.expires_at, default=None)


def events(report: AttemptReport) -> list[str]:
    """What the attempt logs."""
    return [entry.event for entry in report.entries]
