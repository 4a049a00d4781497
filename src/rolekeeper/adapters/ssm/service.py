"""The hybrid operations of SSM, as ports.NodeService and ports.RoleCalls (docs/protocol.md, sections 2 and 3).

No SDK has the hybrid operations. Each is a JSON object that is posted to the endpoint of the region.
RegisterManagedInstance is unsigned; the next two are signed with the node key, and those of ports.RoleCalls with the
node's role token. botocore has DeregisterManagedInstance, too, but what it reads of the user's would have to be kept
from it, and its model of SSM is larger than all that is loaded here.

The way of a call: `endpoints` says where it goes, `signing` signs it at the service's time (`servicetime`), `http`
sends it and reads the answer, and `answers` makes a value or an error of that.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rolekeeper.adapters.ssm.answers import ServiceCall, is_from_service, judge, node_id, role_token
from rolekeeper.adapters.ssm.endpoints import resolve
from rolekeeper.adapters.ssm.http import Answer, Wire
from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.ssm.servicetime import ServiceTime
from rolekeeper.adapters.ssm.signing import signed, signed_with_token
from rolekeeper.errors import ServiceRefusedError
from rolekeeper.model import HealthFacts, NodeKey, Registration, RoleToken, TokenAnswer
from rolekeeper.ports import Clock
from rolekeeper.settings import ServiceSettings

_KEY_TYPE = "Rsa"
CONTENT_TYPE = "application/x-amz-json-1.1"
_AGENT_NAME = "amazon-ssm-agent"  # the name that the service knows; nothing shows it
_NO_PROXIES: Mapping[str, str] = {}

Sign = Callable[[Mapping[str, str], str, bytes, datetime], dict[str, str]]
"""Headers, path, body and the service's time: the headers with date and signature."""


class SsmService:
    """SSM as the settings say it is reached.

    `version` is rolekeeper's, for the user agent; `environment` has HTTPS_PROXY and its like.
    """

    def __init__(
        self, settings: ServiceSettings, clock: Clock, version: str, environment: Mapping[str, str] = _NO_PROXIES
    ) -> None:
        self._settings = settings
        self._time = ServiceTime(clock)
        self._wire = Wire(settings, clock, version, environment)

    def register(self, region: str, activation_id: str, code: str, fingerprint: str, key: NodeKey) -> str:
        """RegisterManagedInstance; returns the node id."""
        call = ServiceCall(
            "RegisterManagedInstance",
            f"Cannot register this machine in {region}",
            region,
            {
                "ActivationCode": code,
                "ActivationId": activation_id,
                "Fingerprint": fingerprint,
                "PublicKey": public_key(key),
                "PublicKeyType": _KEY_TYPE,
            },
        )
        answer, fields = self._send(call, None)
        return node_id(call, answer, fields)

    def request_role_token(self, registration: Registration, fingerprint: str) -> TokenAnswer:
        """RequestManagedInstanceRoleToken, signed with the registration's key; VaultError when that is damaged."""
        call = ServiceCall(
            "RequestManagedInstanceRoleToken",
            f"Cannot request a role token for {registration.node_id} in {registration.region}",
            registration.region,
            {"Fingerprint": fingerprint},
        )
        answer, fields = self._time.signed_well(lambda: self._send(call, _by_node(registration)))
        now = self._time.received_at(answer, fields.get("TokenExpirationDate"))
        token = role_token(call, answer, fields, now)
        return TokenAnswer(token, now, answer.received.boot, self._time.difference, answer.request_id)

    def update_public_key(self, registration: Registration, new_key: NodeKey) -> None:
        """UpdateManagedInstancePublicKey, signed with the current key; VaultError when either key is damaged."""
        call = ServiceCall(
            "UpdateManagedInstancePublicKey",
            f"Cannot replace the node key of {registration.node_id} in {registration.region}",
            registration.region,
            {"NewPublicKey": public_key(new_key), "NewPublicKeyType": _KEY_TYPE},
        )
        self._time.signed_well(lambda: self._send(call, _by_node(registration)))

    def report_health(self, registration: Registration, token: RoleToken, facts: HealthFacts) -> None:
        """UpdateInstanceInformation, signed with the node's role token, in the form in which SSM Agent reports."""
        action = f"Cannot report {registration.node_id} in {registration.region} as online"
        said = {
            "AgentName": _AGENT_NAME,
            "AgentStatus": "Active",
            "AgentVersion": facts.agent_version,
            "AvailabilityZone": "",
            "AvailabilityZoneId": "",
            "ComputerName": facts.computer_name,
            "IPAddress": facts.ip_address,
            "PlatformName": facts.platform_name,
            "PlatformType": "Linux",
            "PlatformVersion": facts.platform_version,
            "SSMConnectionChannel": "",
        }
        may_be_empty = ("AvailabilityZone", "AvailabilityZoneId", "SSMConnectionChannel")
        parameters = {name: value for name, value in said.items() if value or name in may_be_empty}
        self._call_with_role("UpdateInstanceInformation", action, registration, token, parameters)

    def deregister(self, registration: Registration, token: RoleToken) -> None:
        """DeregisterManagedInstance, signed with the node's role token."""
        action = f"Cannot deregister {registration.node_id} in {registration.region}"
        self._call_with_role("DeregisterManagedInstance", action, registration, token, {})

    def _call_with_role(
        self, operation: str, action: str, node: Registration, token: RoleToken, parameters: Mapping[str, str]
    ) -> None:
        secrets = (token.access_key_id, token.secret_access_key, token.session_token)
        call = ServiceCall(operation, action, node.region, {"InstanceId": node.node_id, **parameters}, secrets)
        try:
            self._time.signed_well(lambda: self._send(call, _by_role(token, node.region)))
        except ServiceRefusedError as refused:
            if refused.code.removesuffix("Exception") != "AccessDenied":
                raise
            hint = f"give the node's role the permission ssm:{operation}, and see that no policy denies it"
            raise ServiceRefusedError(refused.code, refused.message, hint, refused.request_id) from refused

    def _send(self, call: ServiceCall, sign: Sign | None) -> tuple[Answer, Mapping[str, Any]]:
        """One request, and its answer with the fields in it when that is a success."""
        endpoint = resolve("ssm", call.action, call.region, self._settings)
        body = json.dumps(call.parameters).encode("ascii")
        headers = {
            "host": endpoint.netloc,
            "content-type": CONTENT_TYPE,
            "x-amz-target": f"AmazonSSM.{call.operation}",
        }
        if sign is not None:
            headers = sign(headers, endpoint.path, body, self._time.now())
        answer = self._wire.exchange(call.action, endpoint, headers, body)
        self._time.measure(answer, genuine=is_from_service(answer))
        return answer, judge(call, answer)


def _by_node(node: Registration) -> Sign:
    return lambda headers, path, body, at: signed(headers, path, body, node, at)


def _by_role(token: RoleToken, region: str) -> Sign:
    return lambda headers, path, body, at: signed_with_token(headers, path, body, token, region, at)
