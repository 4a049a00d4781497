"""The way to the service: name, route, proxy, TLS, the service itself, its clock, and what it says to this node.

Nothing before `token` costs a token: the service is asked for what it must refuse (adapters/ssm/reach.py).
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

from rolekeeper import compose, durations
from rolekeeper.adapters.ssm.codes import CLOCK
from rolekeeper.adapters.ssm.reach import Reach, Route, is_loopback
from rolekeeper.adapters.supervision import unit
from rolekeeper.attempt.rotate import token_by_any_key
from rolekeeper.cli.probes.case import Case
from rolekeeper.core.findings import Finding, failed, ok, skipped, warning
from rolekeeper.errors import RolekeeperError, ServiceError, UnavailableError
from rolekeeper.model import OutputProblem

T = TypeVar("T")

_TOLERATED = timedelta(minutes=4)  # the service tolerates 5
_NOTABLE = timedelta(seconds=30)
_LONGEST_SESSION = timedelta(hours=1, minutes=1)
_STEPS = {"proxy-failed": "proxy", "tls-failed": "tls", "ca-bundle-unreadable": "tls"}


def name(case: Case) -> Iterator[Finding]:
    """Where requests go, and the addresses of that name."""
    registration = case.contents.registration
    region = registration.region if registration else case.settings.node.region
    if region is None and case.settings.service.endpoint_url is None:
        yield skipped("name", "no region is known: this machine is not registered")
        return
    reach = _reach(case)
    try:
        case.route = route = reach.route(region)
    except ServiceError as error:  # of a proxy's URL
        yield failed("proxy", error)
        yield skipped("name", "not looked at: no usable proxy")
        return
    addresses = ", ".join(reach.addresses(route))
    hop = route.hop.host
    yield ok("name", hop if addresses == hop else f"{hop} is {addresses}")


def connection(case: Case) -> Iterator[Finding]:
    """A connection to the service, or to the proxy."""
    route = _known(case.route)
    _reach(case).connect(route)
    yield ok("route", f"{route.hop.netloc} takes connections" + (" (the proxy)" if route.proxy else ""))


def service(case: Case) -> Iterator[Finding]:
    """Whether AWS itself answers at the end of the way, which also shows what proxy and TLS do."""
    route, reach = _known(case.route), _reach(case)
    try:
        case.clock_difference = reach.ask(route)
    except ServiceError as error:
        broken = _STEPS.get(error.code, "service")
        yield from _steps(route, until=broken)
        yield failed(broken, _with_issuer(error, reach, route) if error.code == "tls-failed" else error)
        if broken != "service":
            yield skipped("service", f"not looked at: it needs {broken}")
        return
    yield from _steps(route, until="service")
    if reach.is_inspected(route):
        yield warning("tls", _inspected(reach.issuer(route)))
    yield ok("service", f"AWS answers at {route.endpoint.url}")


def _steps(route: Route, until: str) -> Iterator[Finding]:
    """The steps before the one that is broken: they work."""
    if until != "proxy":
        yield ok("proxy", f"{route.proxy.endpoint.url} lets it through" if route.proxy else "none is used")
    if until != "service":
        return
    if route.endpoint.scheme == "https":
        yield ok("tls", f"the certificate of {route.endpoint.host} is trusted")
    elif is_loopback(route.endpoint):
        yield ok("tls", f"none is needed: {route.endpoint.url} is on this machine")
    else:
        message = f"{route.endpoint.url} has no TLS: tokens can be read on the way"
        yield warning("tls", OutputProblem("tls-absent", message, f"write https:// in {route.endpoint.setting}"))


def _with_issuer(error: ServiceError, reach: Reach, route: Route) -> RolekeeperError:
    issuer = reach.issuer(route)
    return ServiceError(error.code, f"{error.message}; signed by: {issuer}", error.hint) if issuer else error


def _inspected(issuer: str) -> OutputProblem:
    message = "the certificate of the service is none of AWS's: an inspecting proxy is on the way and reads every token"
    hint = "have the proxy exempt the endpoints of AWS from inspection"
    return OutputProblem("tls-inspected", f"{message} (signed by: {issuer})" if issuer else message, hint)


def time(case: Case) -> Iterator[Finding]:
    """The clock of this machine against that of the service."""
    difference = case.clock_difference
    if difference is None:
        yield skipped("clock", "the service's answer does not show its time")
        return
    far = durations.text(timedelta(seconds=round(abs(difference).total_seconds())))
    message = f"this machine's clock is {far} {'behind' if difference > timedelta(0) else 'ahead'}"
    if abs(difference) > _TOLERATED:
        message = f"{message}: rolekeeper allows for that, but AWS refuses the requests of most programs"
        yield failed("clock", UnavailableError("clock-off", message, CLOCK))
    elif abs(difference) > _NOTABLE:
        yield warning("clock", OutputProblem("clock-drifts", message, CLOCK))
    else:
        yield ok("clock", f"differs by {far} from the service's" if difference else "as the service's")


def token(case: Case) -> Iterator[Finding]:
    """With --token: a role token for this node, which is discarded."""
    if not case.with_token:
        yield skipped("token", "not looked at: --token requests one, and discards it")
        return
    node = _known(case.contents.node)
    _, case.token = token_by_any_key(compose.service(case.settings), case.contents, node)
    yield ok("token", f"the service issued one, until {case.token.token.expires_at:%Y-%m-%d %H:%M:%S} UTC")


def roles(case: Case) -> Iterator[Finding]:
    """With --token: each role that the configuration names, assumed with that token."""
    registration, answer = case.contents.registration, case.token
    if not case.settings.roles:
        return
    if registration is None or answer is None:
        why = "it needs token" if case.with_token else "--token assumes each role, and discards what it gets"
        yield skipped("role", f"not looked at: {why}")
        return
    service_of_roles = compose.roles(case.settings)
    for role in case.settings.roles:
        try:
            assumed = service_of_roles.assume(role, registration, answer.token)
        except RolekeeperError as error:
            yield failed("role", error, role.name)
        else:
            until = f"{assumed.token.expires_at:%Y-%m-%d %H:%M:%S}"
            yield ok("role", f"{role.arn} was assumed, until {until} UTC", role.name)


def session(case: Case) -> Iterator[Finding]:
    """How long a copied credentials file is good for."""
    lives = {role or "the node's role": issue.life for role, issue in case.contents.issues.items()}
    if case.token is not None:
        lives["the node's role"] = case.token.life
    for role, life in lives.items():
        length = life.expires_at - life.issued_at
        if length > _LONGEST_SESSION:
            words = durations.text(timedelta(minutes=round(length / timedelta(minutes=1))))
            message = f"a session of {role} lives {words}: a stolen copy of the credentials works elsewhere so long"
            hint = "set the maximum session duration of the role to one hour"
            yield warning("session", OutputProblem("session-long", message, hint))


def _reach(case: Case) -> Reach:
    return compose.reach(case.settings, _environment(case))


def _environment(case: Case) -> Mapping[str, str]:
    """The variables that the daemon sees: its unit's, where there is one."""
    return unit.environment() or case.environment if case.unit is not None else case.environment


def _known(value: T | None) -> T:
    assert value is not None  # noqa: S101 - the links before have passed
    return value
