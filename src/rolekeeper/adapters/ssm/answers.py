"""The service's answers, as values and errors. Requests without an answer are in `failures`.

The rules (docs/protocol.md, section 2):

1. An answer is a JSON object. Anything else (HTML from a proxy with status 200, a cut body) is `unusable-answer`. An
   empty body is an answer only together with the service's request id.
2. An error's code is the body's `__type` without `prefix#` and `:suffix`, or else the header x-amzn-ErrorType.
3. Every field is required and has its form. Only UpdateKeyPair may be missing. Then, or when it is no boolean, it is
   false: the token is good, and the service repeats the wish with the next one.
4. A token expires more than a second and at most 36 hours from now on the service's clock (AWS has no longer session).
5. An error shows what the service says as one line of at most 300 characters, without the activation code, and without
   anything that is or looks like a key, a token or a signature.
6. A refused signature that the service explains with the region is `region-mismatch`: no other key would help.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.adapters.ssm.codes import meaning
from rolekeeper.adapters.ssm.endpoints import region_mismatch
from rolekeeper.adapters.ssm.http import Answer
from rolekeeper.errors import ServiceError, SignatureRefusedError
from rolekeeper.identifiers import NODE_ID
from rolekeeper.model import RoleToken
from rolekeeper.values import Value

_LONGEST_SESSION_HOURS = 36
_SHORTEST_LIFE = timedelta(seconds=1)
_LONGEST_TEXT = 300  # characters
_SHORTEST_SECRET = 8  # characters; what is shorter is no secret, and would blank out ordinary words
SUCCESS = range(200, 300)
CLEAR_STATUSES = frozenset({429, *range(500, 600)})  # they say what failed, even without a code

_CODE_PARAMETER = "ActivationCode"  # the only secret that we send in a body
_CODE = r"[A-Za-z][A-Za-z0-9.]{0,99}"
FIELDS = {
    "AccessKeyId": re.compile(r"[A-Za-z0-9_]{16,128}"),  # as STS documents it
    "SecretAccessKey": re.compile(r"[!-~]{1,512}"),
    "SessionToken": re.compile(r"[!-~]{1,16384}"),
}
OTHER_REGION = r"scoped to (a valid|correct) region|region '[^']*' is wrong"
_LONG_WORD = r"[A-Za-z0-9+/=]{100,}"  # a signature, a key or a token; a role's ARN is never that long

_IN_BETWEEN = (
    "see what answers in the service's place, such as a proxy or a captive portal: service.endpoint_url, "
    "service.proxy_url and HTTPS_PROXY"
)


class ServiceCall(Value, hidden=("secrets",)):
    """One operation, how an error of it begins (`Cannot request ...`), the region, and what is sent in it.

    `secrets` are sent beside the parameters: a service that refuses a signature repeats the headers.
    """

    operation: str
    action: str
    region: str
    parameters: Mapping[str, str]
    secrets: tuple[str, ...] = ()


def is_from_service(answer: Answer) -> bool:
    """Whether the service itself answered, and not something on the way."""
    return answer.request_id is not None and _json_object(answer) is not None


def judge(call: ServiceCall, answer: Answer) -> Mapping[str, Any]:
    """The fields of an answer that says success; raises what it means otherwise."""
    body = _json_object(answer)
    if answer.status in SUCCESS and body is not None and "__type" not in body:
        return body
    code = _error_code(answer, body or {})
    if not code and answer.status not in CLEAR_STATUSES:
        raise _unusable(call, answer, f"it is no answer of the service (HTTP {answer.status}, {_kind(answer)})")
    found = meaning(code, answer.status)
    message = _message(body or {})
    if found.error is SignatureRefusedError and re.search(OTHER_REGION, message):
        raise region_mismatch(call.action, call.region, _region_in(message, call.region), answer.request_id)
    said = presentable(message, _secrets(call, body or {}))
    text = ": ".join(part for part in (code or f"HTTP {answer.status}", said) if part)
    raise found.error(found.code or code, f"{call.action}: {text}", found.hint, answer.request_id)


def node_id(call: ServiceCall, answer: Answer, fields: Mapping[str, Any]) -> str:
    """The node id in the answer to RegisterManagedInstance."""
    value = fields.get("InstanceId")
    if not isinstance(value, str) or not NODE_ID.fullmatch(value):
        raise _unusable(call, answer, "it names no node id (InstanceId)")
    return value


def role_token(call: ServiceCall, answer: Answer, fields: Mapping[str, Any], now: datetime) -> RoleToken:
    """The token in the answer to RequestManagedInstanceRoleToken; `now` is on the service's clock."""
    for name, form in FIELDS.items():
        value = fields.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise _unusable(call, answer, f"its {name} is missing or malformed")
    return RoleToken(
        access_key_id=fields["AccessKeyId"],
        secret_access_key=fields["SecretAccessKey"],
        session_token=fields["SessionToken"],
        expires_at=_expiry(call, answer, fields.get("TokenExpirationDate"), now),
        update_key_pair=fields.get("UpdateKeyPair") is True,
    )


def presentable(text: str, secrets: Iterable[str]) -> str:
    """`text` as one bounded line of printable characters, with every one of `secrets` blanked out."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = re.sub(_LONG_WORD, "***", text)
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 3]}..."


def is_usable_expiry(value: Any, now: datetime) -> bool:
    """Whether `value` is a time that a token of this moment may expire at (rule 4)."""
    earliest, latest = (now + _SHORTEST_LIFE).timestamp(), (now + timedelta(hours=_LONGEST_SESSION_HOURS)).timestamp()
    return isinstance(value, (int, float)) and earliest < value <= latest  # true is 1, long past; NaN is in no range


def _expiry(call: ServiceCall, answer: Answer, value: Any, now: datetime) -> datetime:
    if is_usable_expiry(value, now):
        return datetime.fromtimestamp(value, UTC)
    raise ServiceError(
        "unusable-expiry",
        f"{call.action}: the token's expiry is missing, past, or more than {_LONGEST_SESSION_HOURS} hours ahead",
        "set this machine's clock; if it is right, the service is at fault, and it is tried again by itself",
        answer.request_id,
    )


def _json_object(answer: Answer) -> Mapping[str, Any] | None:
    if not answer.body and answer.request_id is not None:
        return {}
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _error_code(answer: Answer, body: Mapping[str, Any]) -> str:
    for value in (body.get("__type"), answer.headers.get("x-amzn-errortype")):
        code = value.rpartition("#")[2].partition(":")[0].strip() if isinstance(value, str) else ""
        if re.fullmatch(_CODE, code):
            return code
    return ""


def _message(body: Mapping[str, Any]) -> str:
    return next((body[name] for name in ("message", "Message") if isinstance(body.get(name), str)), "")


def _region_in(message: str, ours: str) -> str:
    return next((region for region in re.findall(r"[a-z]+(?:-[a-z]+)+-\d+", message) if region != ours), "")


def _secrets(call: ServiceCall, body: Mapping[str, Any]) -> list[str]:
    received = [body[name] for name in FIELDS if isinstance(body.get(name), str)]
    return [call.parameters.get(_CODE_PARAMETER, ""), *call.secrets, *received]


def _kind(answer: Answer) -> str:
    return presentable(answer.headers.get("content-type", ""), ()) or "no content type"


def _unusable(call: ServiceCall, answer: Answer, reason: str) -> ServiceError:
    return ServiceError("unusable-answer", f"{call.action}: {reason}", _IN_BETWEEN, answer.request_id)
