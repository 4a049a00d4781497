"""`rolekeeper adopt`: SSM Agent's registration becomes ours; the agent's own files stay as they are.

Programs go on reading where the agent published, so what its configuration has and ours lacks is said, and written down
on request. Without --from it is this machine's agent; the configuration and the unit of an agent on another disk are
not looked for here.
"""

import argparse
import signal

from rolekeeper import compose
from rolekeeper.adapters import agentconfig
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.adapters.supervision import unit
from rolekeeper.adapters.vault import agent
from rolekeeper.attempt.adopt import Adoption, adopt
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.cli import agentfragment
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.cli.sealing import seal_if_configured, take_over_drop_in
from rolekeeper.core import agentsettings, similarity
from rolekeeper.core.agentsettings import AgentSettings, Difference
from rolekeeper.errors import RefusedError, RolekeeperError
from rolekeeper.model import Verdict
from rolekeeper.values import replace

EXAMPLE = "systemctl disable --now amazon-ssm-agent && rolekeeper adopt --write-config"
HOW_TO_WRITE = "`rolekeeper adopt --write-config` writes conf.d/ssm-agent.toml; or change the configuration by hand"


def configure(parser: argparse.ArgumentParser) -> None:
    """From where, and how sure."""
    directory = agent.DEFAULT_DIRECTORY
    parser.add_argument("--from", dest="source", metavar="DIR", help=f"the agent's vault, default {directory}")
    parser.add_argument(
        "--agent-config",
        metavar="FILE",
        help=f"the agent's configuration, default {agentconfig.DEFAULT_CONFIGURATION}; with --from none",
    )
    parser.add_argument(
        "--write-config",
        action="store_true",
        help="write what the agent's configuration has and ours lacks to conf.d/ssm-agent.toml",
    )
    parser.add_argument("--offline", action="store_true", help="do not ask the service whether it accepts it")
    parser.add_argument(
        "--force", action="store_true", help="adopt even if SSM Agent is running or this machine is already registered"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Take over."""
    keep_secrets_in_memory()
    source = options.source or agent.DEFAULT_DIRECTORY
    if agent.agent_running(source) and not options.force:
        raise RefusedError(
            "agent-running",
            f"Cannot adopt: SSM Agent runs with the registration in {source}, and a key rotation by it or by "
            "rolekeeper would lock the other out",
            "`systemctl disable --now amazon-ssm-agent` first; --force for a test",
        )
    settings = compose.settings(options.config)
    found = agent.read_agent_vault(source)
    give_up_after(settings.daemon.attempt_timeout)
    vault = compose.vault(settings)
    world = replace(compose.world(settings), vault=vault)
    with vault.lock(longest_wait_for_vault(settings)):
        is_new_key = seal_if_configured(settings, vault)
        adoption = adopt(world, found, prove=not options.offline, replace_old=options.force)
    try:
        _take_over_settings(options, adoption, source)
    finally:  # the registration was adopted, whatever becomes of the configuration
        if is_new_key:
            take_over_drop_in()
        compose.signal_daemon(settings, signal.SIGHUP)  # with the configuration of now
    return 0


def _take_over_settings(options: argparse.Namespace, adoption: Adoption, source: str) -> None:
    """Say how the agent's configuration differs from ours, and write what ours lacks if that is wanted."""
    node = adoption.registration
    theirs = _agents_settings(options, source)
    differences = agentsettings.differences(theirs, compose.settings(options.config), node.region)
    wrote = ""
    if options.write_config:
        try:
            wrote = agentfragment.write(options.config, theirs, node.region)
        except RolekeeperError:
            say(f"adopted {node.node_id} in {node.region}, but not the agent's configuration")
            raise
    _print(adoption, differences, wrote, as_json=options.json)


def _agents_settings(options: argparse.Namespace, source: str) -> AgentSettings:
    """What the agent was configured to do, with a warning for each thing that cannot be read."""
    is_here = options.source is None
    configuration = options.agent_config or (agentconfig.DEFAULT_CONFIGURATION if is_here else None)
    environment: dict[str, str] = {}
    for name in agentconfig.UNITS if is_here else ():
        environment |= unit.environment(name)
    theirs, warnings = agentconfig.read(source, configuration, environment)
    for warning in warnings:
        say(f"warning: SSM Agent's configuration: {warning}")
    return theirs


def _print(adoption: Adoption, differences: tuple[Difference, ...], wrote: str, *, as_json: bool) -> None:
    node, summary = adoption.registration, adoption.comparison.summary()
    texts = [one.text for one in differences]
    if as_json:
        facts = {"node_id": node.node_id, "region": node.region, "fingerprint": summary}
        print_json({**facts, "differences": texts, "wrote": wrote or None})
    else:
        print(f"Adopted {node.node_id} in {node.region}.")
        for text in texts:
            say(text)
        if wrote:
            print(f"Wrote {wrote}.")
        elif any(one.table for one in differences):
            say("programs that read what SSM Agent wrote, or need its settings, would be left without", HOW_TO_WRITE)
    if summary.verdict is not Verdict.SIMILAR:
        say(
            f"this machine's hardware is not that of the registration: {similarity.explain(summary)}",
            "`rolekeeper fingerprint` shows the components; if this is the machine, `rolekeeper fingerprint accept`",
        )
