"""Changing the node key with the service; `core.keyrotation` says what is kept when.

Nothing here fails an attempt: the credentials are published already, and a key change that did not succeed is taken up
at the next one. The caller holds the vault's lock.
"""

from rolekeeper.core import keyrotation
from rolekeeper.errors import RolekeeperError, ServiceError, ServiceRefusedError, SignatureRefusedError
from rolekeeper.model import Fact, Registration, VaultContents
from rolekeeper.ports import World

INVALID_PUBLIC_KEY = "InvalidPublicKey"
PUBLIC_KEY_ALREADY_REGISTERED = "PublicKeyAlreadyRegistered"


def rotate(
    world: World, contents: VaultContents, registration: Registration, fingerprint: str
) -> tuple[VaultContents, Fact]:
    """Make the node key another one; returns what is in the vault then, and what to log. Raises VaultError."""
    if contents.pending_key is None:
        contents = keyrotation.begun(contents, world.keys.new_key(world.clock.now().wall))
        world.vault.save(contents)
    assert contents.pending_key is not None  # noqa: S101 - begun above
    try:
        world.service.update_public_key(registration, contents.pending_key)
    except ServiceRefusedError as refused:
        return _refused(world, contents, registration, fingerprint, refused)
    except ServiceError as error:
        return contents, _unfinished(registration, error)
    return _promote(world, contents, registration)


def _promote(world: World, contents: VaultContents, registration: Registration) -> tuple[VaultContents, Fact]:
    contents = keyrotation.promoted(contents)
    world.vault.save(contents)
    return contents, _rotated(registration)


def _refused(
    world: World, contents: VaultContents, registration: Registration, fingerprint: str, refused: ServiceRefusedError
) -> tuple[VaultContents, Fact]:
    """Only a word about the key itself lets it go; after any other refusal the service may know it all the same."""
    code = refused.code.removesuffix("Exception")
    if code == PUBLIC_KEY_ALREADY_REGISTERED:
        try:
            if _is_ours(world, contents, registration, fingerprint):
                return _promote(world, contents, registration)
        except (ServiceError, ServiceRefusedError) as error:
            return contents, _unfinished(registration, error)
    elif code != INVALID_PUBLIC_KEY:
        return contents, _unfinished(registration, refused)
    contents = keyrotation.declined(contents)
    world.vault.save(contents)
    message = f"The service refused a new node key for {registration.node_id}, the old one stays: {refused.message}"
    return contents, Fact("key_rotation_refused", "warning", message, {"code": refused.code})


def _is_ours(world: World, contents: VaultContents, registration: Registration, fingerprint: str) -> bool:
    """Whether the service accepts a request that is signed with the pending key: then an earlier answer was lost."""
    pending = next(one for one in keyrotation.candidates(contents, registration) if one.key == contents.pending_key)
    try:
        world.service.request_role_token(pending, fingerprint)
    except SignatureRefusedError:
        return False
    return True


def _rotated(registration: Registration) -> Fact:
    return Fact("key_rotated", "info", f"Node key of {registration.node_id} rotated", {"node_id": registration.node_id})


def _unfinished(registration: Registration, error: RolekeeperError) -> Fact:
    message = f"Rotating the node key of {registration.node_id} goes on at the next attempt: {error.message}"
    return Fact("key_rotation_unfinished", "warning", message, {"code": error.code})
