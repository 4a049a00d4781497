"""What metrics.prom holds, moment by moment, in virtual time."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.daemon.conftest import SETTINGS, Behaviour, ending, issuing, world_of

from rolekeeper.errors import InputOutputError
from rolekeeper.model import FingerprintSummary, Freshness, Outcome, OutputName, Verdict
from rolekeeper.values import replace

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOREVER = timedelta(days=400)
SAMPLE = re.compile(r'^(rolekeeper_\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)+\})? (-?[0-9.e+-]+)$')
OUTPUT = 'kind="credentials_file",name="/root/.aws/credentials",profile="default",role=""'


def samples(text: str) -> Mapping[str, float]:
    """Every sample by name and labels, without the prefix; each family has help, type, then all its samples."""
    found: dict[str, float] = {}
    family = ""
    for line in text.splitlines():
        if match := re.match(r"# HELP (\w+) \S", line):
            assert not any(name.partition("{")[0] == match[1].removeprefix("rolekeeper_") for name in found)
            family = match[1]
        elif not line.startswith(f"# TYPE {family} "):
            sample = SAMPLE.match(line)
            assert sample is not None, line
            assert sample[1] == family, line
            found[(sample[1] + (sample[2] or "")).removeprefix("rolekeeper_")] = float(sample[3])
    return found


def metrics(world: Any, moment: timedelta = FOREVER) -> Mapping[str, float]:
    """What metrics.prom held at that moment."""
    return samples([told.what for told in world.metrics if told.at <= moment][-1])


def at(offset: timedelta) -> float:
    return (NOON + offset).timestamp()


def the_one(found: Mapping[str, float], name: str, label: str) -> str:
    """The value of an enumeration: exactly one of its samples is 1, the others are 0."""
    members = {key: value for key, value in found.items() if key.partition("{")[0] == name}
    assert sorted(members.values()) == [0.0] * (len(members) - 1) + [1.0]
    (key,) = [key for key, value in members.items() if value]
    named = re.search(rf'{label}="([^"]*)"', key)
    assert named is not None
    return named[1]


def test_credentials_are_told_with_expiry_issue_and_next_attempt() -> None:
    world = world_of(Outcome.ISSUED)
    world.runs(5 * MINUTE)
    found, document = metrics(world, MINUTE), world.document(MINUTE)
    issued = at(400 * SECOND / 1000)
    assert found["credentials_issued_timestamp_seconds"] == pytest.approx(issued)
    assert found["credentials_expiry_timestamp_seconds"] == pytest.approx(issued + 3600)
    due = datetime.fromisoformat(document["next_attempt_at"]).timestamp()
    assert found["next_attempt_timestamp_seconds"] == pytest.approx(due)
    assert found["last_success_timestamp_seconds"] == pytest.approx(issued)
    assert found["configuration_loaded_timestamp_seconds"] == pytest.approx(at(100 * SECOND / 1000))
    assert found[f"output_expiry_timestamp_seconds{{{OUTPUT}}}"] == pytest.approx(issued + 3600)
    assert found[f"output_published_timestamp_seconds{{{OUTPUT}}}"] == pytest.approx(issued)
    assert found[f"output_problem{{{OUTPUT}}}"] == 0
    assert found['build_info{version="1.2.3"}'] == 1
    assert found['node_info{node_id="mi-0123456789abcdef0",region="eu-central-1"}'] == 1


def test_what_is_not_known_has_no_sample() -> None:
    world = world_of(Outcome.UNREGISTERED)
    world.runs(5 * MINUTE)
    found = metrics(world, MINUTE)
    assert not [name for name in found if name.endswith("_timestamp_seconds") and "configuration" not in name]
    assert not [name for name in found if name.startswith(("fingerprint", "clock", "node_", "output_expiry"))]
    assert the_one(found, "state", "state") == "unregistered"
    assert found["consecutive_failures"] == 0


def test_state_and_freshness_go_the_way_of_the_status() -> None:
    world = world_of(Outcome.ISSUED, Outcome.FAILED, Outcome.NODE_UNKNOWN)
    world.runs(3 * HOUR)
    assert len(world.metrics) == len(world.documents)
    for told, document in zip(world.metrics, world.documents, strict=True):
        found = samples(told.what)
        assert the_one(found, "state", "state") == document.what["state"]
        assert the_one(found, "credentials_freshness", "freshness") == document.what["freshness"]
        assert told.at == document.at
    assert the_one(metrics(world), "output_freshness", "freshness") == Freshness.EXPIRED


def test_attempts_are_counted_by_outcome_and_failures_since_the_last_success() -> None:
    world = world_of(Outcome.FAILED, Outcome.REFUSED, Outcome.NODE_UNKNOWN, Outcome.ISSUED, Outcome.FAILED)
    world.runs(45 * MINUTE)
    by_attempt = [
        (sum(value for name, value in found.items() if name.startswith("attempts_total")), found)
        for found in (samples(told.what) for told in world.metrics)
    ]
    failures = {count: found["consecutive_failures"] for count, found in by_attempt}
    assert [failures[n] for n in range(5)] == [0, 1, 2, 3, 0]
    _, last = by_attempt[-1]
    assert last['attempts_total{outcome="node-unknown"}'] == 1
    assert last['attempts_total{outcome="issued"}'] == 1
    assert last['attempts_total{outcome="failed"}'] > 2
    assert last['attempts_total{outcome="hardware-unreadable"}'] == 0
    for (_, before), (_, after) in pairwise(by_attempt):  # a counter never falls
        assert all(after[name] >= value for name, value in before.items() if name.startswith("attempts_total"))


def test_a_hibernation_is_dated_from_its_beginning_to_its_end() -> None:
    world = world_of(Outcome.ISSUED, Outcome.FINGERPRINT_REFUSED, Outcome.FINGERPRINT_REFUSED, Outcome.ISSUED)
    world.runs(55 * MINUTE)
    since = [samples(told.what).get("hibernation_since_timestamp_seconds") for told in world.metrics]
    began = world.began()[1]
    told = [one for one in since if one is not None]
    assert len(told) > 2
    assert told == [pytest.approx(at(began + 300 * SECOND / 1000), abs=1e-3)] * len(told)
    assert since[0] is None
    assert since[-1] is None


def test_fingerprint_clock_and_key_are_those_that_the_last_attempt_told() -> None:
    summary = FingerprintSummary(Verdict.SIMILAR, 7, 9, 40)
    key_created_at = NOON - 30 * DAY
    first = replace(
        issuing(10 * MINUTE),
        fingerprint=summary,
        clock_difference=timedelta(seconds=-2.5),
        key_created_at=key_created_at,
    )
    world = world_of(first, replace(ending(Outcome.FAILED), key_created_at=NOON))
    world.runs(HOUR)
    found = metrics(world, MINUTE)
    assert found["fingerprint_components_matched"] == 7
    assert found["fingerprint_components_compared"] == 9
    assert found["fingerprint_similarity_threshold_percent"] == 40
    assert found["clock_difference_seconds"] == -2.5
    assert found["node_key_created_timestamp_seconds"] == key_created_at.timestamp()
    later = metrics(world)
    assert later["clock_difference_seconds"] == -2.5  # the failed attempt got no answer
    assert later["node_key_created_timestamp_seconds"] == NOON.timestamp()  # and had read another key in the vault


def test_a_name_with_every_character_that_the_format_escapes_is_one_label() -> None:
    name = 'a"b\\c\nd'
    settings = replace(SETTINGS, credentials_files=(replace(SETTINGS.credentials_files[0], path=f"/{name}"),))
    issued = issuing(HOUR)
    outputs = tuple(replace(one, name=OutputName(f"/{name}", "default")) for one in issued.outputs)
    world = world_of(Behaviour(replace(issued, outputs=outputs), finds=settings))
    world.runs(MINUTE)
    written = 'kind="credentials_file",name="/a\\"b\\\\c\\nd",profile="default",role=""'
    assert metrics(world)[f"output_problem{{{written}}}"] == 0


def test_metrics_that_cannot_be_written_stop_nothing_and_come_after_the_remedy() -> None:
    world = world_of(Outcome.ISSUED, write_fails=InputOutputError("disk-full", "Cannot write"))

    def free() -> None:
        world.write_fails = None

    assert world.at(3 * HOUR, free).runs(4 * HOUR) == 0
    assert len(world.starts) > 5
    assert world.metrics[0].at <= 3 * HOUR + MINUTE
    assert world.logged().count("status_unwritten") == 1
