"""Where a service of AWS is: by region, FIPS and dual stack, from the partitions that the installed botocore knows.

botocore's endpoint rules for ssm and for sts come to one line, the one in `_host`; a test holds this module equal to
botocore for every region. Only the data is botocore's: importing the library costs ten times what this takes.

A URL in the configuration names the endpoint instead. When its host is one of AWS's, it also names the region. A
registration elsewhere would use up the activation and then fail at every signature, so it is refused here.
"""

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from typing import Any
from urllib.parse import urlsplit

from rolekeeper.errors import ServiceRefusedError
from rolekeeper.identifiers import REGION
from rolekeeper.settings import ServiceSettings
from rolekeeper.values import Value

DEFAULT_PORTS = {"http": 80, "https": 443}
_WITHOUT_DUAL_STACK = frozenset({"aws-iso-e", "aws-iso-f"})  # partitions.json offers it there; endpoints.json does not
_WITHOUT_FIPS_NAMES = "aws-us-gov"  # every endpoint of this partition is a FIPS endpoint
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?", re.ASCII)
_PATH = re.compile(r"[!-~]*", re.ASCII)
_SETTINGS = {"ssm": "service.endpoint_url", "sts": "service.sts_endpoint_url"}


class Url(Value):
    """Where requests go: a URL in its parts. `setting` is the key of the configuration that can change it."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    region: str = ""
    setting: str = ""

    @property
    def netloc(self) -> str:
        """Host and port as the header Host has them: without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, without a user or password."""
        return f"{self.scheme}://{self.netloc}{self.path}"


def parse(url: str) -> Url:
    """The endpoint that a URL names; ValueError when it names none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme not in DEFAULT_PORTS or port == 0 or not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
        raise ValueError("not an http or https URL with a host")
    return Url(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], parts.path or "/")


def resolve(service: str, action: str, region: str, settings: ServiceSettings) -> Url:
    """The endpoint of `service` (ssm or sts), with the region to sign for.

    ServiceRefusedError, which begins with `action`: `region-unknown`, `region-mismatch` or `endpoint-not-available`.
    """
    if not REGION.fullmatch(region):
        raise ServiceRefusedError(
            "region-unknown",
            f"{action}: that is not the name of an AWS region",
            "write the region's code, such as us-east-1 or eu-central-1; for FIPS endpoints set service.fips",
        )
    configured = settings.endpoint_url if service == "ssm" else settings.sts_endpoint_url
    setting = _SETTINGS[service]
    if configured is None:
        return _of_aws(service, action, region, settings)
    try:
        endpoint = parse(configured)
    except ValueError:
        raise ServiceRefusedError(
            "endpoint-not-available",
            f"{action}: {setting} is not the URL of a service",
            "write it as https://HOST or https://HOST:PORT, or leave it out for AWS's own endpoint",
        ) from None
    named = region_of(service, endpoint.host) or region
    if service == "ssm" and named != region:
        raise region_mismatch(action, region, named)
    return Url(endpoint.scheme, endpoint.host, endpoint.port, endpoint.path, named, setting)


def region_mismatch(action: str, region: str, named: str, request_id: str | None = None) -> ServiceRefusedError:
    """The node's region is not the endpoint's, which is `named`; empty when it is unknown."""
    theirs = f"of {named}" if named else "of another region"
    return ServiceRefusedError(
        "region-mismatch",
        f"{action}: the node's region is {region}, and the endpoint is {theirs}",
        f"register in {named or 'the region of the endpoint'}, with an activation of that region, or change "
        f"service.endpoint_url to an endpoint of {region}",
        request_id,
    )


def region_of(service: str, host: str) -> str:
    """The region in the name of an endpoint of AWS, VPC endpoints included; empty for any other host."""
    found = re.fullmatch(rf"(?:[\w.-]+\.)?{service}(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(.+)", host.rstrip("."))
    if not found or not REGION.fullmatch(found[1]):
        return ""
    suffixes = {one["outputs"][name] for one in partitions() for name in ("dnsSuffix", "dualStackDnsSuffix")}
    return found[1] if found[2] in suffixes else ""


def _of_aws(service: str, action: str, region: str, settings: ServiceSettings) -> Url:
    host = _host(service, region, fips=settings.fips, dual_stack=settings.dual_stack)
    if host is None:
        raise ServiceRefusedError(
            "endpoint-not-available",
            f"{action}: AWS has no such endpoint in this region",
            f"turn service.dual_stack or service.fips off, or name the endpoint in {_SETTINGS[service]}",
        )
    return Url("https", host, DEFAULT_PORTS["https"], region=region, setting=_SETTINGS[service])


def _host(service: str, region: str, *, fips: bool, dual_stack: bool) -> str | None:
    found = _partition(region)
    name = found["name"]
    if (fips and not found["supportsFIPS"]) or (
        dual_stack and (name in _WITHOUT_DUAL_STACK or not found["supportsDualStack"])
    ):
        return None
    marked = fips and (dual_stack or name != _WITHOUT_FIPS_NAMES)
    suffix = found["dualStackDnsSuffix"] if dual_stack else found["dnsSuffix"]
    return f"{service}{'-fips' if marked else ''}.{region}.{suffix}"


def _partition(region: str) -> Mapping[str, Any]:
    """The partition of a region: the one that lists it, else the one whose pattern it fits, else `aws`."""
    known = partitions()
    listed: Iterator[Any] = (one for one in known if region in one["regions"])
    fitting = (one for one in known if re.fullmatch(one["regionRegex"], region))
    found = next(listed, None) or next(fitting, None) or next(one for one in known if one["id"] == "aws")
    outputs: Mapping[str, Any] = found["outputs"]
    return outputs


@functools.cache
def partitions() -> list[Any]:
    """Botocore's partitions; ModuleNotFoundError without botocore."""
    with open(botocore_file("data", "partitions.json"), encoding="utf-8") as file:
        found: list[Any] = json.load(file)["partitions"]
    return found


def botocore_file(*names: str) -> str:
    """The path of a file of the installed botocore, found without importing it."""
    found = PathFinder.find_spec("botocore")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'botocore'", name="botocore")
    return os.path.join(next(iter(found.submodule_search_locations)), *names)
