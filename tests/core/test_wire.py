"""Values to JSON and back: everything returns as it went, and nothing else comes through."""

import gc
import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.core.jsonvalues import decode, encode, rfc3339, to_json
from rolekeeper.model import (
    AttemptReport,
    FingerprintSummary,
    Holding,
    Lifetime,
    LogEntry,
    Outcome,
    OutputKind,
    OutputName,
    OutputProblem,
    OutputReport,
    Verdict,
)
from rolekeeper.settings import CredentialsFile, DaemonSettings, HibernationSettings, ServiceSettings, Settings
from rolekeeper.values import Value

LIFE = {"issued_at": "2026-11-23T12:00:00Z", "expires_at": "2026-11-23T13:00:00Z"}
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def through_json(value: Any) -> Any:
    return decode(type(value), json.loads(json.dumps(encode(value))))


def built(kind: type[Value], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value of that kind: whatever its other fields may hold, where they have no default."""
    hints = get_type_hints(kind)
    for name in kind.__match_args__:
        if name not in given and not hasattr(kind, name):
            hint = hints[name]
            is_value = isinstance(hint, type) and issubclass(hint, Value)
            given[name] = built(hint) if is_value else st.from_type(hint)
    return st.builds(kind, **given)


moments = st.datetimes(timezones=st.just(UTC))
texts = st.text(st.characters(exclude_categories=["Cs"]))
lifetimes = st.builds(Lifetime, moments, moments, st.timedeltas(timedelta(0), timedelta(days=9999)))
output_reports = st.builds(
    OutputReport,
    st.builds(OutputName, texts, texts, st.sampled_from(OutputKind)),
    texts,
    st.sampled_from(Holding),
    texts,
    st.none() | lifetimes,
    is_current=st.booleans(),
    is_written=st.booleans(),
    problem=st.none() | st.builds(OutputProblem, texts, texts, texts),
)
reports = st.builds(
    AttemptReport,
    st.sampled_from(Outcome),
    code=texts,
    message=texts,
    request_id=st.none() | texts,
    expires_at=st.none() | moments,
    is_reused=st.booleans(),
    fingerprint=st.none()
    | st.builds(FingerprintSummary, st.sampled_from(Verdict), st.integers(), st.integers(), st.integers()),
    outputs=st.lists(output_reports, max_size=3).map(tuple),
    entries=st.lists(st.builds(LogEntry, texts, texts, texts, st.dictionaries(texts, texts)), max_size=2).map(tuple),
)
outputs = st.builds(
    CredentialsFile,
    path=texts,
    profile=texts,
    mode=st.integers(0, 0o7777),
    keep_mode=st.booleans(),
    owner=st.none() | texts | st.integers(0, 2**32),
    group=st.none() | texts | st.integers(0, 2**32),
    replace_long_lived_keys=st.booleans(),
)
spans = st.timedeltas(timedelta(0), timedelta(days=9999))
settings_values = built(
    Settings,
    service=built(ServiceSettings, connect_timeout=spans, read_timeout=spans),
    daemon=built(DaemonSettings, attempt_timeout=spans),
    refresh_share=st.floats(0.1, 0.9),
    hibernation=st.builds(HibernationSettings, spans, spans),
    rotate_key_after=st.none() | spans,
    credentials_files=st.lists(outputs, max_size=3).map(tuple),
)


@given(reports)
def test_a_report_returns_as_it_went(report: AttemptReport) -> None:
    assert through_json(report) == report


@given(settings_values)
def test_settings_return_as_they_went(settings: Settings) -> None:
    assert through_json(settings) == settings
    assert through_json(settings).digest == settings.digest


@given(st.sampled_from([AttemptReport, Settings, CredentialsFile, Lifetime, LogEntry]), json_values)
def test_whatever_json_arrives_is_that_value_or_a_value_error(kind: type[Any], value: Any) -> None:
    try:
        decoded = decode(kind, value)
    except ValueError:
        return
    assert isinstance(decoded, kind)


@given(reports, st.data())
def test_a_report_with_one_wrong_place_is_that_report_or_a_value_error(
    report: AttemptReport, data: st.DataObject
) -> None:
    broken = encode(report)
    broken[data.draw(st.sampled_from(sorted(broken)))] = data.draw(json_values)
    try:
        decoded = decode(AttemptReport, broken)
    except ValueError:
        return
    assert decode(AttemptReport, encode(decoded)) == decoded or "NaN" in json.dumps(broken)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("outcome", "splendid"),
        ("outcome", 7),
        ("code", None),
        ("code", ["a"]),
        ("outputs", "/a/path"),
        ("outputs", {"/a/path": 1}),
        ("outputs", ["/a/path"]),
        ("outputs", [{"name": {"name": "/a/path", "profile": None}}]),
        ("outputs", [{"name": {"name": "/a/path"}, "holding": "theirs"}]),
        ("is_reused", None),
        ("expires_at", "2026-11-23T12:00:00"),  # whose noon?
        ("expires_at", "soon"),
        ("expires_at", 1700000000),
        ("fingerprint", {"verdict": "similar"}),
        ("fingerprint", {"verdict": "similar", "matched": True, "compared": 9, "threshold": 40}),
        *(
            ("outputs", [{"name": {"name": "/f"}, "life": LIFE | {"issued_boot": wrong}}])
            for wrong in ("7", True, 1e300)
        ),
        ("entries", [{"event": "x"}]),
    ],
)
def test_a_field_with_something_else_in_it_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in other words
        decode(AttemptReport, encode(AttemptReport(Outcome.ISSUED)) | {field: wrong})


@pytest.mark.parametrize("owner", [1.5, True, ["root"]])
def test_an_owner_is_a_name_or_a_number(owner: Any) -> None:
    good = encode(CredentialsFile("/f", "default", 0o600, True, None, None, False))  # noqa: FBT003 - a plain value
    with pytest.raises(ValueError, match="not a CredentialsFile"):
        decode(CredentialsFile, good | {"owner": owner})


def test_what_a_newer_version_adds_is_ignored() -> None:
    report = AttemptReport(Outcome.ISSUED)
    assert decode(AttemptReport, encode(report) | {"unheard_of": {"of": 1}}) == report


def test_times_travel_as_rfc_3339_in_utc() -> None:
    assert rfc3339(NOON) == "2026-11-23T12:00:00Z"
    assert rfc3339(datetime.fromisoformat("2026-11-23T12:00:00.25+05:30")) == "2026-11-23T06:30:00.250000Z"
    assert encode({"at": NOON, "for": timedelta(minutes=1.5)}) == {"at": "2026-11-23T12:00:00Z", "for": 90.0}


def test_a_document_leaves_nothing_behind_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        to_json(Lifetime(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC), timedelta(hours=1)))
        assert gc.collect() == 0
    finally:
        gc.enable()
