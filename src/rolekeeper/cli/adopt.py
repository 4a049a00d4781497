"""`rolekeeper adopt`: SSM Agent's registration becomes ours; the agent's own files stay as they are."""

import argparse
import signal
from dataclasses import replace

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.adapters.vault import agent
from rolekeeper.attempt.adopt import Adoption, adopt
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.cli.sealing import seal_if_configured, take_over_drop_in
from rolekeeper.core import similarity
from rolekeeper.errors import RefusedError
from rolekeeper.model import Verdict

EXAMPLE = "systemctl disable --now amazon-ssm-agent && rolekeeper adopt"


def configure(parser: argparse.ArgumentParser) -> None:
    """From where, and how sure."""
    directory = agent.DEFAULT_DIRECTORY
    parser.add_argument("--from", dest="source", metavar="DIR", default=directory, help=f"default {directory}")
    parser.add_argument("--offline", action="store_true", help="do not ask the service whether it accepts it")
    parser.add_argument(
        "--force", action="store_true", help="adopt even if SSM Agent is running or this machine is already registered"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Take over."""
    keep_secrets_in_memory()
    if agent.agent_running(options.source) and not options.force:
        raise RefusedError(
            "agent-running",
            f"Cannot adopt: SSM Agent runs with the registration in {options.source}, and a key rotation by it or by "
            "rolekeeper would lock the other out",
            "`systemctl disable --now amazon-ssm-agent` first; --force for a test",
        )
    settings = compose.settings(options.config)
    found = agent.read_agent_vault(options.source)
    give_up_after(settings.daemon.attempt_timeout)
    vault = compose.vault(settings)
    world = replace(compose.world(settings), vault=vault)
    with vault.lock(longest_wait_for_vault(settings)):
        is_new_key = seal_if_configured(settings, vault)
        adoption = adopt(world, found, prove=not options.offline, replace_old=options.force)
    _print(adoption, as_json=options.json)
    if is_new_key:
        take_over_drop_in()
    compose.tell_daemon(settings, signal.SIGHUP)  # with the configuration of now
    return 0


def _print(adoption: Adoption, *, as_json: bool) -> None:
    node, summary = adoption.registration, adoption.comparison.summary()
    if as_json:
        print_json({"node_id": node.node_id, "region": node.region, "fingerprint": summary})
    else:
        print(f"Adopted {node.node_id} in {node.region}.")
    if summary.verdict is not Verdict.SIMILAR:
        say(
            f"this machine's hardware is not that of the registration: {similarity.explain(summary)}",
            "`rolekeeper fingerprint` shows the components; the service will refuse this machine until they match",
        )
