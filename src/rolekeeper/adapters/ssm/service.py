"""The hybrid operations of SSM over botocore, as ports.NodeService (docs/protocol.md, sections 2 and 3).

The rules:

1. RegisterManagedInstance is unsigned; the other two are signed with the node key, anew for every request.
2. The clock difference is the answer's Date minus the middle of sending and receiving. It is taken only from an answer
   of the service itself: one with x-amzn-RequestId and a JSON object, and without Age, which marks a cache's answer. A
   second or less is none: Date has no finer resolution.
3. It is used for signing after a refused signature, or when it is over 4 minutes (the service tolerates 5). If that
   changes the signing time, a refused request goes out once more: two requests a call at most.
4. What was measured is kept as the service's time at a moment of the boot clock, so that a step of the wall clock
   meanwhile changes nothing. It lives as long as this object, and is never stored.
5. A service that has accepted a signature is near the time of that signature. A Date that is a quarter of an hour or
   more from it is believed only where it makes the token's life the shorter one, or the only usable one.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import EndpointVariantError

from rolekeeper.adapters.ssm.answers import Call, is_from_service, is_usable_expiry, judge, node_id, role_token
from rolekeeper.adapters.ssm.client import ModelLoader, NodeCredentials, new_client, silence_libraries
from rolekeeper.adapters.ssm.failures import EXCEPTIONS, failure_error
from rolekeeper.adapters.ssm.http import Answer, Wire, as_botocore_response, trust_store
from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.errors import ServiceRefusedError, SignatureRefusedError
from rolekeeper.identifiers import REGION
from rolekeeper.model import Instant, NodeKey, Registration, ServiceSettings, TokenAnswer
from rolekeeper.ports import Clock

_KEY_TYPE = "Rsa"
_NONE = timedelta(0)
_RESOLUTION = timedelta(seconds=1)
_LARGE = timedelta(minutes=4)
_CONTRADICTORY = timedelta(minutes=15)  # no service accepts a signature that is so far from its clock
_PLAUSIBLE_YEARS = range(2020, 2200)  # of the service's clock; ours may be back in 1970


class SsmService:
    """SSM as the settings say it is reached; `version` is rolekeeper's, for the user agent."""

    def __init__(self, settings: ServiceSettings, clock: Clock, version: str) -> None:
        silence_libraries()
        self._settings = settings
        self._clock = clock
        self._version = version
        self._loader = ModelLoader()
        # Rule 4: the `wall` of these is what a clock showed at `boot`, and not always our own wall clock.
        self._measured: Instant | None = None  # the service's clock, as the last answer told; None when it did not
        self._reference: Instant | None = None  # the same, once signatures go by it; None: they go by ours
        self._signed: Instant | None = None  # whichever it was, at the last signature

    def register(self, region: str, activation_id: str, code: str, fingerprint: str, key: NodeKey) -> str:
        """RegisterManagedInstance; returns the node id."""
        call = Call(
            "RegisterManagedInstance",
            f"Cannot register this machine in {region}",
            {
                "ActivationCode": code,
                "ActivationId": activation_id,
                "Fingerprint": fingerprint,
                "PublicKey": public_key(key),
                "PublicKeyType": _KEY_TYPE,
            },
        )
        return node_id(call, *self._send(call, region, None))

    def request_role_token(self, registration: Registration, fingerprint: str) -> TokenAnswer:
        """RequestManagedInstanceRoleToken, signed with the registration's key; VaultError when that is damaged."""
        call = Call(
            "RequestManagedInstanceRoleToken",
            f"Cannot request a role token for {registration.node_id} in {registration.region}",
            {"Fingerprint": fingerprint},
        )
        answer, fields = self._send_signed(call, registration)
        now = self._received_at(answer, fields.get("TokenExpirationDate"))
        token = role_token(call, answer, fields, now)
        return TokenAnswer(token, now, answer.received.boot, clock_difference(answer), answer.request_id)

    def update_public_key(self, registration: Registration, new_key: NodeKey) -> None:
        """UpdateManagedInstancePublicKey, signed with the current key; VaultError when either key is damaged."""
        call = Call(
            "UpdateManagedInstancePublicKey",
            f"Cannot replace the node key of {registration.node_id} in {registration.region}",
            {"NewPublicKey": public_key(new_key), "NewPublicKeyType": _KEY_TYPE},
        )
        self._send_signed(call, registration)

    def _send_signed(self, call: Call, registration: Registration) -> tuple[Answer, Mapping[str, Any]]:
        """Rule 3: once, and once more when the answer to the first tells that it was signed with a wrong time."""
        try:
            return self._send(call, registration.region, registration)
        except ServiceRefusedError as refusal:
            tolerated = _RESOLUTION if isinstance(refusal, SignatureRefusedError) else _LARGE
            if self._signing_error() <= tolerated:
                raise
            self._reference = self._measured
        return self._send(call, registration.region, registration)

    def _signing_error(self) -> timedelta:
        """How far the last signature's time was from the service's, as the answer told; none when it did not tell."""
        if self._measured is None or self._signed is None:
            return _NONE
        return abs(_later(self._signed, self._measured.boot) - self._measured.wall)

    def _received_at(self, answer: Answer, expiry: Any) -> datetime:
        """Rule 5: the service's time when the answer came that accepted our signature and holds this expiry."""
        assert self._signed is not None  # noqa: S101 - the request was signed
        by_signature = _later(self._signed, answer.received.boot)
        if self._measured is None:
            return by_signature
        # The latest that Date allows: a machine that was suspended meanwhile does not know for how long it waited.
        by_date = self._measured.wall + (answer.received.boot - answer.sent.boot) / 2
        if abs(by_date - by_signature) < _CONTRADICTORY:
            return by_date
        earlier, later = sorted((by_date, by_signature))
        return later if is_usable_expiry(expiry, later) else earlier

    def _send(self, call: Call, region: str, signer: Registration | None) -> tuple[Answer, Mapping[str, Any]]:
        """One request, and its answer when that is a success."""
        wire = Wire(self._settings, self._clock, trust_store(self._settings.ca_bundle))
        answers: list[Answer] = []

        def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
            answers.append(wire.exchange(request))
            self._measure(answers[-1])
            judge(call, answers[-1])
            return as_botocore_response(request.url, answers[-1])

        client = self._client(call, region, signer, send)
        try:
            fields = getattr(client, xform_name(call.operation))(**call.parameters)
        except EXCEPTIONS as error:  # which may hold the request: nothing of it goes along
            raise failure_error(call.action, error, call.parameters.values(), self._clock.now().wall) from None
        finally:
            client.close()
        return answers[-1], fields

    def _client(self, call: Call, region: str, signer: Registration | None, send: Callable[..., AWSResponse]) -> Any:
        if not REGION.fullmatch(region):
            raise ServiceRefusedError(
                "region-unknown",
                f"{call.action}: that is not the name of an AWS region",
                "write the region's code, such as us-east-1 or eu-central-1; for FIPS endpoints set service.fips",
            )
        credentials = NodeCredentials(signer.node_id, signer.key, self._signing_time) if signer else None
        try:
            return new_client(self._loader, region, self._settings, self._version, credentials, send)
        except EndpointVariantError as error:
            raise failure_error(call.action, error, (), self._clock.now().wall) from None
        except ValueError as error:
            raise ServiceRefusedError(
                "endpoint-not-available",
                f"{call.action}: service.endpoint_url is not the URL of a service",
                "write it as https://HOST or https://HOST:PORT, or leave it out for AWS's own endpoint",
            ) from error

    def _signing_time(self) -> datetime:
        now = self._clock.now()
        time = now.wall if self._reference is None else _later(self._reference, now.boot)
        self._signed = Instant(time, now.boot)
        return time

    def _measure(self, answer: Answer) -> None:
        difference = clock_difference(answer)
        self._measured = None if difference is None else _service_time(answer, difference)
        if difference is not None and abs(difference) > _LARGE:
            self._reference = self._measured


def _later(known: Instant, boot: timedelta) -> datetime:
    """The time at `boot` by a clock that showed `known`."""
    return known.wall + (boot - known.boot)


def _service_time(answer: Answer, difference: timedelta) -> Instant:
    """The service's time when the answer came: never by `received.wall`, for the clock may have stepped since."""
    return Instant(_later(answer.sent, answer.received.boot) + difference, answer.received.boot)


def clock_difference(answer: Answer) -> timedelta | None:
    """The service's clock minus ours by rule 2; None when the answer does not tell."""
    if not is_from_service(answer) or "age" in answer.headers:
        return None
    try:
        date = parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, OverflowError):  # the latter for numbers that no integer of C holds
        return None
    if date.year not in _PLAUSIBLE_YEARS:
        return None
    middle = answer.sent.wall + (answer.received.boot - answer.sent.boot) / 2
    difference = date.replace(tzinfo=date.tzinfo or UTC) - middle
    return _NONE if abs(difference) <= _RESOLUTION else difference
