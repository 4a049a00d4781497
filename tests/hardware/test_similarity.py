"""Hardware hash against hardware hash."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.core.similarity import (
    ComponentState,
    compare,
    digest,
    explain,
    judge,
    merge_measured,
    trial_fingerprint,
)
from rolekeeper.model import COMPONENTS, AcceptedFingerprint, FingerprintSummary, Hardware, Verdict

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "similarity.json").read_text(encoding="utf-8"))["cases"]

NINE = {name: f"{name} of the first machine" for name in COMPONENTS}
OTHER_MACHINE = {name: f"{name} of the second machine" for name in COMPONENTS}

values = st.sampled_from(["", "a", "b"])
hashes = st.dictionaries(st.sampled_from(COMPONENTS), values)
thresholds = st.one_of(st.just(-1), st.integers(0, 100))


def hardware(*changes: str, unreadable: Mapping[str, str] | None = None) -> Hardware:
    """The first machine, but for some components that are the second's, and some that cannot be read."""
    gone = dict(unreadable or {})
    return Hardware({**NINE, **{name: OTHER_MACHINE[name] for name in changes}, **dict.fromkeys(gone, "")}, gone)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_compares_as_ssm_agent_does(case: dict[str, Any]) -> None:
    report = compare(case["saved"], Hardware(case["current"]), case["threshold"])
    assert (report.verdict is Verdict.SIMILAR) is case["similar"]


def similar_by_the_letter(saved: Mapping[str, str], current: Mapping[str, str], threshold: int) -> bool:
    """Section 1.3 once more, in the order of its sentences and with whole numbers."""
    if threshold == -1:
        return True
    if len(saved) == 0 or len(current) == 0 or saved.get("machine-id", "") != current.get("machine-id", ""):
        return False
    equal = [name for name in current if name in saved and saved[name] == current[name]]
    same_address = saved.get("ipaddress-info", "") == current.get("ipaddress-info", "")
    return same_address or 100 * len(equal) >= threshold * len(current)


@given(hashes, hashes, thresholds)
def test_agrees_with_the_rules_read_literally(saved: dict[str, str], current: dict[str, str], threshold: int) -> None:
    report = compare(saved, Hardware(current), threshold)
    assert (report.verdict is Verdict.SIMILAR) is similar_by_the_letter(saved, current, threshold)
    assert report.compared == len(current)
    assert report.matched == sum(component.saved == component.current for component in report.components)
    assert report.summary() == FingerprintSummary(
        report.verdict, report.matched, report.compared, threshold, report.decided_by
    )


@given(hashes, hashes, thresholds, st.sets(st.sampled_from(COMPONENTS)))
def test_is_unreadable_just_when_the_missing_components_decide(
    saved: dict[str, str], current: dict[str, str], threshold: int, unreadable: set[str]
) -> None:
    report = compare(saved, Hardware(current, dict.fromkeys(unreadable, "a reason")), threshold)
    hoped_for = {
        name: saved[name] if name in unreadable and value == "" and name in saved else value
        for name, value in current.items()
    }
    could_be = similar_by_the_letter(saved, hoped_for, threshold)
    expected = Verdict.UNREADABLE if could_be else Verdict.NOT_SIMILAR
    assert report.verdict is (Verdict.SIMILAR if similar_by_the_letter(saved, current, threshold) else expected)


def test_tells_what_became_of_every_component_in_their_usual_order() -> None:
    current = hardware("hostname-info", unreadable={"bios-hash": "cannot run dmidecode"})
    report = compare(NINE, current, 40)
    states = {component.name: component.state for component in report.components}
    assert tuple(states) == COMPONENTS
    assert states.pop("hostname-info") is ComponentState.CHANGED
    assert states.pop("bios-hash") is ComponentState.UNREADABLE
    assert set(states.values()) == {ComponentState.MATCHED}
    assert [component.reason for component in report.components if component.reason] == ["cannot run dmidecode"]
    assert (report.matched, report.compared, round(report.share, 3)) == (7, 9, 0.778)


def test_a_component_never_readable_here_is_no_obstacle() -> None:
    never = {name: "absent" for name in COMPONENTS if name.endswith("-hash")}
    saved = {**NINE, **dict.fromkeys(never, "")}
    report = compare(saved, hardware("ipaddress-info", unreadable=never), 40)
    assert (report.verdict, report.matched) == (Verdict.SIMILAR, 8)


def test_a_component_that_has_a_value_is_not_unreadable() -> None:
    report = compare(NINE, Hardware(hardware("machine-id").hash, {"machine-id": "no longer true"}), 40)
    assert report.verdict is Verdict.NOT_SIMILAR


def test_a_component_that_was_never_saved_counts_as_changed_readable_or_not() -> None:
    report = compare({"machine-id": NINE["machine-id"]}, hardware(unreadable={"disk-info": "ls failed"}), 40)
    assert {one.state for one in report.components if one.name != "machine-id"} == {ComponentState.CHANGED}


def test_a_machine_id_that_cannot_be_read_is_unreadable_and_no_other_machine() -> None:
    report = compare(NINE, hardware(unreadable={"machine-id": "absent"}), 40)
    assert report.verdict is Verdict.UNREADABLE


def test_a_machine_id_that_cannot_be_read_does_not_excuse_what_did_change() -> None:
    changed = [name for name in COMPONENTS if name != "machine-id"]
    report = compare(NINE, hardware(*changed, unreadable={"machine-id": "absent"}), 40)
    assert report.verdict is Verdict.NOT_SIMILAR


@pytest.mark.parametrize(
    ("changed", "threshold", "text"),
    [
        (
            ("machine-id",),
            40,
            "8 of 9 match, threshold 40%: not-similar, because machine-id differs, which alone decides",
        ),
        (
            [name for name in COMPONENTS if name not in ("machine-id", "ipaddress-info")],
            40,
            "2 of 9 match, threshold 40%: similar, because ipaddress-info is the same, which alone is enough",
        ),
        (("hostname-info",), 40, "8 of 9 match, threshold 40%: similar"),
        (("machine-id",), -1, "8 of 9 match, threshold off: similar"),
        (("ipaddress-info", "disk-info"), 80, "7 of 9 match, threshold 80%: not-similar"),
    ],
)
def test_a_report_names_the_component_that_decided_alone(changed: list[str], threshold: int, text: str) -> None:
    assert explain(compare(NINE, hardware(*changed), threshold).summary()) == text


def test_a_machine_id_that_cannot_be_read_decides_nothing() -> None:
    rest = [name for name in COMPONENTS if name != "machine-id"]
    for changed in ([], rest):
        report = compare(NINE, hardware(*changed, unreadable={"machine-id": "absent"}), 40)
        assert (report.verdict is Verdict.SIMILAR, report.decided_by) == (False, "")


def test_nothing_measured_compares_nothing() -> None:
    report = compare(NINE, Hardware({}), 0)
    assert (report.verdict, report.compared, report.share) == (Verdict.NOT_SIMILAR, 0, 0.0)


DRIFTED = hardware("ipaddress-info", "macaddr-info", "disk-info", "bios-hash", "system-hash", "memory-hash").hash


def test_hardware_that_drifted_step_by_step_is_judged_by_the_last_step() -> None:
    now = Hardware({**DRIFTED, "ipaddress-info": "a third address"})
    accepted = AcceptedFingerprint("f", NINE)
    assert judge(accepted, None, now).verdict is Verdict.NOT_SIMILAR
    assert judge(accepted, DRIFTED, now).verdict is Verdict.SIMILAR


def test_hardware_that_came_back_is_judged_by_the_accepted_pair() -> None:
    assert judge(AcceptedFingerprint("f", NINE), OTHER_MACHINE, hardware()).verdict is Verdict.SIMILAR


def test_unreadable_against_one_of_the_two_is_unreadable() -> None:
    now = Hardware({**NINE, "machine-id": ""}, {"machine-id": "absent"})
    assert judge(AcceptedFingerprint("f", OTHER_MACHINE), NINE, now).verdict is Verdict.UNREADABLE
    assert judge(AcceptedFingerprint("f", NINE), OTHER_MACHINE, now).verdict is Verdict.UNREADABLE


def test_similar_to_neither_is_told_against_the_accepted_pair() -> None:
    accepted = AcceptedFingerprint("f", NINE, threshold=77)
    report = judge(accepted, {**NINE, "machine-id": "a third"}, Hardware(OTHER_MACHINE))
    assert (report.verdict, report.matched, report.threshold) == (Verdict.NOT_SIMILAR, 0, 77)


@given(hashes, hashes)
def test_a_digest_names_just_one_hash(one: dict[str, str], other: dict[str, str]) -> None:
    assert (digest(one) == digest(other)) is (one == other)
    assert digest(one) == digest(dict(reversed(one.items())))


TRIAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@given(st.uuids().map(str), hashes, hashes)
def test_a_trial_fingerprint_is_a_random_uuid_in_form_and_the_same_for_the_same_hardware(
    accepted: str, one: dict[str, str], other: dict[str, str]
) -> None:
    trial = trial_fingerprint(accepted, one)
    assert TRIAL.fullmatch(trial)
    assert UUID(trial).version == 4
    assert trial != accepted
    assert trial == trial_fingerprint(accepted, dict(reversed(one.items())))
    assert (trial == trial_fingerprint(accepted, other)) is (one == other)
    assert trial != trial_fingerprint(trial, one)


def test_a_trial_fingerprint_stays_the_same_from_one_version_to_the_next() -> None:
    accepted = "45b3eee3-0e73-4a83-9e10-d1a6ffe55249"
    assert trial_fingerprint(accepted, NINE) == "ad9042d8-25fb-4fea-9e8e-76b0c283da23"


def test_what_could_not_be_read_keeps_its_previous_value() -> None:
    measured = merge_measured(NINE, hardware("hostname-info", unreadable={"disk-info": "ls failed"}))
    assert measured == {**NINE, "hostname-info": OTHER_MACHINE["hostname-info"]}


def test_the_first_measurement_is_taken_as_it_is() -> None:
    assert merge_measured(None, hardware(unreadable={"disk-info": "ls failed"})) == {**NINE, "disk-info": ""}
