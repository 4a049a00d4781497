"""One health report: Systems Manager shows the node as online (docs/protocol.md, section 2.4).

It uses the token that the vault keeps for it, and never requests one. It takes no lock and changes nothing, so it is
never in the way of a refresh: the vault is replaced whole, and read whole. Without a token that is still good there is
nothing to report with; the next refresh brings one.
"""

from datetime import timedelta

from rolekeeper.core import lifetime
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import HealthFacts, HealthReported, HeldToken
from rolekeeper.ports import Clock, RoleCalls, Vault


def report(vault: Vault, clock: Clock, calls: RoleCalls, facts: HealthFacts) -> HealthReported:
    """Report the node, and what came of it."""
    node_id = None
    try:
        contents = vault.load()
        node, held = contents.node, contents.held_token
        if node is None or held is None or held.issue.node_id != node.registration.node_id or not _is_good(held, clock):
            return HealthReported(is_due=False)
        node_id = node.registration.node_id
        calls.report_health(node.registration, held.token, facts)
    except RolekeeperError as error:
        return HealthReported(node_id, code=error.code, message=error.message, hint=error.hint)
    return HealthReported(node_id)


def _is_good(held: HeldToken, clock: Clock) -> bool:
    """Whether the token has not expired, as far as this boot knows."""
    now = clock.now()
    life = lifetime.of_issue(held.issue, clock.boot_id(), now)
    return life is not None and life.expires_at - life.issued_at - lifetime.age(life, now) > timedelta(0)
