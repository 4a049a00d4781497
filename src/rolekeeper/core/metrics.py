"""The metrics file: what the daemon reports to Prometheus, in the text format that node_exporter's textfile collector reads.

- Names follow OpenMetrics: base units (seconds, ratios), `_timestamp_seconds` for a moment, `_total` for a counter,
  `_info` for facts in labels.
- A state is one sample for each of its values, 1 for the one that holds and 0 for the others, so that no series ends
  when the state changes.
- What is not known has no sample: an absent expiry is not 0, which would be an expiry in 1970. An alert rule finds it
  with `absent()` or with `unless`.
- There is no timestamp behind a sample: the collector refuses such a file.
- No secret is in it: the file is 0644.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rolekeeper.core.loop.states import Phase
from rolekeeper.model import FingerprintSummary, Freshness, Outcome

Labels = Mapping[str, str]
Sample = tuple[Labels, float]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_NONE: Labels = {}


@dataclass(frozen=True, slots=True)
class OutputMetrics:
    """One output: a profile of a credentials file, or an endpoint. `role` is empty for the node's own role."""

    kind: str
    name: str  # the path of a file, the name of an endpoint
    profile: str
    role: str
    freshness: Freshness
    published_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything that the metrics file says. None is unknown, or does not apply, and has no sample."""

    version: str
    state: Phase
    freshness: Freshness  # of the worst output
    expires_at: datetime | None = None
    issued_at: datetime | None = None
    next_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    attempts: Mapping[Outcome, int] = field(default_factory=dict)  # ended since the daemon started
    consecutive_failures: int = 0  # since the last success, refusals and probes included
    hibernation_since_at: datetime | None = None
    fingerprint: FingerprintSummary | None = None
    outputs: tuple[OutputMetrics, ...] = ()
    clock_difference: timedelta | None = None  # the service's clock less this machine's
    node_key_created_at: datetime | None = None
    configuration_loaded_at: datetime | None = None


def render(metrics: Metrics) -> str:
    """The whole file, with a newline at its end."""
    families = (*_about_daemon(metrics), *_about_credentials(metrics), *_about_node(metrics), *_about_outputs(metrics))
    return "".join(families)


def _about_daemon(metrics: Metrics) -> Iterable[str]:
    attempts = [({"outcome": one.value}, metrics.attempts.get(one, 0)) for one in Outcome]
    yield _gauge("build_info", "The daemon's version.", [({"version": metrics.version}, 1)])
    yield _gauge("state", "Where the daemon is.", _enum({}, "state", Phase, metrics.state))
    yield _counter("attempts_total", "Attempts that ended since the daemon started.", attempts)
    yield _gauge(
        "consecutive_failures",
        "Attempts without credentials since the last success.",
        [(_NONE, metrics.consecutive_failures)],
    )
    yield _moment("next_attempt", "When the next attempt is due.", metrics.next_attempt_at)
    yield _moment("last_success", "When an attempt last brought or found fresh credentials.", metrics.last_success_at)
    yield _moment("hibernation_since", "When the hibernation began.", metrics.hibernation_since_at)
    yield _moment("configuration_loaded", "When the daemon read its configuration.", metrics.configuration_loaded_at)


def _about_credentials(metrics: Metrics) -> Iterable[str]:
    fresh = _enum({}, "freshness", Freshness, metrics.freshness)
    yield _gauge("credentials_freshness", "Freshness of the published credentials, of the worst output.", fresh)
    yield _moment("credentials_expiry", "When the published credentials expire.", metrics.expires_at)
    yield _moment("credentials_issued", "When the published credentials were issued.", metrics.issued_at)


def _about_node(metrics: Metrics) -> Iterable[str]:
    found = metrics.fingerprint
    if found is not None:
        yield _gauge("fingerprint_components_matched", "Components that are as registered.", [(_NONE, found.matched)])
        yield _gauge("fingerprint_components_compared", "Components that were compared.", [(_NONE, found.compared)])
        yield _gauge(
            "fingerprint_similarity_threshold",
            "Percentage of components that has to match.",
            [(_NONE, found.threshold)],
        )
    if metrics.clock_difference is not None:
        difference = metrics.clock_difference.total_seconds()
        yield _gauge("clock_difference_seconds", "The service's clock less this machine's.", [(_NONE, difference)])
    yield _moment("node_key_created", "When the node key was created.", metrics.node_key_created_at)


def _about_outputs(metrics: Metrics) -> Iterable[str]:
    published, expiry, fresh = [], [], []
    for output in metrics.outputs:
        labels = {"kind": output.kind, "name": output.name, "profile": output.profile, "role": output.role}
        published += _at(labels, output.published_at)
        expiry += _at(labels, output.expires_at)
        fresh += _enum(labels, "freshness", Freshness, output.freshness)
    yield _gauge("output_published_timestamp_seconds", "When this output was published.", published)
    yield _gauge("output_expiry_timestamp_seconds", "When the credentials in this output expire.", expiry)
    yield _gauge("output_freshness", "Freshness of the credentials in this output.", fresh)


def _enum(labels: Labels, name: str, values: Iterable[str], current: str) -> list[Sample]:
    return [({**labels, name: str(value)}, float(value == current)) for value in values]


def _at(labels: Labels, moment: datetime | None) -> list[Sample]:
    return [] if moment is None else [(labels, moment.timestamp())]


def _moment(name: str, help_text: str, moment: datetime | None) -> str:
    return _gauge(f"{name}_timestamp_seconds", help_text, _at(_NONE, moment))


def _gauge(name: str, help_text: str, samples: Iterable[Sample]) -> str:
    return _family(name, "gauge", help_text, samples)


def _counter(name: str, help_text: str, samples: Iterable[Sample]) -> str:
    return _family(name, "counter", help_text, samples)


def _family(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> str:
    """One metric with its help and type; nothing when it has no sample."""
    lines = [f"rolekeeper_{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples]
    return f"# HELP rolekeeper_{name} {help_text}\n# TYPE rolekeeper_{name} {kind}\n{''.join(lines)}" if lines else ""


def _labels(labels: Labels) -> str:
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
