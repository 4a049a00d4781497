"""Which proxy a request goes through: `service.proxy_url`, else HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

The variables mean what they mean to botocore and urllib: the spelling in lower case comes first, even when it is empty;
NO_PROXY lists domain names, with or without a leading dot, or is `*`. A value may hold a password, so no error repeats
it. A password must be ASCII once it is decoded, as in the configuration.
"""

import base64
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from rolekeeper.adapters.ssm.endpoints import Url, parse
from rolekeeper.errors import ServiceError
from rolekeeper.values import Value

_QUOTES = "\"'`"


class Proxy(Value, hidden=("authorization",)):
    """A proxy; `authorization` is the value of the header Proxy-Authorization, empty without a user."""

    endpoint: Url
    authorization: str


def proxy_for(action: str, to: Url, configured: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for requests to `to`, if any; ServiceError `proxy-failed`, with `action`, when it has no usable URL."""
    if configured:
        name, value = "service.proxy_url", configured
    else:
        name, value = _variable(environment, f"{to.scheme}_proxy")
        if not value or bypasses(to.netloc, _variable(environment, "no_proxy")[1]):
            return None
    wrong = _fault(value)
    if wrong:
        raise ServiceError(
            "proxy-failed",
            f"{action}: {name} is not the URL of an HTTP proxy: {wrong}",
            f"write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, without quotes: {name}",
        )
    return _parsed(value)


def bypasses(netloc: str, no_proxy: str) -> bool:
    """Whether a host (with its port, if the URL has one) is one that NO_PROXY lists."""
    whole = netloc.lower()
    host, colon, port = whole.rpartition(":")
    hosts = {whole, host if colon and (port.isdecimal() or not port) else whole}
    listed = (name.strip().lstrip(".").lower() for name in no_proxy.split(","))
    return no_proxy == "*" or any(f".{host}".endswith(f".{name}") for name in listed if name for host in hosts)


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable as it is spelled, and its value; the value is empty when it is not set."""
    if name in environment:
        return name, environment[name]
    return next(((spelled, value) for spelled, value in environment.items() if spelled.lower() == name), (name, ""))


def _fault(value: str) -> str:
    """What is wrong with the URL of a proxy; empty when nothing is."""
    scheme, separator, rest = value.partition("://")
    if not value.isascii() or not unquote(rest).isascii():
        return "it has a character that is not ASCII, such as a typographic quote"
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        return "it has quotes around it"
    if separator and scheme.lower() not in {"http", "https"}:
        shown = f"{scheme}://" if scheme.isalnum() else "something else"
        return f"it begins with {shown}, and only http:// and https:// can be used"
    try:
        _parsed(value)
    except ValueError:
        return "it has no valid host or port"
    return ""


def _parsed(value: str) -> Proxy:
    """ValueError when it is no URL; a backslash is refused because readers differ about where the host begins then."""
    url = value if "://" in value else f"http://{value}"
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    if "\\" in url or not url.isprintable() or " " in url:
        raise ValueError("a character that no URL has")
    name, _, password = user.partition(":")
    login = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")
    return Proxy(parse(url), f"Basic {login}" if at else "")
