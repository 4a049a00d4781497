"""SSM Agent's vault, for `adopt` and `export`, and whether the agent runs (docs/protocol.md, section 4).

- The manifest holds absolute paths, which in a copied tree still point to the original. So only the last name of each
  path counts, below `Store`.
- A file that the manifest does not name does not exist for the agent, and so not for us.
- A registration without a node id was cleared, or lost when the agent failed to register again. It is refused, with the
  remedy.
- A file of 0 bytes is what the agent leaves when it is killed during a write, or when the disk is full.
- The files do not show whether the service still accepts the fingerprint. Only a token request does.
- `adopt` writes nothing there. `export` writes the manifest last, so that a vault that was cut off is none.
"""

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TypeVar

from rolekeeper.adapters.files.paths import Attributes
from rolekeeper.adapters.files.replace import describe, read_file, replace_file, translated
from rolekeeper.adapters.vault.agentformat import (
    MalformedError,
    encode_fingerprint,
    encode_manifest,
    encode_registration,
    parse_fingerprint,
    parse_manifest,
    parse_object,
    parse_registration,
    text,
)
from rolekeeper.errors import RefusedError, VaultError
from rolekeeper.model import Node

T = TypeVar("T")

DEFAULT_DIRECTORY = "/var/lib/amazon/ssm/Vault"

_AGENT_PROGRAMS = ("amazon-ssm-agent", "ssm-agent-worker")
_DIRECTORY, _PRIVATE = Attributes(0o700), Attributes(0o600)
_KEY_SIZE = 16384  # bytes, more than the file with a node key has
_NAME_LENGTH = 15  # characters of a program's name that the kernel keeps
_REGISTER = (
    "create a new activation and use `rolekeeper register`; the old node can be removed with"
    " `aws ssm deregister-managed-instance`"
)


def read_agent_vault(directory: str | Path = DEFAULT_DIRECTORY) -> Node:
    """The agent's registration and accepted fingerprint; raises VaultError and RefusedError."""
    vault = Path(directory)
    named = _manifest(vault)
    registration = _parsed(vault, named, "RegistrationKey", parse_registration)
    if registration is None:
        raise _unregistered(vault)
    accepted = _parsed(vault, named, "InstanceFingerprint", parse_fingerprint)
    if accepted is None:
        raise _damaged(vault / "Store" / "InstanceFingerprint", "the fingerprint of the registration is missing")
    return Node(registration, accepted)


def write_agent_vault(directory: str | Path, node: Node) -> None:
    """Put the registration into the agent's layout; raises VaultError, and RefusedError for a vault of another node.

    An older registration of the same node, such as one from before a key rotation, is replaced.
    """
    vault = Path(directory).absolute()
    _refuse_other_node(vault, node)
    data = {
        "InstanceFingerprint": encode_fingerprint(node.accepted),
        "RegistrationKey": encode_registration(node.registration),
    }
    files = {vault / "Store" / name: content for name, content in data.items()}
    files[vault / "Manifest"] = encode_manifest({name: str(vault / "Store" / name) for name in data})
    for path, content in files.items():
        with translated(VaultError, f"write {path}", "agent-vault-"):
            replace_file(str(path), content, _PRIVATE, missing=_DIRECTORY)


def _refuse_other_node(vault: Path, node: Node) -> None:
    try:
        found = read_agent_vault(vault).registration.node_id
    except (VaultError, RefusedError) as unreadable:
        if unreadable.code in ("agent-vault-absent", "agent-vault-unregistered"):
            return
        raise RefusedError(
            "agent-vault-in-use", f"Cannot export to {vault}: {unreadable.message}", "move it away, or export elsewhere"
        ) from unreadable
    if found != node.registration.node_id:
        raise RefusedError(
            "agent-vault-in-use",
            f"Cannot export {node.registration.node_id} to {vault}: it holds the registration of {found}",
            "move it away, or export elsewhere",
        )


def agent_running(vault: str | Path, proc: str | Path = "/proc") -> bool:
    """Whether a process of SSM Agent uses this vault, or one that holds the same key.

    The agent's vault is at the same path in every container, so it is looked up below the root of each process. One
    that this user may not look into is not counted.
    """
    key = _key_in(Path(vault))
    names = {name[:_NAME_LENGTH] for name in _AGENT_PROGRAMS}
    agents = (process for process in Path(proc).glob("[0-9]*") if _program(process) in names)
    return key is not None and any(_key_in(Path(f"{agent}/root{DEFAULT_DIRECTORY}")) == key for agent in agents)


def _key_in(vault: Path) -> bytes | None:
    """The beginning of the agent's file with the node key; None when it cannot be read, or may keep us waiting."""
    try:
        descriptor = os.open(vault / "Store" / "RegistrationKey", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _KEY_SIZE)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _program(process: Path) -> str:
    """The name of a process's program; "" for one that has ended."""
    try:
        ended = not (process / "cmdline").read_bytes()
        return "" if ended else (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _manifest(vault: Path) -> dict[str, str]:
    path = vault / "Manifest"
    data = _read(path)
    if data is None and _read(vault / "Vault" / "Manifest") is not None:
        raise _absent(vault, f"give the directory below it: --from {vault / 'Vault'}")
    if data is None:
        raise _absent(vault, "register this machine with a new activation, or name the agent's vault with --from DIR")
    try:
        return parse_manifest(data)
    except MalformedError as error:
        raise _unusable(path, data, error) from None


def _parsed(vault: Path, named: dict[str, str], name: str, parse: Callable[[bytes], T | None]) -> T | None:
    """What the manifest names `name`, parsed; None when it names none, or when the file was cleared."""
    if name not in named:
        return None
    path = vault / "Store" / PurePath(named[name]).name
    data = _read(path)
    if data is None:
        raise _damaged(path, "it is missing, and the agent's manifest names it")
    try:
        return parse(data)
    except MalformedError as error:
        raise _unusable(path, data, error) from None


def _read(path: Path) -> bytes | None:
    try:
        return read_file(str(path))
    except OSError as error:
        code, remedy = describe(error)
        raise VaultError(
            f"agent-vault-{code}",
            f"Cannot read {path}: {error.strerror}",
            "run this as root" if isinstance(error, PermissionError) else remedy,
        ) from error


def _unusable(path: Path, data: bytes, error: MalformedError) -> VaultError:
    if data:
        return _damaged(path, str(error))
    return VaultError(
        "agent-vault-truncated",
        f"Cannot adopt the registration: {path} has 0 bytes; SSM Agent was killed during a write, or the disk was full",
        f"restore it from a backup; without one, {_REGISTER}",
    )


def _damaged(path: Path, reason: str) -> VaultError:
    return VaultError(
        "agent-vault-damaged",
        f"Cannot adopt the registration: {path}: {reason}",
        f"restore it from a backup; without one, {_REGISTER}",
    )


def _absent(vault: Path, hint: str) -> VaultError:
    return VaultError("agent-vault-absent", f"Cannot find SSM Agent's vault: {vault / 'Manifest'} is missing", hint)


def _unregistered(vault: Path) -> RefusedError:
    before = _last_node_id(vault)
    was = f"; its last node id was {before}, whose key it did not keep" if before else ""
    return RefusedError(
        "agent-vault-unregistered",
        f"Cannot adopt the registration in {vault}: SSM Agent cleared it, or failed to register again and lost it{was}",
        _REGISTER,
    )


def _last_node_id(vault: Path) -> str:
    """The node id in the agent's `registration` beside its vault, which it leaves in place; "" when there is none."""
    try:
        return text(parse_object(_read(vault.parent / "registration") or b""), "ManagedInstanceID")
    except MalformedError:
        return ""
