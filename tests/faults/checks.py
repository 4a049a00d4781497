"""What must hold after any fault, as assertions: nothing torn, nothing lost, nothing readable by others."""

import json
import os
import re
import stat

from botocore.configloader import raw_config_parse
from tests.conftest import Server
from tests.faults.calls import CHANGING, Kind, Step
from tests.faults.scenarios import ACL, ACL_NAME, AFTER, BEFORE, is_registered_anew
from tests.faults.stage import Ran, Stage

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.emulator import Node
from rolekeeper.model import NodeKey, VaultContents

CODES = {69, 74}  # of a command that something outside kept from its work (sysexits.h)
CONFIGURATION = re.compile(r"(openat|\S*stat\S*|getdents64) (config\.toml|conf\.d)")
WRONG = 78  # of a command whose configuration only a person can mend; the daemon ends with it for good
NO_OUTPUT = "rolekeeper: Cannot write to standard output: "
SECRET = 0o077
# Errors that the product gets over without a word, each with the reason why nobody need know.
HIDDEN = {
    r"close \S+\.rolekeeper-lock": "nothing was written; the lock is released whatever close answers",
    r"write stderr": "that nobody can be told changes no exit code",
}


def check_whole(stage: Stage) -> None:
    """At this very moment: the file is old or new, the vault loads, and holds every key that the service may know."""
    _check_file(stage)
    _check_modes(stage.server)
    assert stage.scenario.always(stage.server), "what always holds does not"
    contents = stage.server.vault()
    if contents == VaultContents() and stage.scenario.may_be_empty:
        return
    held = {public_key(key) for key in _keys(contents)}
    lost = [node.node_id for node in _our_nodes(stage.server) if node.public_key not in held]
    assert not lost, f"the vault has lost the key of {lost}"


def _our_nodes(server: Server) -> list[Node]:
    """The nodes that are this machine for the service; a registration that was replaced is none of ours any more."""
    nodes = list(server.emulator.nodes.values())
    anew = [node for node in nodes if node.activation_id]
    return anew if anew and is_registered_anew(server) else nodes


def _keys(contents: VaultContents) -> list[NodeKey]:
    begun, registration = contents.pending_registration, contents.registration
    keys = (
        registration and registration.key,
        begun and begun.key,
        contents.pending_key,
        contents.superseded_key,
    )
    return [key for key in keys if key is not None]


def _check_file(stage: Stage) -> None:
    path = stage.server.output
    before = stage.template / path.relative_to(stage.server.directory)
    old = before.read_bytes() if before.exists() else None
    new = path.read_bytes() if path.exists() else None
    if new == old:
        return
    assert new is not None, "the credentials file has gone"
    if old is not None:
        assert new.startswith(BEFORE), "what stands before the profile has changed"
        assert new.endswith(AFTER), "what stands after the profile has changed"
    profile = raw_config_parse(str(path))["default"]
    token = stage.server.emulator.tokens[profile["aws_access_key_id"]]
    assert profile["aws_secret_access_key"] == token.secret_access_key
    assert profile["aws_session_token"] == token.session_token
    assert token.node_id in stage.server.emulator.nodes


def _check_modes(server: Server) -> None:
    """Nobody else can read anything, but for who may by the ACL of the file that was there."""
    for top in (server.directory / "vault", server.output.parent):
        for path in (top, *top.rglob("*")) if top.exists() else ():
            mode = stat.S_IMODE(path.lstat().st_mode)
            is_shared = path.parent == server.output.parent and ACL_NAME in os.listxattr(path)
            if is_shared:
                assert os.getxattr(path, ACL_NAME) == ACL, f"{path} has another ACL"
            assert mode == 0o640 if is_shared else not mode & SECRET, f"{path} has mode {mode:o}"


def everything(server: Server) -> set[str]:
    """What lies below the server's directory, by path."""
    return {str(path.relative_to(server.directory)) for path in server.directory.rglob("*")}


def is_temporary(path: str) -> bool:
    """Whether that is what a writer, or whoever makes a directory, is not finished with."""
    return path.endswith("-new")


def check_tidy(server: Server, usual: set[str], own: str = "") -> None:
    """Once the next run has gone through: there is what there would be without any fault, and no more than a vault."""
    strays = {path for path in everything(server) - usual - {"vault/vault.json"} if not (own and path.startswith(own))}
    assert not strays, f"left behind: {strays}"


def check_told(ran: Ran, step: Step, fault: str) -> None:
    """A command that failed at a step says so in one line and a hint, with a documented exit code."""
    assert "Traceback" not in ran.err, ran.err
    is_closed = fault == "EACCES" and CONFIGURATION.fullmatch(step.call)
    assert ran.code in {0, *CODES, *({WRONG} if is_closed else ())}, f"exit code {ran.code}: {ran.out}{ran.err}"
    if step.call == "write stderr":
        assert ran.code == 0, ran
    elif step.call == "write stdout" and not ran.out.endswith("}\n"):
        assert ran.code == 0 or NO_OUTPUT in ran.err, ran.err
    elif ran.out.startswith("{"):
        _check_report(json.loads(ran.out))
    elif ran.code:
        message, hint = ran.err.splitlines()
        assert re.match(r"rolekeeper: (Cannot |/\S+: cannot be (read|listed): )", message), ran.err
        assert hint.startswith("  hint: "), ran.err


def check_not_hidden(ran: Ran, at: int) -> None:
    """An error at step `at`, if that changes something, is told by exit code, report or warning, or done once more."""
    step = ran.steps[at]
    if step.kind not in CHANGING | {Kind.CLOSE} or any(re.fullmatch(call, step.call) for call in HIDDEN):
        return
    report = json.loads(ran.out) if ran.out.startswith("{") else {}
    is_told = bool(ran.code or report.get("code") or "Cannot " in ran.err)
    assert is_told, f"hidden: {ran.code} {ran.out}{ran.err}"


def _check_report(report: dict[str, str]) -> None:
    """An attempt that met with trouble, even one that issued, says what it could not do, and what to do about it."""
    if report["code"] or report["outcome"] != "issued":
        assert report["code"], report
        assert report["message"].startswith("Cannot "), report
        assert report["hint"], report
