"""The hybrid operations of SSM, as ports.NodeService (docs/protocol.md, sections 2 and 3).

No SDK has these operations. Each is a JSON object that is posted to the endpoint of the region. RegisterManagedInstance
is unsigned; the other two are signed with the node key.

The way of a call: `endpoints` says where it goes, `signing` signs it at the service's time (`servicetime`), `http`
sends it and reads the answer, and `answers` makes a value or an error of that.
"""

import json
from collections.abc import Mapping
from typing import Any

from rolekeeper.adapters.ssm.answers import Call, is_from_service, judge, node_id, role_token
from rolekeeper.adapters.ssm.endpoints import resolve
from rolekeeper.adapters.ssm.http import Answer, Wire
from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.ssm.servicetime import ServiceTime
from rolekeeper.adapters.ssm.signing import signed
from rolekeeper.model import NodeKey, Registration, TokenAnswer
from rolekeeper.ports import Clock
from rolekeeper.settings import ServiceSettings

_KEY_TYPE = "Rsa"
_CONTENT_TYPE = "application/x-amz-json-1.1"
_NO_PROXIES: Mapping[str, str] = {}


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
        call = Call(
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
        call = Call(
            "RequestManagedInstanceRoleToken",
            f"Cannot request a role token for {registration.node_id} in {registration.region}",
            registration.region,
            {"Fingerprint": fingerprint},
        )
        answer, fields = self._time.signed_well(lambda: self._send(call, registration))
        now = self._time.received_at(answer, fields.get("TokenExpirationDate"))
        token = role_token(call, answer, fields, now)
        return TokenAnswer(token, now, answer.received.boot, self._time.difference, answer.request_id)

    def update_public_key(self, registration: Registration, new_key: NodeKey) -> None:
        """UpdateManagedInstancePublicKey, signed with the current key; VaultError when either key is damaged."""
        call = Call(
            "UpdateManagedInstancePublicKey",
            f"Cannot replace the node key of {registration.node_id} in {registration.region}",
            registration.region,
            {"NewPublicKey": public_key(new_key), "NewPublicKeyType": _KEY_TYPE},
        )
        self._time.signed_well(lambda: self._send(call, registration))

    def _send(self, call: Call, signer: Registration | None) -> tuple[Answer, Mapping[str, Any]]:
        """One request, and its answer with the fields in it when that is a success."""
        endpoint = resolve("ssm", call.action, call.region, self._settings)
        body = json.dumps(call.parameters).encode("ascii")
        headers = {
            "host": endpoint.netloc,
            "content-type": _CONTENT_TYPE,
            "x-amz-target": f"AmazonSSM.{call.operation}",
        }
        if signer is not None:
            headers = signed(headers, endpoint.path, body, signer, self._time.now())
        answer = self._wire.exchange(call.action, endpoint, headers, body)
        self._time.measure(answer, genuine=is_from_service(answer))
        return answer, judge(call, answer)
