"""The two-phase change of the node key, as pure steps over the vault's contents.

At any moment the vault holds every key that the service may know:

1. `begun`: the new key is stored as pending. Only then is the service told (UpdateManagedInstancePublicKey).
2. `promoted`: the service took it. The pending key becomes the current one; the old one is kept as superseded.
3. `accepted`: a request signed with some key was accepted. That key is, or becomes, the current one, and what it makes
   superfluous is dropped: this is the only step that drops a key that was ever in use.
4. `declined`: the service refused the new key itself, and accepted the current one after that, which stays in use. The
   refused one is kept as superseded until the next attempt: an earlier request of ours whose answer was lost, or a
   service whose parts do not agree yet, may bring it into force all the same.

After a crash, or an answer that was lost, `candidates` says in which order to try what there is. A pending key that is
still there when the current one is accepted is told to the service again, not replaced by another: the service may
have taken it meanwhile.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from rolekeeper.model import NodeKey, Registration, VaultContents


def candidates(contents: VaultContents, registration: Registration) -> tuple[Registration, ...]:
    """The registration with each key that the service may know, likeliest first."""
    keys = [registration.key]
    keys += [key for key in (contents.pending_key, contents.superseded_key) if key is not None and key not in keys]
    return tuple(replace(registration, key=key) for key in keys)


def accepted(contents: VaultContents, by: Registration) -> VaultContents:
    """The service accepted a request signed with the key of `by`."""
    if contents.node is None:
        return contents
    current, node = contents.node.registration.key, replace(contents.node, registration=by)
    if by.key == current:
        return replace(contents, node=node, superseded_key=None)
    if by.key == contents.pending_key:
        return replace(contents, node=node, pending_key=None, superseded_key=None)
    return replace(contents, node=node, pending_key=current, superseded_key=None)


def is_due(contents: VaultContents, now: datetime, *, wanted: bool, rotate_after: timedelta | None) -> bool:
    """Whether the node key is to be changed: the service wants it, it is too old, or a change was begun.

    `now` is the service's time. A key dated that far ahead of it was made by a wrong clock, and may be any age.
    """
    if contents.registration is None:
        return False
    too_old = rotate_after is not None and abs(now - contents.registration.key.created_at) >= rotate_after
    return wanted or too_old or contents.pending_key is not None


def begun(contents: VaultContents, new_key: NodeKey) -> VaultContents:
    """`new_key` is about to be told to the service."""
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
