"""`rolekeeper deregister`: the managed node ends in AWS, and this machine forgets its registration."""

import argparse
from functools import partial

from rolekeeper import compose
from rolekeeper.adapters import operator
from rolekeeper.adapters.process import give_up_after, keep_secrets_in_memory
from rolekeeper.attempt import deregister
from rolekeeper.cli.clear import confirmed, forget, refuse_while_daemon_registers_anew
from rolekeeper.errors import RefusedError, UnregisteredError
from rolekeeper.model import Registration
from rolekeeper.ports import Vault

EXAMPLE = "AWS_PROFILE=admin rolekeeper deregister"


def configure(parser: argparse.ArgumentParser) -> None:
    """With whose credentials; scripts say yes beforehand."""
    parser.add_argument(
        "--as-node",
        action="store_true",
        help="use the node's own role, which needs ssm:DeregisterManagedInstance; default is your own credentials, "
        "found as the AWS CLI finds them",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Deregister in AWS, then forget; if it is cut off, run the same command again."""
    keep_secrets_in_memory()
    settings = compose.settings(options.config)
    contents = compose.vault(settings).load()
    if contents.node is None:
        raise UnregisteredError(
            "unregistered",
            f"Cannot deregister: no registration in the vault {settings.vault_directory}",
            "name the configuration with --config; a node of another machine: `aws ssm deregister-managed-instance`",
        )
    node, service = contents.node, compose.service(settings)
    registration = node.registration
    question = f"Deregister {registration.node_id} in {registration.region}, and forget the registration here?"
    if not options.yes and not confirmed(question, "deregister"):
        print("Nothing was changed.")
        return 0
    refuse_while_daemon_registers_anew(settings)
    if options.as_node:
        give_up_after(settings.daemon.attempt_timeout)
        was_there = deregister.as_node(contents, node, service, service)
    else:
        by_operator = partial(operator.deregister, settings=settings.service)
        was_there = deregister.with_operator(contents, node, service, by_operator)
    forget(settings, partial(_refuse_another, registration))
    done = "Deregistered {}" if was_there else "{} was deregistered already"
    print(f"{done.format(registration.node_id)}; forgot the registration. Credentials stay valid until they expire.")
    return 0


def _refuse_another(gone: Registration, vault: Vault) -> None:
    """RefusedError when the vault holds another node by now."""
    now = vault.load().registration
    if now is not None and now.node_id != gone.node_id:
        raise RefusedError(
            "already-registered",
            f"Deregistered {gone.node_id}; the vault keeps {now.node_id}, which was registered meanwhile",
            "nothing else is to be done",
        )
