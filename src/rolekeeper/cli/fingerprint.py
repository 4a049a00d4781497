"""`rolekeeper fingerprint`: compares the current hardware with the hardware that the fingerprint is bound to."""

import argparse
import re
from dataclasses import replace
from typing import Any

from rolekeeper import compose
from rolekeeper.adapters.process import keep_secrets_in_memory
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.core import similarity
from rolekeeper.core.similarity import Comparison
from rolekeeper.errors import HardwareError, RefusedError, UnregisteredError, UsageError
from rolekeeper.model import SMBIOS_COMPONENTS, THRESHOLD_OFF, HardwareHash, Node, VaultContents, Verdict
from rolekeeper.ports import World
from rolekeeper.settings import Settings

EXAMPLE = "rolekeeper fingerprint check || rolekeeper fingerprint show"
PERCENTAGE = re.compile(r"[1-9][0-9]?|100")
SHOWN = 24  # characters of a value in the table
CODES = {Verdict.SIMILAR: 0, Verdict.NOT_SIMILAR: RefusedError.exit_code, Verdict.UNREADABLE: HardwareError.exit_code}


def configure(parser: argparse.ArgumentParser) -> None:
    """The action, its value, and --json."""
    actions = ("show", "check", "threshold")
    what = "show (default) prints every component; check exits 77 when not similar; threshold sets the share"
    parser.add_argument("action", nargs="?", default="show", choices=actions, help=what)
    parser.add_argument("value", nargs="?", help="for threshold: 1 to 100 percent, or off")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Show or check the hardware, or set the threshold."""
    if (options.action == "threshold") != (options.value is not None):
        hint = "write threshold N, with 1 to 100 percent, or threshold off; show and check take no value"
        raise UsageError("argument-missing", "threshold takes a value, show and check take none", hint)
    keep_secrets_in_memory()  # the vault is read whole, with the node key
    settings = compose.settings(options.config)
    world = compose.world(settings)
    if options.action == "threshold":
        return _set_threshold(world, settings, _threshold(options.value), as_json=options.json)
    contents = world.vault.load()
    accepted, hardware = _node(contents, settings).accepted, world.probe.look()
    report = similarity.judge(accepted, contents.measured, hardware)
    _print(report, as_json=options.json)
    if options.action == "show":
        return 0
    warn_of_machine_id(accepted.hardware_hash, hardware.hash)
    _warn_of_clones(accepted.hardware_hash, hardware.hash)
    return CODES[report.verdict]


def warn_of_machine_id(saved: HardwareHash, current: HardwareHash) -> None:
    """Warn when `machine-id`, which decides alone when it differs, is empty in the vault or now."""
    if not saved.get(similarity.MACHINE_ID, "").strip():
        say(
            "machine-id was empty or absent at the registration: a copy of this disk without one looks similar, and "
            "this machine stops being similar once it gets one",
            "run `systemd-machine-id-setup`, then `rolekeeper register --force` with a new activation",
        )
    elif not current.get(similarity.MACHINE_ID, "").strip():
        say("machine-id is empty or absent now, and it decides alone", "restore the content of /etc/machine-id")


def _warn_of_clones(saved: HardwareHash, current: HardwareHash) -> None:
    """Two empty components are equal: without SMBIOS a clone that keeps machine-id and host name matches in 6 of 9."""
    if not any(current.get(name) for name in SMBIOS_COMPONENTS):
        say(
            "the four SMBIOS components are empty: a copy of this disk on other hardware would look similar",
            "install dmidecode, on a machine that has SMBIOS tables",
        )
    elif not any(saved.get(name) for name in SMBIOS_COMPONENTS):
        say(
            "the four SMBIOS components were empty when the fingerprint was bound to them: a copy of this disk would "
            "look similar where they are empty",
            "register again with a new activation (`rolekeeper register --force`), to bind a fingerprint to them",
        )


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


def _set_threshold(world: World, settings: Settings, threshold: int, *, as_json: bool) -> int:
    with world.vault.lock(longest_wait_for_vault(settings)):
        contents = world.vault.load()
        node = _node(contents, settings)
        world.vault.save(replace(contents, node=replace(node, accepted=replace(node.accepted, threshold=threshold))))
    compose.tell_daemon(settings)
    if as_json:
        print_json({"threshold": threshold})
        return 0
    shown = "off: any hardware is taken for this machine" if threshold == THRESHOLD_OFF else f"{threshold}%"
    print(f"Similarity threshold: {shown}")
    return 0


def _print(report: Comparison, *, as_json: bool) -> None:
    summary = report.summary()
    if as_json:
        print_json({**_fields(summary), "components": [_fields(one) for one in report.components]})
        return
    for one in report.components:
        saved, current = (_shown(value) for value in (one.saved, one.current))
        note = one.reason or (f"{saved} -> {current}" if saved != current else saved)
        print(f"{one.name:17}{one.state:12}{note}")
    print(similarity.explain(summary))


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _shown(value: str | None) -> str:
    """A value cut to the table's width, or a word for an absent one."""
    if value is None:
        return "(not saved)"
    text = value.strip() or "(empty)"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
