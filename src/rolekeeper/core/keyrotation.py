"""The two-phase change of the node key, as pure steps over the vault's contents.

At any moment the vault holds every key that the service may know:

1. `begun`: the new key is stored as pending. Only then is it sent to the service (UpdateManagedInstancePublicKey).
2. `promoted`: the service took it. The pending key becomes the current one; the old one is kept as superseded.
3. `accepted`: a request signed with some key was accepted. That key is, or becomes, the current one, and the keys that
   are then superfluous are dropped: this is the only step that drops a key that was ever in use.
4. `declined`: the service refused the new key itself, and accepted the current one after that, which stays in use. The
   refused key is kept as superseded until the next attempt: an earlier request whose answer was lost, or a service
   whose parts do not agree yet, may still activate it.

After a crash, or a lost answer, `candidates` gives the keys in the order in which to try them. A pending key that is
still there when the current one is accepted is sent to the service again, not replaced by another: the service may
have taken it meanwhile.
"""

from datetime import datetime, timedelta

from rolekeeper.model import NodeKey, Registration, VaultContents
from rolekeeper.values import replace


def candidates(contents: VaultContents, registration: Registration) -> tuple[Registration, ...]:
    """The registration with each key that the service may know, likeliest first."""
    keys = [registration.key]
    keys += [key for key in (contents.pending_key, contents.superseded_key) if key is not None and key not in keys]
    return tuple(replace(registration, key=key) for key in keys)


def accepted(contents: VaultContents, by: Registration) -> VaultContents:
    """The service accepted a request signed with the key of `by`."""
    if contents.node is None:
        return contents
    current = contents.node.registration.key
    contents = replace(contents, node=replace(contents.node, registration=by), superseded_key=None)
    if by.key == current:
        return contents
    return replace(contents, pending_key=None if by.key == contents.pending_key else current)


def is_due(contents: VaultContents, now: datetime, *, wanted: bool, rotate_after: timedelta | None) -> bool:
    """Whether the node key has to be replaced: the service wants it, it is too old, or a change was begun.

    `now` is the service's time. A key dated that far ahead of it was made by a wrong clock, and may be any age.
    """
    if contents.node is None:
        return False
    age = abs(now - contents.node.registration.key.created_at)
    return wanted or contents.pending_key is not None or (rotate_after is not None and age >= rotate_after)


def begun(contents: VaultContents, new_key: NodeKey) -> VaultContents:
    """`new_key` is about to be sent to the service."""
    return replace(contents, pending_key=new_key)


def promoted(contents: VaultContents) -> VaultContents:
    """The service took the pending key."""
    if contents.node is None or contents.pending_key is None:
        return contents
    old = contents.node.registration
    node = replace(contents.node, registration=replace(old, key=contents.pending_key))
    return replace(contents, node=node, pending_key=None, superseded_key=old.key)


def declined(contents: VaultContents) -> VaultContents:
    """The service refused the pending key itself, and still accepts the current one."""
    return replace(contents, pending_key=None, superseded_key=contents.pending_key)
