"""Replacing the node key with the service; core/keyrotation.py says which keys are kept when.

Nothing here fails an attempt: the credentials are already published, and a rotation that did not succeed, whatever the
reason, continues at the next attempt. The caller holds the vault's lock.
"""

from datetime import datetime

from rolekeeper.core import keyrotation
from rolekeeper.errors import (
    RolekeeperError,
    ServiceError,
    ServiceRefusedError,
    SignatureRefusedError,
    VaultError,
)
from rolekeeper.model import LogEntry, Node, Registration, TokenAnswer, VaultContents
from rolekeeper.ports import NodeService, World

ABOUT_THE_KEY = ("InvalidPublicKey", "PublicKeyAlreadyRegistered")


def rotate(
    world: World, contents: VaultContents, registration: Registration, fingerprint: str, now: datetime
) -> tuple[VaultContents, LogEntry]:
    """Replace the node key by a new one; returns the vault's contents then, and what to log.

    `now` is the service's time: with a wrong local clock, a key would be too old at once, or never.
    """
    try:
        new_key = contents.pending_key
        if new_key is None:
            new_key = world.keys.new_key(now)
            contents = _saved(world, keyrotation.begun(contents, new_key))
        world.service.update_public_key(registration, new_key)
        contents = _saved(world, keyrotation.promoted(contents))
    except ServiceRefusedError as refused:
        return _refused(world, contents, registration, fingerprint, refused)
    except (ServiceError, VaultError) as error:
        return contents, _unfinished(registration, error)
    message = f"Node key of {registration.node_id} rotated"
    return contents, LogEntry("key_rotated", "info", message, {"node_id": registration.node_id})


def token_by_any_key(service: NodeService, contents: VaultContents, node: Node) -> tuple[Registration, TokenAnswer]:
    """A role token, and the registration with the key that the service accepts: a change of the key may be unfinished.

    Raises the refusal of the likeliest key when the service accepts none, and every other error as it comes.
    """
    refusals: list[SignatureRefusedError] = []
    for candidate in keyrotation.candidates(contents, node.registration):
        try:
            return candidate, service.request_role_token(candidate, node.accepted.fingerprint)
        except SignatureRefusedError as refused:
            refusals.append(refused)
    raise refusals[0]


def _refused(
    world: World, contents: VaultContents, registration: Registration, fingerprint: str, refused: ServiceRefusedError
) -> tuple[VaultContents, LogEntry]:
    """Drop the new key only if the refusal is about the key itself, and the service still accepts the old one after it.

    An earlier answer may have been lost: then the service has the new key, and the next attempt finds that out.
    """
    if refused.code.removesuffix("Exception") not in ABOUT_THE_KEY:
        return contents, _unfinished(registration, refused)
    try:
        world.service.request_role_token(registration, fingerprint)
        contents = _saved(world, keyrotation.declined(contents))
    except (ServiceError, ServiceRefusedError, VaultError) as error:
        return contents, _unfinished(registration, error)
    message = f"The service refused a new node key for {registration.node_id}, the old one stays: {refused.message}"
    return contents, LogEntry("key_rotation_refused", "warning", message, {"code": refused.code})


def _saved(world: World, contents: VaultContents) -> VaultContents:
    world.vault.save(contents)
    return contents


def _unfinished(registration: Registration, error: RolekeeperError) -> LogEntry:
    message = f"Rotating the node key of {registration.node_id} continues at the next attempt: {error.message}"
    return LogEntry("key_rotation_unfinished", "warning", message, {"code": error.code, "hint": error.hint})
