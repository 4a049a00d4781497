"""What an administrator asks about managed nodes (docs/protocol.md, section 2.5)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from rolekeeper.emulator.account import Account, Node
from rolekeeper.emulator.activations import ROLE
from rolekeeper.emulator.calls import Access, Call, Done, Operation, epoch, page
from rolekeeper.emulator.constraints import Members, Rule, Several, Text, Whole
from rolekeeper.emulator.hybrid import NODE_ID, unknown_node
from rolekeeper.emulator.messages import AnswerError

PAGE = 50
ONLINE_FOR = timedelta(minutes=10)  # SSM Agent reports every five minutes; one report may be lost

_VALUES = Several(Text(shortest=1), shortest=1, longest=100, required=True)

DESCRIBE: Mapping[str, Rule] = {
    "InstanceInformationFilterList": Several(Members({"key": Text(required=True), "valueSet": _VALUES})),
    "Filters": Several(Members({"Key": Text(required=True, shortest=1), "Values": _VALUES})),
    "MaxResults": Whole(5, PAGE),
    "NextToken": Text(),
}
DEREGISTER: Mapping[str, Rule] = {"InstanceId": NODE_ID}
UPDATE_ROLE: Mapping[str, Rule] = {"InstanceId": NODE_ID, "IamRole": ROLE}


def deregister(account: Account, call: Call) -> Done:
    """Forget a node; the tokens that it holds work until they expire, as in AWS."""
    return account.without_node(_node(account, call).node_id), {}


def update_role(account: Account, call: Call) -> Done:
    """Give a node another role, from its next token on."""
    return account.with_node(replace(_node(account, call), role=call.input["IamRole"])), {}


def _node(account: Account, call: Call) -> Node:
    node = account.nodes.get(call.input["InstanceId"])
    if node is None:
        raise unknown_node(call.input["InstanceId"])
    return node


def describe(account: Account, call: Call) -> Done:
    """List nodes. One that never reported, or not lately, is ConnectionLost."""
    described = [_described(node, call) for node in account.nodes.values()]
    for key, values in _filters(call):
        described = [facts for facts in described if _matches(facts, account.nodes[facts["InstanceId"]], key, values)]
    shown, more = page(described, call, PAGE)
    return account, {"InstanceInformationList": list(shown), **more}


def _filters(call: Call) -> Iterable[tuple[str, list[str]]]:
    old, new = call.input.get("InstanceInformationFilterList") or (), call.input.get("Filters") or ()
    if old and new:
        reason = "InstanceInformationFilterList and Filters can't be used together."
        raise AnswerError("ValidationException", reason)
    yield from ((one["key"], one["valueSet"]) for one in old)
    yield from ((one["Key"], one["Values"]) for one in new)


_FILTERS: Mapping[str, str] = {
    "InstanceIds": "InstanceId",
    "AgentVersion": "AgentVersion",
    "PingStatus": "PingStatus",
    "PlatformTypes": "PlatformType",
    "ActivationIds": "ActivationId",
    "IamRole": "IamRole",
    "ResourceType": "ResourceType",
}


def _matches(facts: Mapping[str, Any], node: Node, key: str, values: list[str]) -> bool:
    if key in _FILTERS:
        return facts.get(_FILTERS[key]) in values
    tag, is_tag = key.removeprefix("tag:"), key.startswith("tag:")
    if not is_tag:
        raise AnswerError("InvalidFilterKey", f"The filter key {key} isn't valid.")
    return dict(node.tags).get(tag) in values


# A node's report under the names of the list; the ones left out here have no place in it.
_LISTED = ("AgentVersion", "PlatformType", "PlatformName", "PlatformVersion", "IPAddress", "ComputerName")
_OPTIONAL: Mapping[str, Callable[[Node], Any]] = {
    "Name": lambda node: node.name,
    "LastPingDateTime": lambda node: node.last_seen_at and epoch(node.last_seen_at),
}


def _described(node: Node, call: Call) -> dict[str, Any]:
    online = node.last_seen_at is not None and call.now - node.last_seen_at < ONLINE_FOR
    report = dict(node.report)
    optional = {name: read(node) for name, read in _OPTIONAL.items()} | {name: report.get(name) for name in _LISTED}
    return {
        "InstanceId": node.node_id,
        "PingStatus": "Online" if online else "ConnectionLost",
        "ActivationId": node.activation_id,
        "IamRole": node.role,
        "RegistrationDate": epoch(node.registered_at),
        "ResourceType": "ManagedInstance",
        **{name: value for name, value in optional.items() if value},
    }


NODE_OPERATIONS: Mapping[str, Operation] = {
    "DescribeInstanceInformation": Operation(Access.ADMINISTRATOR, DESCRIBE, describe),
    "DeregisterManagedInstance": Operation(Access.ADMINISTRATOR, DEREGISTER, deregister),
    "UpdateManagedInstanceRole": Operation(Access.ADMINISTRATOR, UPDATE_ROLE, update_role),
}
