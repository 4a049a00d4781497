"""Outputs of one kind as a test drives them: by a look, a publication, and what the output holds then."""

from collections.abc import Callable
from datetime import datetime, timedelta

from rolekeeper.adapters.outputs.credentialsfile import SharedCredentialsFiles
from rolekeeper.adapters.outputs.dispatch import OneKind
from rolekeeper.adapters.outputs.processfile import ProcessFiles
from rolekeeper.adapters.outputs.publishedfile import PublishedFiles
from rolekeeper.core.holding import holding
from rolekeeper.core.steps import SeenOutput
from rolekeeper.model import Holding, IssueRecord, Lifetime, RoleToken
from rolekeeper.settings import CredentialsFile

LONGEST = timedelta(seconds=20)


def issued(access_key_id: str, expires_at: datetime) -> IssueRecord:
    """The record of a token that was published."""
    return IssueRecord("mi-0123456789abcdef0", access_key_id, Lifetime(expires_at, expires_at, timedelta(0)), "boot")


class Sink:
    """Looks and publishes; errors are raised."""

    def __init__(self, kind: OneKind, longest: timedelta = LONGEST) -> None:
        self.kind = kind
        self.longest = longest

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


def file_sink(sleep: Callable[[timedelta], None], longest: timedelta = LONGEST, *, unit: str | None = None) -> Sink:
    """Shared credentials files."""
    return Sink(SharedCredentialsFiles(PublishedFiles(sleep, unit)), longest)


def process_sink(sleep: Callable[[timedelta], None], longest: timedelta = LONGEST, *, unit: str | None = None) -> Sink:
    """Process files."""
    return Sink(ProcessFiles(PublishedFiles(sleep, unit)), longest)
