"""`rolekeeper export`: our registration in SSM Agent's layout, for the way back to the agent."""

import argparse

from rolekeeper import compose
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.adapters.vault import agent
from rolekeeper.attempt.run import longest_wait_for_vault
from rolekeeper.errors import RefusedError

EXAMPLE = f"systemctl disable --now rolekeeper && rolekeeper export --to {agent.DEFAULT_DIRECTORY}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.add_argument(
        "--to", dest="target", metavar="DIR", required=True, help=f"the agent's own is {agent.DEFAULT_DIRECTORY}"
    )


def run(options: argparse.Namespace) -> int:
    """Write it. Our vault keeps the registration, until `rolekeeper clear`."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    give_up_after(settings.daemon.attempt_timeout)
    if agent.agent_running(options.target):
        raise RefusedError(
            "agent-running",
            f"Cannot export: SSM Agent runs with the registration in {options.target}",
            "`systemctl stop amazon-ssm-agent` first",
        )
    vault = compose.vault(settings)
    with vault.lock(longest_wait_for_vault(settings)):
        contents = vault.load()
        if contents.node is None:
            raise RefusedError(
                "unregistered",
                f"Cannot export: no registration in the vault {settings.vault_directory}",
                "register with `rolekeeper register`, or name the configuration with --config",
            )
        if contents.pending_key is not None:
            raise RefusedError(
                "key-change-pending",
                "Cannot export: the node key is being changed, and the agent's vault holds one key only",
                "`rolekeeper refresh` completes it",
            )
        agent.write_agent_vault(options.target, contents.node)
    print(f"Exported {contents.node.registration.node_id} to {options.target}.")
    return 0
