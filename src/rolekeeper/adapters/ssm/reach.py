"""The way to SSM, step by step: what a diagnosis looks at, by the code that a request takes.

A request either gets an answer or ends with one error. To find the broken link, the steps are taken one by one: the
name, a connection, and then a whole request. The request is one that the service must refuse, because nothing signs
it: it costs no token and changes nothing, and its answer proves that AWS itself is at the other end and what time it is
there.
"""

import errno
import socket
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from http.client import HTTPException

from rolekeeper.adapters.ssm.answers import ServiceCall, is_from_service, judge
from rolekeeper.adapters.ssm.endpoints import Url, botocore_file, region_of, resolve
from rolekeeper.adapters.ssm.failures import failure_error
from rolekeeper.adapters.ssm.http import Wire
from rolekeeper.adapters.ssm.proxies import Proxy, proxy_for
from rolekeeper.adapters.ssm.service import CONTENT_TYPE
from rolekeeper.adapters.ssm.servicetime import clock_difference
from rolekeeper.adapters.ssm.tls import trust_store
from rolekeeper.errors import ServiceError, ServiceRefusedError
from rolekeeper.ports import Clock
from rolekeeper.settings import ServiceSettings
from rolekeeper.values import Value, replace

ACTION = "Cannot reach the service"
_ANY_REGION = "us-east-1"  # where a URL is configured, the region decides nothing before a signature is made
_OPERATION = "RequestManagedInstanceRoleToken"
_RESOLVER = "see /etc/resolv.conf and whether its name servers can be reached; check {setting}, and the region"
_PROXY_NAME = "check the host name in service.proxy_url or HTTPS_PROXY, and the name service"
_CONNECTION_CODES = {
    errno.ECONNREFUSED: "connection-refused",
    errno.ENETUNREACH: "no-route",
    errno.EHOSTUNREACH: "no-route",
    errno.EADDRNOTAVAIL: "no-route",
}


class Route(Value):
    """Where requests go, and over which proxy, if any."""

    endpoint: Url
    proxy: Proxy | None

    @property
    def hop(self) -> Url:
        """What this machine itself connects to."""
        return self.proxy.endpoint if self.proxy else self.endpoint


class Reach:
    """The way to SSM as the settings say; see SsmService for `version` and `environment`."""

    def __init__(self, settings: ServiceSettings, clock: Clock, version: str, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._clock = clock
        self._version = version
        self._environment = environment

    def route(self, region: str | None) -> Route:
        """Where the way leads; ServiceRefusedError for a region or URL that leads nowhere, ServiceError for a proxy."""
        url = self._settings.endpoint_url
        known = region or (_ANY_REGION if url is not None else "")
        endpoint = resolve("ssm", ACTION, known, self._settings)
        return Route(endpoint, proxy_for(ACTION, endpoint, self._settings.proxy_url, self._environment))

    def addresses(self, route: Route) -> list[str]:
        """The addresses of the first hop; ServiceError `name-unresolvable`."""
        hop = route.hop
        try:
            found = socket.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
        except OSError as error:
            hint = _PROXY_NAME if route.proxy else _RESOLVER.format(setting=route.endpoint.setting)
            message = f"{ACTION}: no address for the name {hop.host} ({error.strerror or error})"
            raise ServiceError("name-unresolvable", message, hint) from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def connect(self, route: Route) -> None:
        """Connect to the first hop and let go; ServiceError `no-route`, `connection-refused` or as of a request."""
        hop = route.hop
        try:
            timeout = self._settings.connect_timeout.total_seconds()
            with closing(socket.create_connection((hop.host, hop.port), timeout)):
                """It can be reached."""
        except (OSError, HTTPException) as error:
            failure = failure_error(
                ACTION,
                error,
                replace(hop, setting=route.endpoint.setting or "service.proxy_url"),
                self._clock.now().wall,
                has_trust_store=True,
                may_lack_ipv4=self._settings.endpoint_url is None and not self._settings.dual_stack,
            )
            code = _CONNECTION_CODES.get(getattr(error, "errno", None) or 0, failure.code)
            raise ServiceError(code, failure.message, failure.hint) from error

    def ask(self, route: Route) -> timedelta | None:
        """Have the service itself answer; returns the clock difference (service minus local), None if that is unknown.

        ServiceError when nothing comes, or what comes is not from the service.
        """
        return self._ask(route.endpoint, self._settings)

    def is_inspected(self, route: Route) -> bool:
        """Whether AWS's own endpoint shows a certificate that only this machine's own CAs vouch for, and no public one.

        To be asked when `ask` has succeeded.
        """
        public = botocore_file("cacert.pem")
        if route.endpoint.scheme != "https" or not region_of("ssm", route.endpoint.host):
            return False
        if trust_store(self._settings.ca_bundle) == public:
            return False
        try:
            self._ask(route.endpoint, replace(self._settings, ca_bundle=public))
        except ServiceError as error:
            return error.code == "tls-failed"
        return False

    def issuer(self, route: Route) -> str:
        """Who signed the certificate that the endpoint shows; empty when that cannot be told."""
        return self._wire(self._settings).issuer(ACTION, route.endpoint)

    def _ask(self, endpoint: Url, settings: ServiceSettings) -> timedelta | None:
        call = ServiceCall(_OPERATION, ACTION, endpoint.region, {})
        headers = {"content-type": CONTENT_TYPE, "x-amz-target": f"AmazonSSM.{_OPERATION}"}
        answer = self._wire(settings).exchange(ACTION, endpoint, headers, b"{}")
        try:
            judge(call, answer)
        except ServiceRefusedError:  # as it must: nothing has signed the request
            if is_from_service(answer):
                return clock_difference(answer)
        raise ServiceError(
            "unusable-answer",
            f"{ACTION}: something answers at {endpoint.url}, and it is not AWS (HTTP {answer.status})",
            f"see what answers there, such as a proxy or a captive portal: {endpoint.setting}, service.proxy_url and "
            "HTTPS_PROXY",
        )

    def _wire(self, settings: ServiceSettings) -> Wire:
        return Wire(settings, self._clock, self._version, self._environment)


def is_loopback(endpoint: Url) -> bool:
    """Whether requests stay on this machine, where nobody reads them on the way."""
    return endpoint.host in ("localhost", "::1") or endpoint.host.startswith("127.")
