"""The control interface: the methods of `Emulator` as JSON over HTTP, for tests in another process and for curl.

It is under /_emulator on the same port. It has no password, so it answers only to this machine: the peer must be on the
loopback interface. A web page could reach it from there through a name that resolves to 127.0.0.1, so the Host header
must be a loopback name or the address to listen on (any, if that is every interface), and Origin must be absent.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from rolekeeper.emulator.account import Node
from rolekeeper.emulator.dialects import strict_json
from rolekeeper.emulator.faultjson import fault_from_json, seconds
from rolekeeper.emulator.hybrid import new_fingerprint
from rolekeeper.emulator.messages import AnswerError, Reply, Request, Response
from rolekeeper.emulator.service import ROLE_MEMBERS, Service
from rolekeeper.errors import RolekeeperError, UsageError

PREFIX = "/_emulator"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with what the user chose
FARTHEST = timedelta(days=36500)  # a century: more would overflow dates


@dataclass(frozen=True, slots=True)
class _ControlCall:
    service: Service
    name: str  # the last part of the path, where a route has one
    document: Any


class Control:
    """Answers control requests itself, and passes every other request to the service."""

    def __init__(self, service: Service, address: str) -> None:
        self._service = service
        self._address = address.lower()

    def handle(self, request: Request) -> Reply:
        """The reply to any request."""
        path = request.path
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            return self._service.handle(request)
        if not self._is_local(request):
            return _answer(403, {"error": "The control interface answers to this machine only."})
        return self._answer(request, path.removeprefix(PREFIX) or "/")

    def _is_local(self, request: Request) -> bool:
        host = _host(request)
        named_well = _is_loopback(host) or host == self._address or self._address in EVERYWHERE
        return _is_loopback(request.peer) and named_well and request.header("origin") is None

    def _answer(self, request: Request, path: str) -> Reply:
        found = [(route, match) for route in _ROUTES if (match := re.fullmatch(route.path, path))]
        chosen = next(((route, match) for route, match in found if route.method == request.method), None)
        if chosen is None:
            return _answer(405 if found else 404, {"error": f"Cannot {request.method} {PREFIX}{path}"})
        route, match = chosen
        try:
            document = strict_json(request.body or b"null")
            return _answer(200, route.act(_ControlCall(self._service, match.groupdict().get("name", ""), document)))
        except KeyError:
            return _answer(404, {"error": f"There is no {match['name']}."})
        except AnswerError as error:
            return _answer(error.status or 400, {"error": error.message, "code": error.code})
        except RolekeeperError as error:
            status = 400 if isinstance(error, UsageError) else 500
            return _answer(status, {"error": error.message, "code": error.code, "hint": error.hint})
        except (ValueError, RecursionError) as error:
            return _answer(400, {"error": f"Cannot read the JSON: {error}"})


def _host(request: Request) -> str:
    """The name in the Host header, without its port; empty when it has none."""
    try:
        return urlsplit(f"//{request.header('host') or ''}").hostname or ""
    except ValueError:  # a bracket that is not closed, or not around an address
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answer(status: int, document: Any) -> Reply:
    body = json.dumps(document, default=_plain, indent=1).encode() + b"\n"
    return Reply(Response(status, (("Content-Type", "application/json"),), body))


def _plain(value: Any) -> Any:
    """The types that JSON does not have: times in RFC 3339, durations in seconds, bytes as text."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            return bytes(value).decode("utf-8", "replace")


def _overview(call: _ControlCall) -> Any:
    account = call.service.account
    return {
        "account_id": account.account_id,
        "region": account.region,
        "administrator": asdict(account.administrator),
        "settings": _settings(call),
    }


def _settings(call: _ControlCall) -> Any:
    values = {key: getattr(call.service, name).total_seconds() for key, name in _SETTINGS.items()}
    return {"now": call.service.now(), **values}


_SETTINGS = {"offset_seconds": "offset", "token_lifetime_seconds": "token_lifetime"}  # attributes of the service


def _change_settings(call: _ControlCall) -> Any:
    wanted = {key: seconds(key, value) for key, value in _known(call.document, _SETTINGS).items()}
    for key, value in wanted.items():
        if abs(value) > FARTHEST:
            raise UsageError("setting-invalid", f"Cannot use this {key}", "at most a century")
    for key, value in wanted.items():
        setattr(call.service, _SETTINGS[key], value)
    return _settings(call)


def _known(document: Any, known: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(document, dict) or not set(document) <= set(known):
        raise UsageError("setting-invalid", "Cannot use this object", f"an object with {', '.join(known)}")
    return document


def _faults(call: _ControlCall) -> Any:
    return call.service.waiting_faults()


def _add_faults(call: _ControlCall) -> Any:
    documents = call.document if isinstance(call.document, list) else [call.document]
    for fault in [fault_from_json(document) for document in documents]:
        call.service.add_fault(fault)
    return _faults(call)


def _clear_faults(call: _ControlCall) -> Any:
    call.service.clear_faults()
    return _faults(call)


def _requests(call: _ControlCall) -> Any:
    return [asdict(request) for request in call.service.requests.all()]


def _forget_requests(call: _ControlCall) -> Any:
    call.service.requests.clear()
    return []


def _all_of(collection: str) -> Callable[[_ControlCall], Any]:
    """Lists a collection of the account."""
    return lambda call: [asdict(one) for one in getattr(call.service.account, collection).values()]


_nodes, _roles = _all_of("nodes"), _all_of("roles")


def _node(call: _ControlCall) -> Any:
    return asdict(call.service.account.nodes[call.name])


def _rotation(value: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, rotation_wanted=bool(value))


def _fingerprint(value: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, fingerprint=str(value) if value else new_fingerprint())


_NODE_CHANGES: Mapping[str, Callable[[Any], Callable[[Node], Node]]] = {
    "rotation_wanted": _rotation,
    "fingerprint": _fingerprint,  # null: a new one, which no machine has
}


def _change_node(call: _ControlCall) -> Any:
    for key, value in _known(call.document, _NODE_CHANGES).items():
        call.service.change_node(call.name, _NODE_CHANGES[key](value))
    return _node(call)


def _deregister(call: _ControlCall) -> Any:
    call.service.perform("DeregisterManagedInstance", {"InstanceId": call.name})
    return _nodes(call)


def _create_role(call: _ControlCall) -> Any:
    return asdict(call.service.create_role(_known(call.document, ROLE_MEMBERS)))


def _delete_role(call: _ControlCall) -> Any:
    call.service.change(lambda account: account.without_role(call.name))
    return _roles(call)


def _create_activation(call: _ControlCall) -> Any:
    document = call.document if isinstance(call.document, dict) else {}
    return call.service.perform("CreateActivation", document)


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: str
    act: Callable[[_ControlCall], Any]


_NODE = "/nodes/(?P<name>[^/]+)"
_ROLE = "/roles/(?P<name>.+)"  # a role's path has slashes
_ROUTES = (
    _Route("GET", "/", _overview),
    _Route("GET", "/settings", _settings),
    _Route("PUT", "/settings", _change_settings),
    _Route("GET", "/faults", _faults),
    _Route("POST", "/faults", _add_faults),
    _Route("DELETE", "/faults", _clear_faults),
    _Route("GET", "/requests", _requests),
    _Route("DELETE", "/requests", _forget_requests),
    _Route("GET", "/nodes", _nodes),
    _Route("GET", _NODE, _node),
    _Route("PATCH", _NODE, _change_node),
    _Route("DELETE", _NODE, _deregister),
    _Route("GET", "/roles", _roles),
    _Route("POST", "/roles", _create_role),
    _Route("DELETE", _ROLE, _delete_role),
    _Route("GET", "/activations", _all_of("activations")),
    _Route("POST", "/activations", _create_activation),
    _Route("GET", "/tokens", _all_of("tokens")),
)
