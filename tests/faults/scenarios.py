"""What is done to a server under faults: each scenario's beginning, its command, and how its success is seen."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from botocore.configloader import raw_config_parse
from tests.conftest import Server, rebound
from tests.faults import sealed

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.vault.agent import read_agent_vault
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.model import VaultContents

AGENT_VAULT = Path(__file__).parents[1] / "vectors" / "vaults" / "registered-never-started-fake-dmidecode" / "Vault"
BEFORE = b"# written by hand\n[build]\nrole_arn = arn:aws:iam::123456789012:role/Build\ncolour = a#b\n\n"
AFTER = b"[last]\naws_access_key_id = AKIALAST\naws_secret_access_key = c = d\n# the end"
PROFILE = b"[default]\n"
THRESHOLD = 30
OWNER, GROUP, READER = 12345, 12346, 12347  # of the output, and who may read it by its ACL
FOR_A_USER = f"owner = {OWNER}\ngroup = {GROUP}"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
IN_THE_UNIT = {
    "ROLEKEEPER_UNIT": "rolekeeper.service",
    "ROLEKEEPER_BOOT_ID": BOOT_ID.read_text().strip().replace("-", ""),
}
ACL_NAME = "system.posix_acl_access"
ACL = struct.pack("<I", 2) + b"".join(  # rw- for the owner, r-- for one user, nothing for the group and the others
    struct.pack("<HHI", *entry)
    for entry in [(1, 6, 2**32 - 1), (2, 4, READER), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
)


@dataclass(frozen=True)
class Scenario:
    """One command on one beginning.

    `prepare` makes the beginning, `reset` puts the emulator back to it, `is_done` says whether the server is where the
    command leads to, and `always` what holds at every instant. `may_be_empty`: the vault may hold nothing, although the
    service knows a node. `environment` is what its commands find there, beside what all have. `closed` is a call that
    fails with EROFS whatever else goes wrong: the command gets nowhere, and only what comes after that call is spoiled.
    `own` is a directory where only the command itself, and no attempt, removes what an interrupted run left.
    """

    name: str
    prepare: Callable[[Server], None]
    reset: Callable[[Server], None]
    arguments: Callable[[Server], tuple[str, ...]]
    is_done: Callable[[Server], bool]
    is_attempt: bool = False
    may_be_empty: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    closed: str = ""
    always: Callable[[Server], bool] = lambda _: True
    own: str = ""


def _files(server: Server) -> None:
    """A file with other profiles, and the lock that a daemon has left behind."""
    server.output.parent.mkdir(mode=0o700)
    server.output.write_bytes(BEFORE + PROFILE + b"\n" + AFTER)
    server.output.chmod(0o600)
    server.runtime.mkdir()
    lock = server.runtime / "lock"
    lock.touch(0o600)
    lock.write_text("1\n")


def _nothing(server: Server) -> None:
    server.runtime.mkdir()


def _registered(server: Server) -> None:
    _files(server)
    server.register()
    server.activation = None  # used up; what a scenario registers with is its own
    _remember(server)


def _registered_and(more: Callable[[Server], None]) -> Callable[[Server], None]:
    def prepare(server: Server) -> None:
        _registered(server)
        more(server)

    return prepare


def _dressed(server: Server) -> None:
    """The file is a user's, and another may read it."""
    _registered(server)
    server.configure(output=FOR_A_USER)


def _know_dressed(server: Server) -> None:
    _know(server)
    os.chown(server.output, OWNER, GROUP)
    os.setxattr(server.output, ACL_NAME, ACL)


def _remember(server: Server) -> None:
    """What the service knows of the node, to tell it again."""
    node = server.emulator.nodes[server.node_id]
    known = {"node_id": node.node_id, "public_key": node.public_key, "fingerprint": node.fingerprint}
    server.directory.with_name("node.json").write_text(json.dumps(known))


def _know(server: Server) -> None:
    """Let the service know the node as at the beginning, and no other that this scenario registered."""
    for node_id in list(server.emulator.nodes):
        server.emulator.deregister(node_id)
    known = server.directory.with_name("node.json")
    if known.exists():
        server.emulator.add_node(**json.loads(known.read_text()))


def _new_activation(server: Server) -> None:
    _know(server)
    server.activation = server.emulator.create_activation(limit=5)


def _ask_for_rotation(server: Server) -> None:
    _know(server)
    server.emulator.request_rotation(server.node_id)


def _configured_activation(server: Server) -> None:
    _know(server)
    server.configure_activation(limit=5, output=FOR_A_USER)


def _agent_vault(server: Server) -> None:
    """A recorded vault of the agent's, for whatever hardware the tests run on, and a service that knows its node."""
    _files(server)
    vault = server.directory / "agent"
    shutil.copytree(AGENT_VAULT, vault)
    fingerprint = vault / "Store" / "InstanceFingerprint"
    text = fingerprint.read_text()
    fingerprint.write_text(text.replace('"similarityThreshold":40', '"similarityThreshold":-1'))
    assert fingerprint.read_text() != text
    found = read_agent_vault(vault)
    key = public_key(found.registration.key)
    server.emulator.add_node(found.registration.node_id, key, found.accepted.fingerprint)
    server.node_id = found.registration.node_id
    _remember(server)
    server.node_id = ""


def published(server: Server) -> str:
    """The access key id in the published profile; empty when there is none."""
    if not server.output.exists():
        return ""
    profile = raw_config_parse(str(server.output)).get("default", {})
    return str(profile.get("aws_access_key_id", ""))


def holds_newest_token(server: Server) -> bool:
    return published(server) == next(reversed(server.emulator.tokens), None)


def _is_a_users(path: Path) -> bool:
    status = path.stat()
    return (status.st_uid, status.st_gid) == (OWNER, GROUP)


def _is_published_dressed(server: Server) -> bool:
    return holds_newest_token(server) and _is_a_users(server.output) and os.getxattr(server.output, ACL_NAME) == ACL


def is_registered_anew(server: Server) -> bool:
    """Whether the vault's node is the one that this scenario's activation was used for."""
    registration = server.vault().registration
    node = server.emulator.nodes.get(registration.node_id) if registration else None
    return bool(node and server.activation and node.activation_id == server.activation.activation_id)


def _is_rotated(server: Server) -> bool:
    contents = server.vault()
    assert contents.registration is not None
    node = server.emulator.nodes[contents.registration.node_id]
    ours = public_key(contents.registration.key)
    return not node.rotation_wanted and contents.pending_key is None and ours == node.public_key


def _is_adopted(server: Server) -> bool:
    return server.vault().registration == read_agent_vault(server.directory / "agent").registration


def _has_threshold(server: Server) -> bool:
    fingerprint = server.vault().fingerprint
    return fingerprint is not None and fingerprint.threshold == THRESHOLD


def _other_hardware(server: Server) -> None:
    """The fingerprint is bound to a machine of another name."""
    _registered(server)
    contents = server.vault()
    assert contents.fingerprint is not None
    other = {**contents.fingerprint.hardware_hash, "hostname-info": ""}
    vault = FileVault(server.directory / "vault", SystemClock())
    with vault.lock(timedelta(seconds=1)):
        vault.save(rebound(contents, hardware_hash=other))


def _is_bound(server: Server) -> bool:
    fingerprint = server.vault().fingerprint
    return fingerprint is not None and fingerprint.hardware_hash["hostname-info"] != ""


def _is_cleared(server: Server) -> bool:
    return server.vault() == VaultContents()


def _register(server: Server) -> tuple[str, ...]:
    return server.registration()


def _copying(*words: str) -> Callable[[Server], tuple[str, ...]]:
    return lambda server: (*words, "--save-recovery-key", sealed.recovery(server).path)


def _words(*words: str) -> Callable[[Server], tuple[str, ...]]:
    return lambda _: words


SCENARIOS = (
    Scenario("register", _nothing, _new_activation, _register, is_registered_anew),
    Scenario("register anew", _registered, _new_activation, lambda s: (*_register(s), "--force"), is_registered_anew),
    Scenario(
        "attempt",
        _dressed,
        _know_dressed,
        _words("attempt"),
        _is_published_dressed,
        is_attempt=True,
        environment=IN_THE_UNIT,
    ),
    Scenario(
        "sandbox",
        _dressed,
        _know_dressed,
        _words("attempt"),
        _is_published_dressed,
        is_attempt=True,
        environment=IN_THE_UNIT,
        closed="openat aws/.credentials.rolekeeper-lock",
    ),
    Scenario(
        "rotation",
        _registered,
        _ask_for_rotation,
        _words("attempt"),
        lambda s: holds_newest_token(s) and _is_rotated(s),
        is_attempt=True,
    ),
    Scenario(
        "adopt",
        _agent_vault,
        _know,
        lambda s: ("adopt", "--from", str(s.directory / "agent")),
        _is_adopted,
        may_be_empty=True,
    ),
    Scenario("accept", _other_hardware, _know, _words("fingerprint", "accept"), _is_bound),
    Scenario("threshold", _registered, _know, _words("fingerprint", "threshold", str(THRESHOLD)), _has_threshold),
    Scenario(
        "first start",
        _nothing,
        _configured_activation,
        _words("attempt"),
        lambda s: holds_newest_token(s) and is_registered_anew(s) and _is_a_users(s.output.parent),
        is_attempt=True,
    ),
    Scenario("clear", _registered, _know, _words("clear", "--yes"), _is_cleared, may_be_empty=True),
    Scenario(
        "seal",
        _registered_and(sealed.can_be_sealed),
        _know,
        _copying("seal"),
        sealed.is_done,
        environment=sealed.IN_PATH,
        own="etc/",
        always=sealed.has_copy,
    ),
    Scenario(
        "rekey",
        _registered_and(sealed.is_sealed),
        _know,
        _copying("seal", "--rekey"),
        sealed.is_done,
        environment=sealed.IN_PATH,
        own="etc/",
        always=sealed.has_copy,
    ),
    Scenario(
        "unseal",
        _registered_and(sealed.is_to_be_plain),
        _know,
        _words("unseal"),
        sealed.is_unsealed,
        environment=sealed.IN_PATH,
        own="etc/",
    ),
)
