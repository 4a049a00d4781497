"""What status.json and the status line say, state by state."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.core.conftest import NODE, OUTPUT

from rolekeeper.core.jsonvalues import encode, rfc3339
from rolekeeper.core.loop import status
from rolekeeper.core.loop.states import Configured
from rolekeeper.model import (
    FingerprintSummary,
    Holding,
    Lifetime,
    Outcome,
    OutputName,
    OutputProblem,
    OutputReport,
    RegistrationFound,
    Verdict,
)
from rolekeeper.values import replace

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# The interface to the letter: no field less, and none more.
FIELDS = (
    "state node_id region freshness expires_at refresh_at next_attempt_at last_success_at "
    "last_outcome attempts outputs fingerprint pid version configuration boot_id"
)

STATES: dict[str, Callable[[Any], Any]] = {
    "attempting": lambda loop: loop,
    "unregistered": lambda loop: loop.ends_with(Outcome.UNREGISTERED, message="No registration in the vault"),
    "waiting": lambda loop: loop.ends_with(Outcome.ISSUED),
    "backing-off": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.FAILED),
    "hibernating": lambda loop: loop.goes_through(Outcome.ISSUED, Outcome.NODE_UNKNOWN),
    "stopping": lambda loop: loop.ends_with(Outcome.ISSUED).stop(),
}


def document(loop: Any) -> dict[str, Any]:
    written: dict[str, Any] = encode(status.of(loop.state, loop.now, 4711, "1.2.3", boot_id="this-boot"))
    return written


def line(loop: Any) -> str:
    return status.line(loop.state, loop.now)


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_the_same_fields_in_the_same_order(loop: Any, state: str) -> None:
    told = document(STATES[state](loop))
    assert told["state"] == state
    assert list(told) == FIELDS.split() == list(status.FIELDS)
    assert json.loads(json.dumps(told)) == told


def test_a_daemon_that_was_just_started_knows_nothing_yet(loop: Any) -> None:
    told = document(loop)
    known = {name for name, value in told.items() if value is not None}
    assert known == {"state", "freshness", "attempts", "outputs", "pid", "version", "configuration", "boot_id"}
    assert (told["freshness"], told["attempts"], told["pid"], told["version"]) == ("unknown", 1, 4711, "1.2.3")
    assert told["configuration"] == {"digest": "", "loaded_at": "2026-11-23T12:00:00Z"}
    (output,) = told["outputs"]
    unknown = {"kind": "credentials_file", "name": OUTPUT, "path": OUTPUT, "profile": "default", "freshness": "unknown"}
    assert {name: value for name, value in output.items() if value is not None} == unknown


def test_a_node_that_waits_tells_everything(loop: Any) -> None:
    told = document(loop.ends_with(Outcome.ISSUED))
    assert told == told | {
        "node_id": loop.node_id,
        "region": "eu-central-1",
        "freshness": "fresh",
        "expires_at": "2026-11-23T13:00:00.200000Z",
        "refresh_at": rfc3339(loop.state.due.wall),
        "next_attempt_at": rfc3339(loop.state.due.wall),
        "last_success_at": "2026-11-23T12:00:00.200000Z",
        "last_outcome": {"outcome": "issued", "code": "", "message": "", "at": "2026-11-23T12:00:00.200000Z"}
        | {"hint": ""},
    }
    (output,) = told["outputs"]
    assert output == {
        "kind": "credentials_file",
        "name": OUTPUT,
        "path": OUTPUT,
        "profile": "default",
        "role": None,
        "access_key_id": "ASIANODE",
        "published_at": "2026-11-23T12:00:00.200000Z",
        "expires_at": "2026-11-23T13:00:00.200000Z",
        "freshness": "fresh",
        "problem": None,
        "life": encode(loop.life),
    }


def test_a_failure_is_told_beside_the_last_success(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.REFUSED)
    told = document(loop)
    assert told["last_outcome"] == {
        "outcome": "refused",
        "code": "refused",
        "message": "Cannot: refused",
        "at": rfc3339(loop.now.wall),
        "hint": "mend it",
    }
    assert told["last_success_at"] == "2026-11-23T12:00:00.200000Z"
    assert told["refresh_at"] is None
    assert told["next_attempt_at"] == rfc3339(loop.state.due.wall)
    assert told["attempts"] == 2


def test_the_fingerprint_is_told_in_figures(loop: Any) -> None:
    loop.ends_with(Outcome.FINGERPRINT_REFUSED, fingerprint=FingerprintSummary(Verdict.NOT_SIMILAR, 3, 9, 40))
    told = {"verdict": "not-similar", "matched": 3, "compared": 9, "threshold": 40, "decided_by": ""}
    assert document(loop)["fingerprint"] == told


def test_credentials_that_were_there_already_keep_the_time_of_their_publication(loop: Any) -> None:
    told = document(loop.issues(age=10 * MINUTE, reused=True))
    assert told["outputs"][0]["published_at"] == "2026-11-23T11:50:00Z"


def reload(loop: Any, *paths: str) -> Any:
    outputs = tuple(OutputReport(OutputName(path, "default")) for path in paths)
    return loop.passes(MINUTE).reload().happens(Configured(replace(loop.policy, outputs=outputs)))


@pytest.mark.parametrize(("kept", "expected"), [((), ["unknown"]), ((OUTPUT,), ["fresh", "unknown"])])
def test_of_an_output_that_is_new_in_the_configuration_nothing_is_known_and_it_is_the_worst(
    loop: Any, kept: tuple[str, ...], expected: list[str]
) -> None:
    reload(loop.ends_with(Outcome.ISSUED), *kept, "/srv/app/credentials")
    told = document(loop.ends_with(Outcome.FAILED))
    assert ([one["freshness"] for one in told["outputs"]], told["freshness"]) == (expected, "unknown")


def test_of_an_output_that_comes_back_nothing_is_known_until_an_attempt_has_looked(loop: Any) -> None:
    reload(loop.ends_with(Outcome.ISSUED), "/srv/app/credentials").ends_with(Outcome.FAILED)
    reload(loop, "/root/.aws/credentials").ends_with(Outcome.FAILED)
    assert document(loop)["freshness"] == "unknown"


SEEN = {  # what an attempt saw there, and what is reported of it after the service has failed
    Holding.ABSENT: "absent",
    Holding.OTHER: "held-by-another",
    Holding.UNKNOWN: "unknown",
}


@pytest.mark.parametrize("holding", SEEN)
def test_what_an_attempt_saw_is_what_is_reported_and_not_what_was_published_once(loop: Any, holding: Holding) -> None:
    loop.ends_with(Outcome.ISSUED).passes(MINUTE).refresh()
    problem = OutputProblem("unparsable-file", "Cannot publish", "correct it")
    found = (OutputReport(OutputName(OUTPUT, "default"), holding=holding, problem=problem),)
    for event in (RegistrationFound(loop.node_id, "eu-central-1", found), None):
        loop.happens(event) if event else loop.ends_with(Outcome.FAILED, outputs=found)
        told = document(loop)
        assert (told["freshness"], told["expires_at"]) == (SEEN[holding], None)
        assert told["outputs"][0]["problem"] == {
            "code": "unparsable-file",
            "message": "Cannot publish",
            "hint": "correct it",
            "is_warning": False,
        }


def test_the_worst_output_is_that_of_the_whole(loop: Any) -> None:
    reload(loop.ends_with(Outcome.ISSUED), OUTPUT, "/srv/app/credentials")
    absent = OutputReport(OutputName("/srv/app/credentials", "default"), holding=Holding.ABSENT)
    loop.happens(RegistrationFound(loop.node_id, "eu-central-1", (absent,)))
    assert document(loop)["freshness"] == "absent"
    assert "credentials absent in /srv/app/credentials" in line(loop)


def test_what_the_outputs_hold_counts_after_a_reload_without_a_change_though_this_daemon_did_not_publish_it(
    loop: Any,
) -> None:
    held = Lifetime(loop.now.wall - MINUTE, loop.now.wall + HOUR, loop.now.boot - MINUTE)
    found = OutputReport(OutputName(OUTPUT, "default"), "", Holding.OURS, "ASIANODE", held, is_current=True)
    loop.happens(RegistrationFound(NODE, "eu-central-1", (found,))).ends_with(Outcome.FAILED)
    reload(loop, OUTPUT)
    assert document(loop)["freshness"] == "fresh"


def test_reused_credentials_keep_the_time_of_their_publication(loop: Any) -> None:
    loop.passes(2 * MINUTE).issues(age=2 * MINUTE)  # a token that could not be published at first
    loop.passes(5 * MINUTE).reload().issues(age=7 * MINUTE, reused=True)
    assert document(loop)["outputs"][0]["published_at"] == "2026-11-23T12:02:00Z"


def test_a_probe_of_a_hibernation_is_told_as_hibernation(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.FINGERPRINT_REFUSED).comes_due()
    assert loop.phase == "attempting"
    assert (document(loop)["state"], document(loop)["next_attempt_at"]) == ("hibernating", None)
    assert line(loop).startswith("Hibernating: error occurred in RequestManagedInstanceRoleToken: ")
    assert line(loop).endswith("; a probe is in progress")


def test_a_document_is_read_as_it_was_written_whatever_another_version_adds(loop: Any) -> None:
    loop.goes_through(Outcome.ISSUED, Outcome.FINGERPRINT_REFUSED)
    written = status.of(loop.state, loop.now, 4711, "1.2.3", boot_id="this-boot")
    assert status.read(json.loads(json.dumps(encode(written) | {"of_another_version": 1}))) == written


@pytest.mark.parametrize(
    "wrong", [{"state": "well"}, {"outputs": 1}, {"expires_at": "soon"}, {"last_outcome": {}}, {"pid": "4711"}]
)
def test_what_is_no_document_is_an_error(loop: Any, wrong: dict[str, Any]) -> None:
    for found in (document(loop) | wrong, list(document(loop).items()), {}, None):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it
            status.read(found)


LINES = {
    "attempting": (
        "Attempt 1 is in progress; node id and credentials not known yet; the next step depends on its outcome"
    ),
    "unregistered": (
        "Unregistered: waiting for `rolekeeper register` or `rolekeeper adopt`; no node id yet; credentials unknown"
    ),
    "waiting": (
        "Waiting for the refresh point; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z; "
        "next attempt at DUE"
    ),
    "backing-off": (
        "Backing off: Cannot: failed; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z; "
        "next attempt at DUE"
    ),
    "hibernating": (
        "Hibernating: error occurred in RequestManagedInstanceRoleToken: node-unknown; NODE in eu-central-1; "
        "credentials fresh until 2026-11-23T13:00:00Z; next probe at DUE"
    ),
    "stopping": "Stopping; NODE in eu-central-1; credentials fresh until 2026-11-23T13:00:00Z; no attempt follows",
}


@pytest.mark.parametrize("state", STATES)
def test_the_line_says_state_node_expiry_and_next_step(loop: Any, state: str) -> None:
    STATES[state](loop)
    due = rfc3339(loop.state.due.wall.replace(microsecond=0)) if loop.state.due else "never"
    assert line(loop) == LINES[state].replace("NODE", loop.node_id).replace("DUE", due)


def test_an_attempt_that_ended_before_it_had_read_the_vault_is_no_word_about_credentials(loop: Any) -> None:
    loop.ends_with(Outcome.FAILED, node_id=None)
    assert "; node id and credentials not known yet; next attempt at " in line(loop)


def test_credentials_go_from_fresh_over_stale_to_expired(loop: Any) -> None:
    loop.ends_with(Outcome.ISSUED)
    for word in ("fresh until", "stale until", "expired at"):
        assert line(loop).split("; ")[2] == f"credentials {word} 2026-11-23T13:00:00Z"
        assert document(loop)["freshness"] == word.split()[0]
        loop.passes(status.next_change(loop.state, loop.now) or HOUR)


def test_the_line_says_what_an_attempt_that_issued_could_not_do(loop: Any) -> None:
    loop.issues(message="Cannot write the vault")
    assert line(loop).startswith("Waiting for the refresh point: Cannot write the vault; ")
    assert document(loop)["last_outcome"]["message"] == "Cannot write the vault"
