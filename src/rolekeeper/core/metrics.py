"""metrics.prom: what the daemon reports to Prometheus, in the text format for node_exporter's textfile collector.

- Names follow the conventions of Prometheus: base units, `_timestamp_seconds` for a moment, `_total` for a counter,
  `_info` for facts in labels.
- A state is one sample for each of its values, 1 for the one that holds and 0 for the others, so that no series ends
  when the state changes.
- What is not known has no sample: an absent expiry is not 0, which would be an expiry in 1970.
- No sample has a timestamp: the collector refuses such a file.
- Every user may read the file (0644); it holds no secret. It says what status.json says, and what only the loop knows.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from rolekeeper.core.loop.states import State
from rolekeeper.core.loop.status import OutputStatus, Status
from rolekeeper.model import Freshness, Outcome, Phase

Labels = Mapping[str, str]
Sample = tuple[Labels, float]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_NONE: Labels = {}


def render(state: State, status: Status) -> str:
    """The whole file; `status` is what status.json says of `state` at the same moment."""
    return "".join((*_daemon(state, status), *_credentials(status), *_node(state), *_outputs(status)))


def _daemon(state: State, status: Status) -> Iterator[str]:
    ended = [({"outcome": one.value}, state.outcomes.get(one, 0)) for one in Outcome]
    yield _gauge("build_info", "The daemon's version.", [({"version": status.version}, 1)])
    yield _gauge("state", "What the daemon does.", _enum(_NONE, "state", Phase, status.state))
    yield _family("attempts_total", "counter", "Attempts that ended since the daemon started.", ended)
    yield _value("consecutive_failures", "Attempts without success since the last success.", state.unsuccessful)
    yield _moment("next_attempt", "When the next attempt is due.", status.next_attempt_at)
    yield _moment("last_success", "When an attempt last left fresh credentials everywhere.", status.last_success_at)
    yield _moment("hibernation_since", "When the hibernation began.", state.hibernating_since_at)
    yield _moment("configuration_loaded", "When the daemon read its configuration.", state.loaded_at)


def _credentials(status: Status) -> Iterator[str]:
    """Of the output that is worst off, and of the credentials that expire first."""
    worst = _enum(_NONE, "freshness", Freshness, status.freshness)
    lives = [one.life for one in status.outputs if one.life is not None]
    first = min(lives, key=lambda life: life.expires_at, default=None)
    yield _gauge("credentials_freshness", "Freshness of the published credentials, of the worst output.", worst)
    yield _moment("credentials_expiry", "When the published credentials expire.", status.expires_at)
    yield _moment("credentials_issued", "When these credentials were issued.", first.issued_at if first else None)


def _node(state: State) -> Iterator[str]:
    if state.node_id is not None and state.region is not None:
        yield _gauge("node_info", "The managed node.", [({"node_id": state.node_id, "region": state.region}, 1)])
    if (found := state.fingerprint) is not None:
        yield _value("fingerprint_components_matched", "Hardware components that are as registered.", found.matched)
        yield _value("fingerprint_components_compared", "Hardware components that were compared.", found.compared)
        threshold = "Percentage of components that has to match; -1: any machine is accepted."
        yield _value("fingerprint_similarity_threshold_percent", threshold, found.threshold)
    if (difference := state.clock_difference) is not None:
        yield _value(
            "clock_difference_seconds", "The service's clock minus this machine's.", difference.total_seconds()
        )
    yield _moment("node_key_created", "When the node key was created.", state.key_created_at)


def _outputs(status: Status) -> Iterator[str]:
    """Each family's samples together, as the format requires."""
    all_of = [(one, _labels_of(one)) for one in status.outputs]
    published = [sample for one, labels in all_of for sample in _at(labels, one.published_at)]
    expiry = [sample for one, labels in all_of for sample in _at(labels, one.expires_at)]
    fresh = [sample for one, labels in all_of for sample in _enum(labels, "freshness", Freshness, one.freshness)]
    problem = [(labels, float(one.problem is not None)) for one, labels in all_of]
    yield _gauge("output_published_timestamp_seconds", "When credentials were published in this output.", published)
    yield _gauge("output_expiry_timestamp_seconds", "When the credentials in this output expire.", expiry)
    yield _gauge("output_freshness", "Freshness of the credentials in this output.", fresh)
    yield _gauge(
        "output_problem", "1 when this output does not hold what it should, or programs may not use it.", problem
    )


def _labels_of(one: OutputStatus) -> Labels:
    return {"kind": one.kind.value, "name": one.name, "profile": one.profile, "role": one.role or ""}


def _enum(labels: Labels, name: str, values: Iterable[str], current: str) -> list[Sample]:
    return [({**labels, name: str(value)}, float(value == current)) for value in values]


def _at(labels: Labels, moment: datetime | None) -> list[Sample]:
    return [] if moment is None else [(labels, moment.timestamp())]


def _moment(name: str, meaning: str, moment: datetime | None) -> str:
    return _gauge(f"{name}_timestamp_seconds", meaning, _at(_NONE, moment))


def _value(name: str, meaning: str, value: float) -> str:
    return _gauge(name, meaning, [(_NONE, value)])


def _gauge(name: str, meaning: str, samples: Iterable[Sample]) -> str:
    return _family(name, "gauge", meaning, samples)


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> str:
    """One metric with its help and type; nothing when it has no sample."""
    lines = [f"rolekeeper_{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples]
    return f"# HELP rolekeeper_{name} {meaning}\n# TYPE rolekeeper_{name} {kind}\n{''.join(lines)}" if lines else ""


def _labels(labels: Labels) -> str:
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
