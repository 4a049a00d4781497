"""The rules of an attempt as a table: what was seen, what was answered, and what follows.

No process, file or socket: `decide` is asked until it reports, and every answer comes out of a row.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tests.reports import current, events, written

from rolekeeper.core import similarity
from rolekeeper.core.attempt import decide
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.core.steps import Answer, Assume, Publish, Report, RequestToken, Rotate, Save, Seen, SeenOutput, Step
from rolekeeper.errors import (
    FingerprintRefusedError,
    NodeUnknownError,
    OutputError,
    RolekeeperError,
    RolePassedOverError,
    RoleRefusedError,
    ServiceError,
    ServiceRefusedError,
    SignatureRefusedError,
    VaultError,
)
from rolekeeper.model import (
    NODE_ROLE,
    AcceptedFingerprint,
    AttemptReport,
    Hardware,
    HeldToken,
    Holding,
    Instant,
    IssueRecord,
    Lifetime,
    LogEntry,
    Node,
    NodeKey,
    Outcome,
    OutputContents,
    Registration,
    RoleToken,
    TokenAnswer,
    VaultContents,
)
from rolekeeper.settings import CredentialsFile, Role
from rolekeeper.values import replace

HOUR = timedelta(hours=1)
NOW = Instant(datetime(2026, 11, 23, 12, tzinfo=UTC), timedelta(days=1))
BOOT = "this boot"
HARDWARE = dict.fromkeys(("machine-id", "hostname-info", "ipaddress-info", "disk-info"), "as it was")
FINGERPRINT = "0b9c4f4e-91ee-4a35-9d2c-6a8e1f5a7f10"


def key(name: str) -> NodeKey:
    return NodeKey(name, NOW.wall - timedelta(days=1))


NODE = Node(
    Registration("mi-0123456789abcdef0", "eu-central-1", key("current")), AcceptedFingerprint(FINGERPRINT, HARDWARE)
)
BACKUP = Role("backup", "arn:aws:iam::123456789012:role/Backup")


def file(path: str, role: str | None = None) -> CredentialsFile:
    return CredentialsFile(path, "default", 0o600, True, None, None, False, role)  # noqa: FBT003 - a plain value


FIRST, SECOND, OF_ROLE = file("/first"), file("/second"), file("/backup", "backup")


def token(name: str, expires_at: datetime = NOW.wall + HOUR, *, rotate: bool = False) -> RoleToken:
    return RoleToken(f"ASIA{name}", "secret", "session", expires_at, rotate)


def issue(name: str, age: timedelta = timedelta(0), boot: str = BOOT) -> IssueRecord:
    life = Lifetime(NOW.wall - age, NOW.wall - age + HOUR, NOW.boot - age)
    return IssueRecord(NODE.registration.node_id, f"ASIA{name}", life, boot)


def holds(record: IssueRecord) -> OutputContents:
    return OutputContents(record.access_key_id, format_expiry(record.life.expires_at), is_complete=True)


NOTHING = OutputContents()
OTHERS = OutputContents("AKIAOTHER", "", is_complete=False)
BROKEN = OutputError("unparsable-file", "Cannot publish to /second: it is broken", "correct it")


def seen(
    *outputs: SeenOutput, contents: VaultContents | None = None, hardware: Hardware | None = None, **more: object
) -> Seen:
    contents, hardware = contents or VaultContents(node=NODE), hardware or Hardware(HARDWARE)
    comparison = similarity.judge(NODE.accepted, contents.measured, hardware)
    found = outputs or (SeenOutput(FIRST, NOTHING),)
    return Seen(contents, NODE, hardware, comparison, found, NOW, BOOT, {"backup": BACKUP}, **more)  # type: ignore[arg-type]


@dataclass
class World:
    """Answers each step; what is not given succeeds."""

    answers: dict[type, list[Answer]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def run(self, what: Seen) -> AttemptReport:
        answers: list[Answer] = []
        while not isinstance(step := decide(what, answers), Report):
            self.steps.append(step)
            answers.append(self.answer(step, len(answers)))
        return step.report

    def answer(self, step: Step, number: int) -> Answer:
        given = self.answers.get(type(step))
        if given:
            return given.pop(0)
        if isinstance(step, (RequestToken, Assume)):
            return TokenAnswer(token(f"NEW{number}"), NOW.wall, NOW.boot, request_id="request")
        return (step.contents, LogEntry("key_rotated", "info", "")) if isinstance(step, Rotate) else None

    def of(self, kind: type) -> list[Step]:
        return [step for step in self.steps if type(step) is kind]

    @property
    def saved(self) -> VaultContents:
        (save,) = self.of(Save)
        assert isinstance(save, Save)
        return save.contents

    @property
    def asked(self) -> list[str]:
        return [type(step).__name__ for step in self.steps]


def fresh() -> tuple[SeenOutput, VaultContents]:
    record = issue("OLD")
    return SeenOutput(FIRST, holds(record)), VaultContents(node=NODE, issues={NODE_ROLE: record})


ERRORS: dict[str, tuple[RolekeeperError, Outcome]] = {
    "no usable answer": (ServiceError("unreachable", "Cannot reach it"), Outcome.FAILED),
    "throttling": (ServiceError("throttled", "Cannot do it now"), Outcome.FAILED),
    "no permission": (ServiceRefusedError("AccessDenied", "Cannot do it"), Outcome.REFUSED),
    "a refused signature": (SignatureRefusedError("InvalidSignature", "Cannot do it"), Outcome.REFUSED),
    "another fingerprint": (
        FingerprintRefusedError("MachineFingerprintDoesNotMatch", "no"),
        Outcome.FINGERPRINT_REFUSED,
    ),
    "an unknown node": (NodeUnknownError("InvalidInstanceId", "no"), Outcome.NODE_UNKNOWN),
    "a damaged key": (VaultError("node-key-unreadable", "Cannot sign"), Outcome.VAULT_UNREADABLE),
}
HELD = {  # what the first output holds before the attempt, and what the report says of it when the service then fails
    "ours": (holds(issue("OLD")), Holding.OURS),
    "another program's": (OTHERS, Holding.OTHER),
    "another program's beside our expiry": (replace(holds(issue("OLD")), access_key_id="ASIAOTHER"), Holding.OTHER),
    "nothing": (NOTHING, Holding.ABSENT),
    "half of ours": (replace(holds(issue("OLD")), is_complete=False), Holding.ABSENT),
    "nobody knows whose": (OutputContents("ASIALOST", "2026-01-01T00:00:00Z", is_complete=True), Holding.UNKNOWN),
}
KEYS = {
    "one key": VaultContents(node=NODE),
    "a pending key": VaultContents(node=NODE, pending_key=key("pending")),
    "a superseded key": VaultContents(node=NODE, superseded_key=key("old")),
    "both": VaultContents(node=NODE, pending_key=key("pending"), superseded_key=key("old")),
}


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_its_outcome_whatever_the_output_holds_and_the_report_says_what_that_is(error: str) -> None:
    told, outcome = ERRORS[error]
    for contents, holding in HELD.values():
        for keys in KEYS.values():
            world = World({RequestToken: [told] * 3})
            vault = replace(keys, issues={NODE_ROLE: issue("OLD")})
            report = world.run(seen(SeenOutput(FIRST, contents), contents=vault))
            assert (report.outcome, report.code) == (outcome, told.code)
            assert [one.holding for one in report.outputs] == [holding]
            assert set(world.asked) == {"RequestToken"}
            assert report.expires_at is None


@pytest.mark.parametrize("keys", KEYS)
def test_each_key_that_the_service_may_know_is_tried_once_and_the_accepted_one_is_kept(keys: str) -> None:
    vault = KEYS[keys]
    known = [one.private_key for one in (NODE.registration.key, vault.pending_key, vault.superseded_key) if one]
    refused = SignatureRefusedError("InvalidSignature", "Cannot do it")
    for number, accepted in enumerate(known):
        world = World({RequestToken: [refused] * number})
        assert world.run(seen(contents=vault)).outcome is Outcome.ISSUED
        assert [
            one.registration.key.private_key for one in world.of(RequestToken) if isinstance(one, RequestToken)
        ] == known[: number + 1]
        assert world.saved.registration is not None
        assert world.saved.registration.key.private_key == accepted


def test_an_ordinary_attempt_requests_publishes_saves_and_reports() -> None:
    world = World()
    report = world.run(seen())
    assert world.asked == ["RequestToken", "Publish", "Save"]
    assert (report.outcome, current(report), written(report)) == (
        Outcome.ISSUED,
        (FIRST.output_name,),
        (FIRST.output_name,),
    )
    assert world.saved.issues[NODE_ROLE].access_key_id == report.outputs[0].access_key_id == "ASIANEW0"
    assert (world.saved.held_token, world.saved.measured) == (None, HARDWARE)
    assert events(report) == ["token_issued", "credentials_published"]


def test_fresh_credentials_everywhere_are_reused_where_that_is_allowed() -> None:
    output, vault = fresh()
    world = World()
    report = world.run(seen(output, contents=vault, reuse=True))
    assert (world.asked, report.outcome, report.is_reused) == ([], Outcome.ISSUED, True)
    assert events(report) == ["credentials_fresh"]


def spoilt() -> Iterable[tuple[str, Seen]]:
    output, vault = fresh()
    aged = {NODE_ROLE: issue("OLD", HOUR * 0.8)}
    yield "reuse is not allowed", seen(output, contents=vault)
    yield (
        "it is stale",
        seen(SeenOutput(FIRST, holds(aged[NODE_ROLE])), contents=replace(vault, issues=aged), reuse=True),
    )
    rebooted = {NODE_ROLE: issue("OLD", boot="another boot")}
    yield "another boot", seen(output, contents=replace(vault, issues=rebooted), reuse=True)
    yield "a key change is unfinished", seen(output, contents=replace(vault, pending_key=key("new")), reuse=True)
    yield "one output of two lacks it", seen(output, SeenOutput(SECOND, NOTHING), contents=vault, reuse=True)
    yield "one cannot be written", seen(output, SeenOutput(SECOND, NOTHING, BROKEN), contents=vault, reuse=True)
    other = Hardware(dict.fromkeys(HARDWARE, "changed"))
    yield "other hardware", seen(output, contents=vault, hardware=other, reuse=True)
    yield "nothing is there", seen(contents=vault, reuse=True)
    yield "nothing is known of it", seen(output, contents=replace(vault, issues={}), reuse=True)
    yield (
        "other credentials are recorded",
        seen(output, contents=replace(vault, issues={NODE_ROLE: issue("X")}), reuse=True),
    )
    foreign = replace(issue("OLD"), node_id="mi-fffffffffffffffff")
    yield "another node's", seen(output, contents=replace(vault, issues={NODE_ROLE: foreign}), reuse=True)


SPOILT = dict(spoilt())


@pytest.mark.parametrize("case", SPOILT)
def test_nothing_else_is_reused(case: str) -> None:
    world = World()
    assert not world.run(SPOILT[case]).is_reused
    assert world.asked[0] == "RequestToken"


def test_hardware_that_cannot_be_judged_sends_nothing() -> None:
    blank = Hardware({**HARDWARE, "machine-id": ""}, {"machine-id": "Input/output error"})
    world = World()
    report = world.run(seen(hardware=blank))
    assert (world.asked, report.outcome) == ([], Outcome.HARDWARE_UNREADABLE)
    assert "machine-id (Input/output error)" in report.message


def test_a_trial_fingerprint_that_is_accepted_becomes_the_nodes_own() -> None:
    other = Hardware(dict.fromkeys(HARDWARE, "changed"))
    world = World()
    world.run(seen(hardware=other))
    (request,) = world.of(RequestToken)
    assert isinstance(request, RequestToken)
    assert request.fingerprint == similarity.trial_fingerprint(FINGERPRINT, other.hash) != FINGERPRINT
    assert world.saved.fingerprint == AcceptedFingerprint(request.fingerprint, other.hash)


def test_when_no_output_can_be_written_nothing_is_requested() -> None:
    world = World()
    report = world.run(seen(SeenOutput(SECOND, None, BROKEN)))
    assert (world.asked, report.outcome, report.hint) == ([], Outcome.UNPUBLISHED, BROKEN.hint)
    assert [one.holding for one in report.outputs] == [Holding.UNKNOWN]


def test_a_broken_output_is_reported_and_the_token_is_held_for_it() -> None:
    world = World()
    report = world.run(seen(SeenOutput(FIRST, NOTHING), SeenOutput(SECOND, None, BROKEN)))
    assert (report.outcome, current(report)) == (Outcome.UNPUBLISHED, (FIRST.output_name,))
    assert world.saved.held_token is not None
    first, second = report.outputs
    assert (first.problem, second.problem and second.problem.code) == (None, BROKEN.code)


def held(age: timedelta = timedelta(0)) -> VaultContents:
    record = issue("HELD", age)
    return VaultContents(node=NODE, issues={NODE_ROLE: record}, held_token=HeldToken(token("HELD"), record))


def test_a_held_token_goes_to_the_outputs_that_lack_it_without_a_request() -> None:
    vault = held()
    world = World()
    report = world.run(
        seen(SeenOutput(FIRST, holds(vault.issues[NODE_ROLE])), SeenOutput(SECOND, NOTHING), contents=vault)
    )
    assert (world.asked, report.outcome) == (["Publish", "Save"], Outcome.ISSUED)
    assert written(report) == (SECOND.output_name,)
    assert world.saved.held_token is None


@pytest.mark.parametrize("age", [HOUR * 0.46, HOUR * 0.8])
def test_past_its_refresh_point_a_held_token_is_replaced(age: timedelta) -> None:
    vault = held(age)
    world = World()
    world.run(seen(SeenOutput(FIRST, holds(vault.issues[NODE_ROLE])), SeenOutput(SECOND, NOTHING), contents=vault))
    assert world.asked[0] == "RequestToken"


def test_a_held_token_that_every_output_has_is_one_that_the_vault_could_not_forget() -> None:
    vault = held()
    world = World()
    world.run(seen(SeenOutput(FIRST, holds(vault.issues[NODE_ROLE])), contents=vault))
    assert world.asked[0] == "RequestToken"


UNWRITABLE = VaultError("vault-no-space", "Cannot write the vault", "free some space")


def test_published_credentials_count_as_issued_though_the_vault_cannot_be_written() -> None:
    world = World({Save: [UNWRITABLE]})
    report = world.run(seen(contents=VaultContents(node=NODE, pending_key=key("new"))))
    assert (report.outcome, report.code, events(report)[-1]) == (Outcome.ISSUED, UNWRITABLE.code, "vault_unwritten")
    assert "Rotate" not in world.asked


def test_a_vault_that_cannot_be_written_is_the_outcome_when_nothing_was_published() -> None:
    failed = OutputError("no-space", "Cannot publish to /first: no space", "free some")
    world = World({Publish: [failed], Save: [UNWRITABLE]})
    assert world.run(seen()).outcome is Outcome.VAULT_UNREADABLE


ROTATIONS: dict[str, tuple[Callable[[], Seen], RoleToken, bool]] = {
    "nothing asks for it": (seen, token("NEW"), False),
    "the service asks for it": (seen, token("NEW", rotate=True), True),
    "the key is old": (lambda: seen(rotate_after=timedelta(hours=23)), token("NEW"), True),
    "the key is young": (lambda: seen(rotate_after=timedelta(hours=25)), token("NEW"), False),
    "it was begun": (lambda: seen(contents=VaultContents(node=NODE, pending_key=key("new"))), token("NEW"), True),
}


@pytest.mark.parametrize("case", ROTATIONS)
def test_the_node_key_is_rotated_last_and_only_when_that_is_due(case: str) -> None:
    what, given, is_due = ROTATIONS[case]
    world = World({RequestToken: [TokenAnswer(given, NOW.wall, NOW.boot)]})
    world.run(what())
    assert world.asked == ["RequestToken", "Publish", "Save", *(["Rotate"] if is_due else [])]


def test_roles_are_assumed_with_the_nodes_token_after_the_nodes_own_outputs_are_published() -> None:
    world = World()
    report = world.run(seen(SeenOutput(OF_ROLE, NOTHING), SeenOutput(FIRST, NOTHING)))
    assert world.asked == ["RequestToken", "Publish", "Assume", "Publish", "Save"]
    (assume,) = world.of(Assume)
    assert isinstance(assume, Assume)
    assert (assume.role, assume.token.access_key_id) == (BACKUP, "ASIANEW0")
    assert {role: one.access_key_id for role, one in world.saved.issues.items()} == {
        "": "ASIANEW0",
        "backup": "ASIANEW2",
    }
    assert report.outcome is Outcome.ISSUED


ROLE_ERRORS = {
    "refused": (RoleRefusedError("AccessDenied", "Cannot assume it", "trust policy"), Outcome.ROLE_REFUSED),
    "out of reach": (ServiceError("unreachable", "Cannot reach STS"), Outcome.FAILED),
}


@pytest.mark.parametrize("case", ROLE_ERRORS)
def test_a_role_that_cannot_be_assumed_concerns_its_own_outputs_and_no_other(case: str) -> None:
    error, outcome = ROLE_ERRORS[case]
    old = issue("ROLE", HOUR / 2)
    vault = VaultContents(node=NODE, issues={"backup": old})
    world = World({Assume: [error]})
    report = world.run(seen(SeenOutput(FIRST, NOTHING), SeenOutput(OF_ROLE, holds(old)), contents=vault))
    assert (report.outcome, current(report)) == (outcome, (FIRST.output_name,))
    of_role = report.outputs[1]
    assert (of_role.holding, of_role.access_key_id, of_role.problem and of_role.problem.code) == (
        Holding.OURS,
        old.access_key_id,
        error.code,
    )
    assert world.saved.held_token is not None
    assert "role_failed" in events(report)


def test_a_refused_role_is_retried_with_the_held_token_and_what_the_others_hold_is_left_alone() -> None:
    vault = held(HOUR / 10)
    ours = SeenOutput(FIRST, holds(vault.issues[NODE_ROLE]))
    world = World({Assume: [ROLE_ERRORS["refused"][0]]})
    report = world.run(seen(ours, SeenOutput(OF_ROLE, NOTHING), contents=vault))
    assert world.asked == ["Assume"]  # nothing changed, so nothing is saved
    assert (report.outcome, current(report)) == (Outcome.ROLE_REFUSED, (FIRST.output_name,))


def test_a_role_that_is_not_due_again_is_passed_over_and_its_output_is_left_alone() -> None:
    old = issue("ROLE", HOUR / 2)
    vault = VaultContents(node=NODE, issues={"backup": old})
    world = World()
    outputs = SeenOutput(FIRST, NOTHING), SeenOutput(OF_ROLE, holds(old))
    report = world.run(seen(*outputs, contents=vault, passed_over=frozenset({"backup"})))
    assert world.asked == ["RequestToken", "Publish", "Save"]
    assert (report.outcome, report.code, current(report)) == (
        Outcome.ROLE_REFUSED,
        RolePassedOverError.CODE,
        (FIRST.output_name,),
    )
    assert report.outputs[1].access_key_id == old.access_key_id
    assert "role_failed" not in events(report)  # it was logged when the role was refused
    assert not report.roles_refused
    assert world.saved.held_token is not None


def test_short_credentials_of_a_role_are_renewed_at_their_refresh_point_while_another_role_is_refused() -> None:
    vault = held(HOUR / 5)
    short = issue("SHORT", HOUR / 4)
    short = replace(short, life=replace(short.life, expires_at=NOW.wall + HOUR / 5))
    vault = replace(vault, issues={**vault.issues, "backup": short})
    of_another = replace(file("/other"), role="other")
    roles = {"backup": BACKUP, "other": replace(BACKUP, name="other")}
    what = seen(SeenOutput(FIRST, holds(vault.issues[NODE_ROLE])), SeenOutput(OF_ROLE, holds(short)), contents=vault)
    what = replace(what, outputs=(*what.outputs, SeenOutput(of_another, NOTHING)), roles=roles)
    world = World()
    world.run(what)
    assumed = [step.role.name for step in world.of(Assume) if isinstance(step, Assume)]
    assert assumed == ["backup", "other"]


def test_an_output_that_fails_before_a_role_that_is_refused_is_retried_first() -> None:
    world = World({Assume: [ROLE_ERRORS["refused"][0]]})
    report = world.run(seen(SeenOutput(SECOND, None, BROKEN), SeenOutput(OF_ROLE, NOTHING)))
    assert report.outcome is Outcome.UNPUBLISHED


def test_the_same_answers_give_the_same_step() -> None:
    what = seen()
    answer = TokenAnswer(token("NEW"), NOW.wall, NOW.boot)
    assert decide(what, [answer]) == decide(what, [answer])
    assert isinstance(decide(what, [answer]), Publish)


@pytest.mark.parametrize("rotated", [False, True], ids=["kept", "rotated"])
def test_the_report_has_the_clock_difference_of_the_answer_and_the_key_that_is_in_use_afterwards(rotated: bool) -> None:  # noqa: FBT001 - a row
    ahead = timedelta(seconds=90)
    answer = TokenAnswer(token("NEW", rotate=rotated), NOW.wall + ahead, NOW.boot, ahead)
    world = World({RequestToken: [answer]})
    if rotated:
        new = NodeKey("new", NOW.wall)
        registration = replace(NODE.registration, key=new)
        entry = LogEntry("key_rotated", "info", "")
        world.answers[Rotate] = [(VaultContents(node=replace(NODE, registration=registration)), entry)]
    report = world.run(seen())
    assert report.clock_difference == ahead
    assert report.key_created_at == (NOW.wall if rotated else NODE.registration.key.created_at)


def test_a_report_without_an_answer_knows_no_clock_difference_and_still_the_key() -> None:
    report = World({RequestToken: [ServiceError("unreachable", "Cannot connect", "")]}).run(seen())
    assert report.clock_difference is None
    assert report.key_created_at == NODE.registration.key.created_at
