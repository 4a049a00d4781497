"""What an attempt has to tell the log about tokens and the vault, in words and fields; never a secret.

`identity` and `rotation` tell what they find out themselves.
"""

from collections.abc import Iterable

from rolekeeper.core.jsonvalues import rfc3339
from rolekeeper.errors import VaultError
from rolekeeper.model import CredentialsFile, Fact, IssueRecord, Registration, TokenAnswer


def vault_unwritten(error: VaultError) -> Fact:
    """The credentials are published, and the vault does not know."""
    message = f"The credentials are published, but {error.message[0].lower()}{error.message[1:]}"
    return Fact("vault_unwritten", "warning", message, {"code": error.code, "hint": error.hint})


def registered(node: Registration, activation_id: str) -> Fact:
    """The machine registered itself with the configured activation."""
    message = f"Registered as {node.node_id} in {node.region} with activation {activation_id}"
    return Fact("registered", "info", message, {"node_id": node.node_id, "region": node.region})


def token_issued(node: Registration, answer: TokenAnswer) -> Fact:
    """The service has issued a role token."""
    expires_at = rfc3339(answer.token.expires_at)
    fields = {"expires_at": expires_at, **_request(answer.request_id)}
    return Fact("token_issued", "debug", f"Role token issued to {node.node_id}, good until {expires_at}", fields)


def published(issue: IssueRecord, written: Iterable[CredentialsFile], request_id: str | None) -> Fact:
    """The credentials stand in these outputs from now on."""
    expires_at = rfc3339(issue.life.expires_at)
    files = ", ".join(dict.fromkeys(output.path for output in written))
    message = f"Published role credentials of {issue.node_id} in {files}, good until {expires_at}"
    fields = {"node_id": issue.node_id, "expires_at": expires_at, "access_key_id": issue.access_key_id}
    return Fact("credentials_published", "info", message, {**fields, **_request(request_id)})


def already_published(issue: IssueRecord) -> Fact:
    """Every output holds fresh credentials: the request was spared."""
    expires_at = rfc3339(issue.life.expires_at)
    message = f"Fresh credentials of {issue.node_id} are published already, good until {expires_at}"
    return Fact("credentials_fresh", "info", message, {"node_id": issue.node_id})


def overwritten_by_another(output: CredentialsFile) -> Fact:
    """Somebody else's credentials are where ours were published, or are about to be."""
    message = f"Another program writes to {output.path}: its credentials are in the profile [{output.profile}]"
    hint = "let one program write there: stop the other one (SSM Agent?), or publish to a file or profile of its own"
    fields = {"path": output.path, "profile": output.profile, "hint": hint}
    return Fact("overwritten_by_another", "warning", message, fields)


def key_change_taken_up(node: Registration) -> Fact:
    """The service knows the new node key of a change that was cut off; the vault does now, too."""
    return Fact("key_rotated", "info", f"Node key of {node.node_id} rotated: an earlier change was taken up")


def _request(request_id: str | None) -> dict[str, str]:
    return {"request_id": request_id} if request_id else {}
