"""What each error code of the service means, as a table; docs/outcomes.md has the same table with the reasons.

The rules:

1. A code means the same with and without `Exception` at its end: services write both. The table leaves it out.
2. A code that is not in the table is a refusal, unless the status says that the service itself failed (5xx, 429).
3. Every refusal has a hint that is a remedy.
"""

from collections.abc import Mapping

from rolekeeper.errors import (
    FingerprintRefusedError,
    NodeUnknownError,
    ServiceError,
    ServiceRefusedError,
    SignatureRefusedError,
)
from rolekeeper.values import Value

_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

_WAIT = "try again later; the daemon does so by itself, ever more slowly"
_NEW_ACTIVATION = "create an activation (`aws ssm create-activation`) and register with its id and code"
_KEY = (
    "the service knows another key for this node: restore the newest vault of this machine, or register again with a "
    "new activation (`rolekeeper register --force`)"
)
CLOCK = "set this machine's clock and keep it right (chrony or systemd-timesyncd)"
_SEND_OTHER = "look for a newer rolekeeper, or check that service.endpoint_url, when set, names SSM"
_PERMIT = (
    "check the node's IAM role: that it exists, that its trust policy lets ssm.amazonaws.com assume it "
    "(aws:SourceAccount, aws:SourceArn), and that no service control policy denies it"
)


class Meaning(Value):
    """The error that a code comes to, and its hint; `code` is our name for what failed, None for the service's own."""

    error: type[ServiceError] | type[ServiceRefusedError]
    hint: str
    code: str | None = None


_THROTTLED = Meaning(ServiceError, _WAIT, "throttled")
_FAILED = Meaning(ServiceError, _WAIT, "service-failed")
_WRONG_KEY = Meaning(SignatureRefusedError, _KEY)
_CHANGED = Meaning(
    SignatureRefusedError, "take whatever changes the headers of requests (an inspecting proxy) out of the way"
)
_WRONG_TIME = Meaning(SignatureRefusedError, CLOCK)
_MALFORMED = Meaning(
    ServiceRefusedError, "check the activation's id and code as they were given; for a node, see what is named here"
)
_UNKNOWN = Meaning(ServiceRefusedError, "see what the service says; `rolekeeper attempt` shows it again")

MEANINGS: Mapping[str, Meaning] = {
    **dict.fromkeys(("Throttling", "Throttled", "RequestThrottled", "RequestLimitExceeded"), _THROTTLED),
    **dict.fromkeys(("TooManyRequests", "SlowDown", "TooManyUpdates"), _THROTTLED),
    **dict.fromkeys(("InternalServerError", "InternalServer", "InternalFailure"), _FAILED),
    **dict.fromkeys(("ServiceUnavailable", "RequestTimeout"), _FAILED),
    "InvalidSignature": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "IncompleteSignature": _CHANGED,
    "UnrecognizedClient": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "MissingAuthenticationToken": _CHANGED,
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture", "ExpiredToken"), _WRONG_TIME),
    "MachineFingerprintDoesNotMatch": Meaning(
        FingerprintRefusedError,
        "this is not the machine that was registered, or its hardware changed: put the hardware back, or "
        "`rolekeeper fingerprint accept` if this is the machine; else restore the newest vault of this machine, or "
        "register again with a new activation (`rolekeeper register --force`)",
    ),
    "InvalidInstanceId": Meaning(
        NodeUnknownError,
        "the node was deregistered, or is in another region or account: register again with a new activation "
        "(`rolekeeper register --force`)",
    ),
    "InvalidActivation": Meaning(
        ServiceRefusedError, f"check the activation's id, code and region; if it was deleted, {_NEW_ACTIVATION}"
    ),
    "InvalidActivationId": Meaning(
        ServiceRefusedError, f"check the activation's id and region; if it was deleted, {_NEW_ACTIVATION}"
    ),
    "ActivationExpired": Meaning(ServiceRefusedError, _NEW_ACTIVATION),
    "RegistrationLimitExceeded": Meaning(
        ServiceRefusedError, f"the activation is used up: {_NEW_ACTIVATION}; --registration-limit says how many nodes"
    ),
    "InstanceAlreadyRegistered": Meaning(
        ServiceRefusedError,
        "deregister the old node (`aws ssm deregister-managed-instance`), or restore its vault; then register with a "
        "new activation",
    ),
    "InvalidPublicKey": Meaning(
        ServiceRefusedError, "the service wants another kind of key: look for a newer rolekeeper, which may send one"
    ),
    "PublicKeyAlreadyRegistered": Meaning(
        ServiceRefusedError, "the old key stays in use; the next rotation makes another key, so nothing is lost"
    ),
    **dict.fromkeys(("AccessDenied", "UnauthorizedOperation"), Meaning(ServiceRefusedError, _PERMIT)),
    "OptInRequired": Meaning(ServiceRefusedError, "enable the region for the account, or register in another region"),
    **dict.fromkeys(("UnknownOperation", "InvalidAction", "Serialization"), Meaning(ServiceRefusedError, _SEND_OTHER)),
    "Validation": _MALFORMED,
    "ValidationError": _MALFORMED,
}


def meaning(code: str, status: int) -> Meaning:
    """What a service's error means; `code` is empty when the answer had none but its status is enough."""
    known = MEANINGS.get(code.removesuffix("Exception"))
    if known is not None:
        return known
    if status == _TOO_MANY_REQUESTS:
        return _THROTTLED
    return _FAILED if status >= _SERVER_ERROR else _UNKNOWN
