"""How an administrator sees managed nodes (docs/protocol.md, section 2.5)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import Account, Node
from rolekeeper.emulator.calls import Access, Call, Done, Operation, epoch
from rolekeeper.emulator.constraints import Members, Rule, Several, Text
from rolekeeper.emulator.messages import AnswerError

ONLINE_FOR = timedelta(minutes=10)  # SSM Agent reports every five minutes; one report may be lost

DESCRIBE: Mapping[str, Rule] = {
    "Filters": Several(
        Members(
            {
                "Key": Text(required=True, shortest=1),
                "Values": Several(Text(shortest=1), shortest=1, longest=100, required=True),
            }
        )
    ),
    "InstanceInformationFilterList": Several(Members(), longest=0),  # the older form, which the emulator does not know
}
# The filters, by the member that each compares.
_FILTERS: Mapping[str, str] = {
    "InstanceIds": "InstanceId",
    "ActivationIds": "ActivationId",
    "IamRole": "IamRole",
    "PingStatus": "PingStatus",
    "PlatformTypes": "PlatformType",
}
_REPORTED = ("AgentVersion", "PlatformType", "PlatformName", "PlatformVersion", "IPAddress", "ComputerName")


def describe(account: Account, call: Call) -> Done:
    """List nodes. A node without a recent health report is ConnectionLost."""
    found = [_described(node, call) for node in account.nodes.values()]
    for one in call.input.get("Filters") or ():
        key, values = one["Key"], one["Values"]
        if key not in _FILTERS:
            raise AnswerError("InvalidFilterKey", f"The filter key {key} isn't valid.")
        found = [facts for facts in found if facts.get(_FILTERS[key]) in values]
    return account, {"InstanceInformationList": found}


def _described(node: Node, call: Call) -> dict[str, Any]:
    online = node.last_seen_at is not None and call.now - node.last_seen_at < ONLINE_FOR
    report = dict(node.report)
    facts = {
        "InstanceId": node.node_id,
        "PingStatus": "Online" if online else "ConnectionLost",
        "LastPingDateTime": node.last_seen_at and epoch(node.last_seen_at),
        "ActivationId": node.activation_id,
        "IamRole": node.role,
        "RegistrationDate": epoch(node.registered_at),
        "ResourceType": "ManagedInstance",
        "Name": node.name,
        **{name: report.get(name) for name in _REPORTED},
    }
    return {name: value for name, value in facts.items() if value}


NODE_OPERATIONS: Mapping[str, Operation] = {
    "DescribeInstanceInformation": Operation(Access.ADMINISTRATOR, DESCRIBE, describe),
}
