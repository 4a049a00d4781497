"""Roles by sts:AssumeRole, as ports.RoleService.

botocore, the core of boto3, builds the request and signs it with the node's role token; `ssm.http` sends it. So a
role's request keeps every promise of the node's own: proxy, trust store, time limits, one bounded answer, no redirect,
and the same words when the network fails. The rules:

1. Only what is handed over here reaches botocore: nothing of ~/.aws, no AWS_* variable, profile, plugin or model of the
   user's, no instance metadata. The session is built without botocore's handlers and with constants for its variables.
2. The endpoint is the region's own, by the same rules as SSM's, or `service.sts_endpoint_url`; never the global one.
3. A request is signed at the service's time (`ssm.servicetime`), and goes out once; once more when the answer shows
   that the clocks differ. There is no other retry.
4. An answer is XML with AssumeRoleResponse or ErrorResponse at its root. It is read here, because an answer of another
   form makes botocore's parser raise errors of any kind.
5. botocore, and what reads XML, is imported when a role is assumed, and not before. boto3 is not: it takes another
   tenth of the time, for resources that one request does without.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rolekeeper.adapters.ssm.answers import CLEAR_STATUSES, FIELDS, OTHER_REGION, SUCCESS, is_usable_expiry, presentable
from rolekeeper.adapters.ssm.codes import CLOCK, Meaning, meaning
from rolekeeper.adapters.ssm.endpoints import Url, botocore_file, resolve
from rolekeeper.adapters.ssm.http import Answer, Wire
from rolekeeper.adapters.ssm.servicetime import ServiceTime
from rolekeeper.adapters.ssm.signing import TIME_FORMAT
from rolekeeper.errors import RoleRefusedError, ServiceError, ServiceRefusedError, SignatureRefusedError
from rolekeeper.model import Registration, RoleToken, TokenAnswer
from rolekeeper.ports import Clock
from rolekeeper.settings import Role, ServiceSettings
from rolekeeper.values import Value

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

_API_VERSION = "2011-06-15"
_LARGEST_POLICY = 64 * 1024  # bytes; AWS allows 2,048 characters

_POLICY = "correct the role's policy_file and policy_arns"
_TIME = Meaning(SignatureRefusedError, CLOCK)
_FORM = Meaning(
    RoleRefusedError, "check the role's arn, session_name, external_id, tags and duration (at most 1h for a node)"
)
ROLE_MEANINGS: Mapping[str, Meaning] = {
    "AccessDenied": Meaning(
        RoleRefusedError,
        "check the trust policy of this role: it must let the node's role assume it (with the external_id, and with "
        "sts:TagSession for tags); and check that the node's role has the permission sts:AssumeRole for this role",
        "role-refused",
    ),
    "MalformedPolicyDocument": Meaning(RoleRefusedError, _POLICY, "role-policy-refused"),
    "PackedPolicyTooLarge": Meaning(
        RoleRefusedError, f"{_POLICY}, and tags: together they are too large", "role-policy-too-large"
    ),
    "RegionDisabled": Meaning(
        RoleRefusedError,
        "enable STS for this region in the account, or name another region's endpoint in service.sts_endpoint_url",
        "region-disabled",
    ),
    "ExpiredToken": Meaning(
        ServiceError,
        "nothing at first: the next token of the node comes by itself; if it stays so, set the clock",
        "role-token-expired",
    ),
    "InvalidClientTokenId": Meaning(
        RoleRefusedError, "check that service.sts_endpoint_url, when set, is of the node's partition and region"
    ),
    "SignatureDoesNotMatch": _TIME,
    "InvalidSignature": _TIME,
    "RequestExpired": _TIME,
    "RequestTimeTooSkewed": _TIME,
    "ValidationError": _FORM,
    "Validation": _FORM,
}
_UNKNOWN = "see what the service says, and check the role's settings"


class _RoleCall(Value):
    """One role to assume: how an error begins, for which region, with what, and what no error may show."""

    action: str
    region: str
    parameters: Mapping[str, Any]
    token: RoleToken


class StsRoles:
    """STS as the settings say it is reached; see SsmService for `version` and `environment`."""

    def __init__(self, settings: ServiceSettings, clock: Clock, version: str, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._time = ServiceTime(clock)
        self._wire = Wire(settings, clock, version, environment)

    def assume(self, role: Role, registration: Registration, token: RoleToken) -> TokenAnswer:
        """AssumeRole with the node's role token; see ports.RoleService."""
        action = f"Cannot assume the role {role.name}"
        call = _RoleCall(action, registration.region, _parameters(action, role, registration), token)
        try:
            answer, fields = self._time.signed_well(lambda: self._send(call))
        except RoleRefusedError:
            raise
        except ServiceRefusedError as refused:  # of the endpoint, or of the signature after all
            raise RoleRefusedError(refused.code, refused.message, refused.hint, refused.request_id) from refused
        expiry = _expiry(fields.get("Expiration", ""))
        now = self._time.received_at(answer, expiry)
        if expiry is None or not is_usable_expiry(expiry, now):
            raise ServiceError(
                "unusable-expiry",
                f"{action}: the expiry of the credentials is missing, past, or too far ahead",
                "set this machine's clock; if it is right, the service is at fault, and it is tried again by itself",
                answer.request_id,
            )
        key_id, secret, session_token = (fields[name] for name in FIELDS)
        assumed = RoleToken(key_id, secret, session_token, datetime.fromtimestamp(expiry, UTC))
        return TokenAnswer(assumed, now, answer.received.boot, self._time.difference, answer.request_id)

    def _send(self, call: _RoleCall) -> tuple[Answer, Mapping[str, str]]:
        endpoint = resolve("sts", call.action, call.region, self._settings)
        headers, body = _signed(endpoint, call, self._time.now())
        answer = self._wire.exchange(call.action, endpoint, headers, body)
        root = _xml(answer)
        self._time.measure(answer, genuine=root is not None and answer.request_id is not None)
        return answer, _judged(call, endpoint, answer, root)


def _parameters(action: str, role: Role, registration: Registration) -> dict[str, Any]:
    given = {
        "RoleArn": role.arn,
        "RoleSessionName": role.session_name or registration.node_id,
        "DurationSeconds": int(role.duration.total_seconds()),
        "ExternalId": role.external_id,
        "Policy": _policy(action, role.policy_file) if role.policy_file else None,
        "PolicyArns": [{"arn": arn} for arn in role.policy_arns],
        "Tags": [{"Key": key, "Value": value} for key, value in role.tags.items()],
    }
    return {name: value for name, value in given.items() if value}


def _policy(action: str, path: str) -> str:
    """The session policy without its blanks, which count towards AWS's limit."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            policy = json.dumps(json.loads(file.read(_LARGEST_POLICY)), ensure_ascii=False, separators=(",", ":"))
        policy.encode()  # JSON can escape what is no text
    except OSError as error:
        raise _bad_policy(action, path, error.strerror or "it cannot be opened") from error
    except (ValueError, RecursionError) as error:
        raise _bad_policy(action, path, "it is not JSON") from error
    return policy


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for a FIFO


def _bad_policy(action: str, path: str, reason: str) -> RoleRefusedError:
    return RoleRefusedError(
        "role-policy-unreadable",
        f"{action}: cannot read its policy {path}: {reason}",
        "name a readable file with a policy in JSON in the role's policy_file",
    )


def _signed(endpoint: Url, call: _RoleCall, at: datetime) -> tuple[dict[str, str], bytes]:
    """Headers and body of the request as botocore builds them, signed at `at`."""
    built: list[Any] = []

    def sign(request: Any, **_: Any) -> None:
        _sign(request, call.token, endpoint.region, at)

    def keep(request: Any, **_: Any) -> None:
        built.append(request)
        raise _RequestBuilt

    client = _client(endpoint)
    client.meta.events.register("before-sign.sts.AssumeRole", sign)
    client.meta.events.register("before-send.sts.AssumeRole", keep)
    with suppress(_RequestBuilt):
        client.assume_role(**call.parameters)
    client.close()
    headers = {
        name.lower(): value.decode("ascii") if isinstance(value, bytes) else value
        for name, value in built[0].headers.items()
    }
    return headers, built[0].body.encode("ascii")


class _RequestBuilt(Exception):  # noqa: N818 - it is no error: it keeps botocore from sending
    """The request is built and signed."""


def _client(endpoint: Url) -> Any:
    """A client for STS by rule 1. It does not sign, because botocore signs at this machine's time."""
    import logging  # noqa: PLC0415 - rule 5

    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.plugin import PluginContext, set_plugin_context  # noqa: PLC0415

    for name in ("botocore", "urllib3"):  # at debug level they log tokens
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    set_plugin_context(PluginContext(plugins="DISABLED"))
    session = botocore.session.Session(include_builtin_handlers=False)
    session.register_component("config_store", _constants())
    session.register_component("data_loader", _loader())
    config = Config(
        signature_version=botocore.UNSIGNED,
        ignore_configured_endpoint_urls=True,
        parameter_validation=False,  # its complaints quote the values
        retries={"total_max_attempts": 1, "mode": "standard"},
        proxies={},
    )
    return session.create_client(
        "sts", endpoint.region, api_version=_API_VERSION, endpoint_url=endpoint.url, verify=True, config=config
    )


def _constants() -> Any:
    """The default of each of botocore's variables, and no files: neither the environment nor ~/.aws has a say."""
    from botocore.configprovider import (  # noqa: PLC0415
        BOTOCORE_DEFAUT_SESSION_VARIABLES,
        ConfigValueStore,
        ConstantProvider,
    )

    defaults = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    files = dict.fromkeys(("config_file", "credentials_file"), os.devnull)
    return ConfigValueStore({name: ConstantProvider(value) for name, value in {**defaults, **files}.items()})


def _loader() -> Any:
    """Finds STS in botocore's data, and looks nowhere else; botocore's own lists all its 400 services first."""
    from botocore.loaders import Loader  # noqa: PLC0415

    class StsLoader(Loader):  # type: ignore[misc] # botocore ships no types
        def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
            return self.load_data(f"{service_name}/{api_version or _API_VERSION}/{type_name}")

        def load_data_with_path(self, name: str) -> Any:
            if name == "endpoints":  # 1.2 MB that only say what `endpoints` has said already
                return {"version": 3, "partitions": []}, ""
            return super().load_data_with_path(name)

    return StsLoader([botocore_file("data")], include_default_search_paths=False, include_default_extras=False)


def _sign(request: Any, token: RoleToken, region: str, at: datetime) -> None:
    """Botocore's Signature Version 4, whose own entry takes the time from this machine's clock."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    credentials = Credentials(token.access_key_id, token.secret_access_key, token.session_token)
    signer = SigV4Auth(credentials, "sts", region)
    request.context["timestamp"] = at.strftime(TIME_FORMAT)
    signer._modify_request_before_signing(request)  # noqa: SLF001
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))  # noqa: SLF001


def _xml(answer: Answer) -> "ET.Element | None":
    """The root of an answer of STS; None for what is none."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - rule 5

    try:
        root = ET.fromstring(answer.body)  # noqa: S314 - at most 1 MiB, and expat bounds what entities become
    except (ET.ParseError, ValueError, LookupError):  # the latter for an encoding that Python does not know
        return None
    return root if root.tag.rpartition("}")[2] in {"AssumeRoleResponse", "ErrorResponse"} else None


def _judged(call: _RoleCall, endpoint: Url, answer: Answer, root: "ET.Element | None") -> Mapping[str, str]:
    """The credentials in an answer that says success; raises what it means otherwise."""
    texts = {} if root is None else {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in root.iter()}
    if answer.status in SUCCESS and "Code" not in texts and root is not None:
        bad = next((name for name, form in FIELDS.items() if not form.fullmatch(texts.get(name, ""))), None)
        if bad is None:
            return texts
        raise _unusable(call, endpoint, answer, f"its {bad} is missing or malformed")
    code, message = texts.get("Code", ""), texts.get("Message", "")
    if not code and answer.status not in CLEAR_STATUSES:
        raise _unusable(call, endpoint, answer, f"it is no answer of STS (HTTP {answer.status})")
    found = ROLE_MEANINGS.get(code.removesuffix("Exception")) or _other(meaning(code, answer.status))
    if found is _TIME and re.search(OTHER_REGION, message):
        found = Meaning(
            RoleRefusedError, f"name an endpoint of {endpoint.region} in {endpoint.setting}", "region-mismatch"
        )
    received = (texts[name] for name in FIELDS if name in texts)
    secrets = (call.token.access_key_id, call.token.secret_access_key, call.token.session_token, *received)
    text = ": ".join(part for part in (code or f"HTTP {answer.status}", presentable(message, secrets)) if part)
    raise found.error(found.code or presentable(code, secrets), f"{call.action}: {text}", found.hint, answer.request_id)


def _other(found: Meaning) -> Meaning:
    return found if found.error is ServiceError else Meaning(RoleRefusedError, _UNKNOWN)


def _unusable(call: _RoleCall, endpoint: Url, answer: Answer, reason: str) -> ServiceError:
    hint = f"see what answers in the service's place: {endpoint.setting}, service.proxy_url and HTTPS_PROXY"
    return ServiceError("unusable-answer", f"{call.action}: {reason}", hint, answer.request_id)


def _expiry(text: str) -> float | None:
    """Seconds since 1970; None for what is no time with an offset from UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
