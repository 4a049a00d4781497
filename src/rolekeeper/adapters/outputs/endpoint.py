"""Role credentials for the container credentials endpoint: what its server answers with, and what programs read.

Below the daemon's runtime directory, which is usually /run/rolekeeper:

    endpoint/NAME   0600 in 0700     the document, which the server answers from (endpoint/documents.py has its form)
    token/NAME      0640 in 0711     the authorization token alone, for AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
    env/NAME        0640 in 0711     two variables, for EnvironmentFile= and `docker run --env-file`

token/NAME and env/NAME belong to the endpoint's owner and group. The rules:
- the document is the only source of the token. It is made at the first `prepare`, before there are credentials, and
  stays the same as long as the document is there: programs keep it in their environment. The other two files are
  written again whenever they are not as they should be;
- a document with a new token is written before the files that show the token to programs, so no program ever reads a
  token that the server does not know;
- token/NAME has no newline at its end, because botocore refuses such a token;
- files get their mode, owner and group before their name, and nothing is flushed to disk: all of it is in memory, and
  gone after a boot;
- the caller is the only writer: attempts are kept apart by the vault's lock.
"""

import json
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta

from rolekeeper.adapters.files.paths import Attributes, make_directories, place
from rolekeeper.adapters.files.replace import read_at, remove_file, replace_file, staged, translated
from rolekeeper.adapters.outputs.accounts import group_number, user_number
from rolekeeper.core.credentialsfile import format_expiry
from rolekeeper.core.steps import SeenOutput
from rolekeeper.errors import OutputError
from rolekeeper.model import IssueRecord, Lifetime, OutputContents, RoleToken
from rolekeeper.settings import Endpoint, Role

ADDRESS = "127.0.0.1:4580"  # systemd/rolekeeper-endpoint.socket listens there
_ENDPOINT, _TOKEN, _ENV = "endpoint", "token", "env"
_DIRECTORIES = {_ENDPOINT: 0o700, _TOKEN: 0o711, _ENV: 0o711}
_OURS = Attributes(0o600)
_SHARED_MODE = 0o640
_TOKEN_BYTES = 32
_LARGEST = 64 * 1024  # bytes of a document
_SAMPLE_BYTES = 8 * 1024  # more than any document takes
_AUTHORIZATION = "authorization"


def document_path(directory: str, output: Endpoint) -> str:
    """The document of the endpoint; `directory` is the daemon's runtime directory."""
    return f"{directory}/{_ENDPOINT}/{output.name}"


def shown_paths(directory: str, output: Endpoint) -> tuple[str, ...]:
    """The files that show the endpoint's token to programs."""
    return tuple(f"{directory}/{kind}/{output.name}" for kind in (_TOKEN, _ENV))


class Endpoints:
    """Looks at and publishes into endpoints, each of which has one of `roles` or is the node's own."""

    def __init__(self, documents: "EndpointDocuments", roles: Iterable[Role]) -> None:
        self._documents = documents
        self._arns = {role.name: role.arn for role in roles}

    def look(self, output: Endpoint, _longest: timedelta) -> SeenOutput:
        """What the endpoint holds, and whether it can be published to; its token is made if it has none."""
        try:
            self._documents.prepare(output)
            return SeenOutput(output, self._documents.look(output))
        except OutputError as error:
            return SeenOutput(output, None, error)

    def publish(self, output: Endpoint, token: RoleToken, issue: IssueRecord, _longest: timedelta) -> None:
        """Have the endpoint answer with the token's credentials."""
        arn = self._arns.get(output.role or "")
        account = arn.split(":")[4] if arn else None
        self._documents.publish(output, token, issue.life, issue.boot_id, account_id=account, role_arn=arn)


class EndpointDocuments:
    """What the endpoint's server answers from; `directory` is the daemon's runtime directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def look(self, output: Endpoint) -> OutputContents:
        """What the endpoint holds: nothing when it has no credentials, or something is amiss that `publish` repairs."""
        with _publishing(output):
            fields, body = self._document(output.name)
            try:
                shared = _shared(output, fields[_AUTHORIZATION])
                found = json.loads(body)
                expires_at = datetime.fromtimestamp(float(fields["expires_at"]), UTC)
                held = OutputContents(found["AccessKeyId"], format_expiry(expires_at), is_complete=True)
            except (KeyError, ValueError, TypeError, OverflowError):
                return OutputContents()
            attributes = _attributes(output)
            written = all(self._is_written(kind, output.name, len(data), attributes) for kind, data in shared.items())
            return held if written else OutputContents()

    def prepare(self, output: Endpoint) -> None:
        """Find out whether `publish` would succeed; create the directories, the token, and the files that show it.

        Raises OutputError; what the endpoint answers is then as it was.
        """
        with _publishing(output):
            attributes = _attributes(output)
            self._share(output, self._token(output), attributes)
            with (
                place(self._path(_ENDPOINT, output.name)) as target,
                staged(target, b"\0" * _SAMPLE_BYTES, _OURS, durable=False),
            ):
                """There is space for another document, and we may write it."""

    def publish(
        self,
        output: Endpoint,
        token: RoleToken,
        life: Lifetime,
        boot_id: str,
        *,
        account_id: str | None = None,
        role_arn: str | None = None,
    ) -> None:
        """Have the endpoint answer with the token's credentials; `life` is that of this token, in the boot `boot_id`.

        Account and role are left out of the answer where they are None: no SDK needs them. Raises OutputError; what
        the endpoint answers is then as it was, or new.
        """
        with _publishing(output):
            attributes = _attributes(output)
            authorization = self._token(output)
            fields = {
                _AUTHORIZATION: authorization,
                "issued_at": f"{life.issued_at.timestamp():.6f}",
                "expires_at": f"{token.expires_at.timestamp():.6f}",
                "issued_boot": f"{life.issued_boot.total_seconds():.6f}",
                "boot_id": boot_id,
            }
            self._share(output, authorization, attributes)
            self._replace(_ENDPOINT, output.name, _document(fields, _body(token, account_id, role_arn)), _OURS)

    def remove_others(self, outputs: Iterable[Endpoint]) -> None:
        """Remove every endpoint but these. The document goes first: from then on the server knows no such name."""
        kept = {output.name for output in outputs}
        for kind in _DIRECTORIES:
            directory = f"{self._directory}/{kind}"
            with translated(OutputError, f"remove {directory}"), suppress(FileNotFoundError):
                for name in os.listdir(directory):
                    if name not in kept:
                        self._remove(kind, name)

    def _remove(self, kind: str, name: str) -> None:
        path = self._path(kind, name)
        with translated(OutputError, f"remove {path}"):
            remove_file(path)

    def _token(self, output: Endpoint) -> str:
        """The endpoint's token, which is made if there is none; the directories are made as well."""
        make_directories(self._directory, Attributes(0o755))
        for kind, mode in _DIRECTORIES.items():
            make_directories(f"{self._directory}/{kind}", Attributes(mode))
        known = self._document(output.name)[0].get(_AUTHORIZATION)
        if known:
            return known
        for kind in (_TOKEN, _ENV):  # of a document that was lost
            self._remove(kind, output.name)
        made = _new_token()
        self._replace(_ENDPOINT, output.name, _document({_AUTHORIZATION: made}), _OURS)
        return made

    def _document(self, name: str) -> tuple[Mapping[str, str], bytes]:
        """The document's fields and its body, without those that are damaged."""
        with suppress(FileNotFoundError), place(self._path(_ENDPOINT, name)) as target:
            found = read_at(target, _LARGEST)
            if found:
                head, _, body = found.data.partition(b"\n\n")
                pairs = (line.partition(": ") for line in head.decode("latin-1").splitlines())
                return {key: value for key, _, value in pairs if value}, body
        return {}, b""

    def _share(self, output: Endpoint, token: str, attributes: Attributes) -> None:
        for kind, data in _shared(output, token).items():
            if not self._is_written(kind, output.name, len(data), attributes):
                self._replace(kind, output.name, data, attributes)

    def _is_written(self, kind: str, name: str, size: int, attributes: Attributes) -> bool:
        """Whether the file is there as we write it. Its text is not read, which another owner could forbid to us.

        Only root and that owner can have changed the text, and no other token can be in it: see `_token`.
        """
        try:
            found = os.stat(self._path(kind, name), follow_symlinks=False)
        except FileNotFoundError:
            return False
        seen = (found.st_mode, found.st_uid, found.st_gid, found.st_size)
        return seen == (stat.S_IFREG | attributes.mode, attributes.uid, attributes.gid, size)

    def _replace(self, kind: str, name: str, data: bytes, attributes: Attributes) -> None:
        replace_file(self._path(kind, name), data, attributes, durable=False)

    def _path(self, kind: str, name: str) -> str:
        return f"{self._directory}/{kind}/{name}"


def _publishing(output: Endpoint) -> AbstractContextManager[None]:
    return translated(OutputError, f"publish to {_where(output)}")


def _where(output: Endpoint) -> str:
    return f"the endpoint {output.name}"


def _attributes(output: Endpoint) -> Attributes:
    """Those of the files that programs read."""
    where = _where(output)
    group = group_number(output.group, where)
    return Attributes(_SHARED_MODE, user_number(output.owner, where), os.getegid() if group is None else group)


def _shared(output: Endpoint, token: str) -> dict[str, bytes]:
    """What the files that programs read hold."""
    uri = f"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{ADDRESS}/{output.name}"
    return {_TOKEN: token.encode(), _ENV: f"{uri}\nAWS_CONTAINER_AUTHORIZATION_TOKEN={token}\n".encode()}


def _new_token() -> str:
    """32 random bytes in URL-safe base64, without padding."""
    from secrets import token_urlsafe  # noqa: PLC0415 - loaded for a new endpoint only

    return token_urlsafe(_TOKEN_BYTES)


def _document(fields: Mapping[str, str], body: bytes = b"") -> bytes:
    head = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"{head}\n".encode() + body


def _body(token: RoleToken, account_id: str | None, role_arn: str | None) -> bytes:
    answer = {
        "AccessKeyId": token.access_key_id,
        "SecretAccessKey": token.secret_access_key,
        "Token": token.session_token,
        "Expiration": format_expiry(token.expires_at),
        "AccountId": account_id,
        "RoleArn": role_arn,
    }
    return json.dumps({name: value for name, value in answer.items() if value is not None}).encode()
