"""Promise 6 with roles: the requests to STS that docs/request-bound.md states, counted at a hostile service.

The clocks differ at each request, so that each role costs as many as it can; boto3 builds and signs them for real.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.daemon.conftest import SETTINGS, Behaviour, world_of
from tests.daemon.test_request_bound import (
    HOUR,
    TOKEN,
    Answer,
    Hostile,
    Memory,
    attempting,
    documented,
    listening,
    most_in_any_hour,
    with_keys,
)

from rolekeeper.settings import CredentialsFile, Role, Settings
from rolekeeper.values import replace

NODE = "mi-0000000000000000a"
ROLES = ("backup", "reports")
CREDENTIALS = """<AssumeRoleResponse><AssumeRoleResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>a-secret-access-key</SecretAccessKey>
<SessionToken>a-session-token</SessionToken><Expiration>{expiry}</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""
ERROR = "<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"


@dataclass
class HostileSts(Hostile):
    """The service, and STS at the same address: it answers each role `SignatureDoesNotMatch` first, then `then`."""

    then: Answer = TOKEN
    assumed: dict[str, list[timedelta]] = field(default_factory=dict)  # when each role was requested

    def reply(self, body: bytes) -> tuple[int, Any, datetime]:
        if b"Action=AssumeRole" not in body:
            return super().reply(body)
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        role, life = fields["RoleArn"].rpartition("/")[2], timedelta(seconds=int(fields["DurationSeconds"]))
        now = self.clock.now()
        asked = self.assumed.setdefault(role, [])
        asked.append(now.boot)
        assert len(asked) < 500, "far more than any bound"
        date = (now.wall + (self.drift if len(asked) % 2 else -self.drift)).replace(microsecond=0)
        answer = "SignatureDoesNotMatch" if len(asked) % 2 else self.then
        if answer == TOKEN:
            expiry = (date + life).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            return 200, CREDENTIALS.format(key=f"ASIA{len(asked):016}", expiry=expiry).encode(), date
        return (503 if answer == "503" else 403), ERROR.format(code=answer).encode(), date


@dataclass
class HalfFull(Memory):
    """Memory in which the node's own output never takes a token."""

    def publish(self, output: Any, token: Any, issue: Any, longest: timedelta) -> None:
        self.output_fails = output.role is None
        super().publish(output, token, issue, longest)


def with_roles(plain: Settings, duration: timedelta) -> Settings:
    """An output for the node's own token, and one for each role."""
    file = plain.credentials_files[0]
    assert isinstance(file, CredentialsFile)
    outputs = [replace(file, path=f"/of/{name}", role=name) for name in ROLES]
    roles = [Role(name, f"arn:aws:iam::123456789012:role/{name}", duration=duration) for name in ROLES]
    return replace(plain, credentials_files=(file, *outputs), roles=tuple(roles))


def registered() -> Memory:
    """A node whose jitter brings six refusals into an hour."""
    memory = with_keys()
    node = memory.contents.node
    assert node is not None
    node = replace(node, registration=replace(node.registration, node_id=NODE))
    return Memory(replace(memory.contents, node=node))


# Row of the page; what STS answers after the first refusal of each role; the roles' duration; hours; the memory.
CASES: dict[str, tuple[Answer, timedelta, float, Callable[[Memory], Memory]]] = {
    "issues credentials of the role that live for an hour": (TOKEN, HOUR, 1.1, lambda memory: memory),
    "issues credentials of the role that live for 15 minutes": (TOKEN, HOUR / 4, 1.1, lambda memory: memory),
    "refuses the role": ("AccessDenied", HOUR, 1.1, lambda memory: memory),
    "refuses the role, while another output fails": (
        "AccessDenied",
        HOUR,
        1.1,
        lambda memory: HalfFull(memory.contents),
    ),
    "fails for the role": ("503", HOUR, 0.3, lambda memory: memory),
}


@pytest.mark.parametrize("case", CASES)
def test_the_documented_number_of_requests_for_a_role_is_reached_and_not_exceeded(case: str) -> None:
    then, duration, hours, kept_in = CASES[case]
    row = case.partition(",")[0]
    world = world_of()
    with listening(HostileSts(world, lambda _: TOKEN, then=then)) as service:
        memory = kept_in(registered())
        settings = with_roles(SETTINGS, duration)
        world.script = [Behaviour(attempting(service, memory, settings), finds=settings)]
        world.runs(hours * HOUR)
    assert isinstance(service, HostileSts)
    attempts = most_in_any_hour(world.began())
    found = {role: most_in_any_hour(asked) for role, asked in service.assumed.items()}
    assert set(found) == set(ROLES)
    bound = documented(row, 2)
    assert all(number <= bound for number in found.values()), found
    if row.startswith("fails"):  # no node id is known whose jitter reaches it
        assert set(found.values()) == {2 * attempts}
        assert 2 * documented("fails: no answer", 2) == bound
    elif "another" in case:
        assert attempts > 20
        assert all(number >= 8 for number in found.values()), found  # it is asked, and only when it is due
    else:
        assert set(found.values()) == {bound}
