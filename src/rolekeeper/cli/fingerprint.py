"""`rolekeeper fingerprint`: compare the hardware with what the fingerprint is bound to, or bind it to this hardware."""

import argparse
import re

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.attempt.accept import Acceptance, accept
from rolekeeper.attempt.look import LOOKS, between_looks
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.core import similarity, weakness
from rolekeeper.core.similarity import Comparison, ComponentState
from rolekeeper.errors import HardwareError, RefusedError, UnregisteredError, UsageError
from rolekeeper.model import THRESHOLD_OFF, HardwareHash, Node, OutputProblem, VaultContents, Verdict
from rolekeeper.ports import World
from rolekeeper.settings import Settings
from rolekeeper.values import fields, replace

EXAMPLE = "rolekeeper fingerprint check || rolekeeper fingerprint show"
PERCENTAGE = re.compile(r"[1-9][0-9]?|100")
SHOWN = 24  # characters of a value in the table
CODES = {Verdict.SIMILAR: 0, Verdict.NOT_SIMILAR: RefusedError.exit_code, Verdict.UNREADABLE: HardwareError.exit_code}


def configure(parser: argparse.ArgumentParser) -> None:
    """The action, its value, and --json."""
    actions = ("show", "check", "accept", "threshold")
    what = (
        "show (default) prints every component; check exits 77 when not similar; accept binds the fingerprint to this "
        "hardware, if the service still accepts it; threshold sets the share"
    )
    parser.add_argument("action", nargs="?", default="show", choices=actions, help=what)
    parser.add_argument("value", nargs="?", help="for threshold: 1 to 100 percent, or off")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Show or check the hardware, accept it, or set the threshold."""
    if (options.action == "threshold") != (options.value is not None):
        hint = "write threshold N, with 1 to 100 percent, or threshold off; the other actions take no value"
        raise UsageError("argument-missing", "threshold takes a value, and no other action does", hint)
    keep_secrets_in_memory()  # the vault is read whole, with the node key
    settings = compose.settings(options.config)
    if options.action == "accept":
        return _accept(settings, as_json=options.json)
    world = compose.world(settings)
    if options.action == "threshold":
        return _set_threshold(world, settings, _threshold(options.value), as_json=options.json)
    contents = world.vault.load()
    accepted, hardware = _node(contents, settings).accepted, world.probe.look()
    compared = similarity.judge(accepted, contents.measured, hardware)
    _print(compared, as_json=options.json)
    if options.action == "show":
        return 0
    warn_of_machine_id(accepted.hardware_hash, hardware.hash)
    _warn(weakness.of_smbios(accepted.hardware_hash, hardware.hash))
    return CODES[compared.verdict]


def warn_of_machine_id(saved: HardwareHash, current: HardwareHash) -> None:
    """Warn when `machine-id`, which decides alone when it differs, is empty in the vault or now."""
    _warn(weakness.of_machine_id(saved, current))


def _warn(problem: OutputProblem | None) -> None:
    if problem is not None:
        say(problem.message, problem.hint)


def _node(contents: VaultContents, settings: Settings) -> Node:
    if contents.node is None:
        raise UnregisteredError(
            "unregistered", f"No registration in the vault {settings.vault_directory}", "`rolekeeper register`"
        )
    return contents.node


def _threshold(value: str) -> int:
    if value == "off":
        return THRESHOLD_OFF
    if not PERCENTAGE.fullmatch(value):
        raise UsageError("argument-invalid", f"{value!r} is no threshold", "write 1 to 100, or off")
    return int(value)


def _accept(settings: Settings, *, as_json: bool) -> int:
    """Bind the fingerprint to the hardware of now; the daemon attempts at once."""
    give_up_after(settings.daemon.attempt_timeout)
    world = compose.world(settings, looks=LOOKS)
    with world.vault.lock(longest_wait_for_vault(settings)):
        contents = world.vault.load()
        node = _node(contents, settings)
        acceptance = accept(world, contents, node, between_looks(settings.daemon.attempt_timeout))
    compose.signal_daemon(settings)
    _print_acceptance(acceptance, as_json=as_json)
    bound = acceptance.node.accepted.hardware_hash
    warn_of_machine_id(bound, bound)
    return 0


def _print_acceptance(acceptance: Acceptance, *, as_json: bool) -> None:
    node_id, components = acceptance.node.registration.node_id, acceptance.comparison.components
    changed = [one.name for one in components if one.state is ComponentState.CHANGED]
    kept = [one for one in components if one.state is ComponentState.UNREADABLE]
    if as_json:
        print_json({"node_id": node_id, "changed": changed, "unreadable": [one.name for one in kept]})
    else:
        print(f"Accepted this hardware for {node_id}; changed: {', '.join(changed) or 'nothing'}.")
    if kept:
        say(
            f"what cannot be read keeps its old value: {'; '.join(f'{one.name} ({one.reason})' for one in kept)}",
            "make it readable, and run `rolekeeper fingerprint accept` again",
        )


def _set_threshold(world: World, settings: Settings, threshold: int, *, as_json: bool) -> int:
    with world.vault.lock(longest_wait_for_vault(settings)):
        contents = world.vault.load()
        node = _node(contents, settings)
        world.vault.save(replace(contents, node=replace(node, accepted=replace(node.accepted, threshold=threshold))))
    compose.signal_daemon(settings)
    if as_json:
        print_json({"threshold": threshold})
        return 0
    shown = "off: any hardware is taken for this machine" if threshold == THRESHOLD_OFF else f"{threshold}%"
    print(f"Similarity threshold: {shown}")
    return 0


def _print(compared: Comparison, *, as_json: bool) -> None:
    summary = compared.summary()
    if as_json:
        print_json({**fields(summary), "components": [fields(one) for one in compared.components]})
        return
    for one in compared.components:
        saved, current = (_shown(value) for value in (one.saved, one.current))
        note = one.reason or (f"{saved} -> {current}" if saved != current else saved)
        print(f"{one.name:17}{one.state:12}{note}")
    print(similarity.explain(summary))


def _shown(value: str | None) -> str:
    """A value cut to the table's width, or a word for an absent one."""
    if value is None:
        return "(not saved)"
    text = value.strip() or "(empty)"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
