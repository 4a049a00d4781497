"""Outputs of one kind as a test drives them: by a look, a publication, and what the output holds then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rolekeeper.adapters.outputs.credentialsfile import SharedCredentialsFiles
from rolekeeper.adapters.outputs.dispatch import OneKind
from rolekeeper.adapters.outputs.processfile import ProcessFiles
from rolekeeper.adapters.outputs.publishedfile import PublishedFiles
from rolekeeper.core.holding import holding
from rolekeeper.core.steps import SeenOutput
from rolekeeper.model import Holding, IssueRecord, Lifetime, RoleToken
from rolekeeper.settings import CredentialsFile
from rolekeeper.values import replace

LONGEST = timedelta(seconds=20)


def issued(access_key_id: str, expires_at: datetime) -> IssueRecord:
    """The record of a token that was published."""
    return IssueRecord("mi-0123456789abcdef0", access_key_id, Lifetime(expires_at, expires_at, timedelta(0)), "boot")


def new_token(number: int) -> RoleToken:
    """The n-th token: all of its parts end in n."""
    expires_at = datetime(2026, 11, 23, 18, 0, tzinfo=UTC) + timedelta(hours=number)
    return RoleToken(f"ASIA{number:016}", f"secret/{number}", f"token=={number}", expires_at)


class Sink:
    """Looks and publishes; errors are raised. `home` is where its outputs are, unless a test says otherwise."""

    def __init__(self, kind: OneKind, longest: timedelta = LONGEST, home: Path = Path()) -> None:
        self.kind = kind
        self.longest = longest
        self.home = home

    def output(self, **changes: object) -> CredentialsFile:
        """An output with the defaults of the configuration."""
        path = str(self.home / "credentials")
        plain = CredentialsFile(path, "default", 0o600, True, None, None, False)  # noqa: FBT003 - the fields in order
        return replace(plain, **changes)

    def look(self, output: CredentialsFile) -> SeenOutput:
        return self.kind.look(output, self.longest)

    def prepare(self, output: CredentialsFile) -> None:
        problem = self.look(output).problem
        if problem is not None:
            raise problem

    def publish(self, output: CredentialsFile, token: RoleToken) -> None:
        self.kind.publish(output, token, issued(token.access_key_id, token.expires_at), self.longest)

    def holding(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> Holding:
        """What the output holds when these credentials were published last."""
        return holding(self.look(output).contents, issued(access_key_id, expires_at))

    def holds(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        return self.holding(output, access_key_id, expires_at) is Holding.OURS

    def overwritten(self, output: CredentialsFile, access_key_id: str, expires_at: datetime) -> bool:
        return self.holding(output, access_key_id, expires_at) is Holding.OTHER


def file_sink(
    sleep: Callable[[timedelta], None], longest: timedelta = LONGEST, *, unit: str | None = None, home: Path = Path()
) -> Sink:
    """Shared credentials files."""
    return Sink(SharedCredentialsFiles(PublishedFiles(sleep, unit)), longest, home)


def process_sink(
    sleep: Callable[[timedelta], None], longest: timedelta = LONGEST, *, unit: str | None = None, home: Path = Path()
) -> Sink:
    """Process files."""
    return Sink(ProcessFiles(PublishedFiles(sleep, unit)), longest, home)
