"""Proxies: which one a request takes, how it gets through, and what an error says of it."""

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass_environment

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ssm.certificates import Authority
from tests.ssm.conftest import Reply, ScriptedService, ssm_client, token_reply

from rolekeeper.adapters.ssm.endpoints import parse
from rolekeeper.adapters.ssm.proxies import bypasses, proxy_for
from rolekeeper.errors import ServiceError
from rolekeeper.model import Registration

LOGIN = base64.b64encode(b"us:er:pass@word").decode()
USER_INFO = "us%3Aer:pass%40word"


class Tunnel:
    """A proxy that connects every client to `to`, whatever name it asks for, and remembers what clients say to it."""

    def __init__(self, to: int, context: ssl.SSLContext | None = None) -> None:
        self.heads: list[str] = []
        self._to, self._context = to, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._join, args=(self._listener.accept()[0],), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
            closing.enter_context(client)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (piece := client.recv(1)):
                    return  # a client that wants to know whether somebody listens
                head += piece
            self.heads.append(head.decode())
            server = closing.enter_context(socket.create_connection(("127.0.0.1", self._to)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            upward = threading.Thread(target=pump, args=(client, server), daemon=True)
            upward.start()
            pump(server, client)
            client.shutdown(socket.SHUT_RDWR)  # which ends the other direction, too
            upward.join()


def pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            to.sendall(piece)


@pytest.fixture
def ca(tmp_path: Any) -> Any:
    return Authority(tmp_path / "ca")


@pytest.fixture
def aws(ca: Any) -> Iterator[Any]:
    """A service that shows the certificate of AWS's own endpoint."""
    scripted = ScriptedService(ca.server("ssm.us-east-1.amazonaws.com"))
    scripted.says(token_reply())
    yield scripted
    scripted.stop()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("source", ["settings", "environment"])
def test_aws_is_reached_through_the_tunnel_of_a_proxy(
    scheme: str, source: str, ca: Any, aws: Any, node: Registration
) -> None:
    """With TLS to the proxy and inside it, name and certificate of both verified; a long answer comes through whole."""
    tunnel = Tunnel(aws.port, ca.server() if scheme == "https" else None)
    url = f"{scheme}://{USER_INFO}@{tunnel.address}"
    aws.says(token_reply(SessionToken="A" * 16_000))
    used: dict[str, Any] = {"proxy_url": url} if source == "settings" else {"environment": {"HTTPS_PROXY": url}}
    answer = ssm_client(None, ca_bundle=str(ca.file), **used).request_role_token(node, "f")
    tunnel.stop()
    assert len(answer.token.session_token) == 16_000
    name = "ssm.us-east-1.amazonaws.com:443"
    assert tunnel.heads == [
        f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\nproxy-authorization: Basic {LOGIN}\r\n\r\n",
    ]
    assert "proxy-authorization" not in aws.requests[0].headers
    assert aws.requests[0].headers["host"] == "ssm.us-east-1.amazonaws.com"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_certificate_behind_a_proxy_is_verified(scheme: str, ca: Any, node: Registration) -> None:
    scripted = ScriptedService(ca.server("ssm.us-west-2.amazonaws.com"))
    tunnel = Tunnel(scripted.port, ca.server() if scheme == "https" else None)
    with pytest.raises(ServiceError, match="it is for another name") as caught:
        ssm_client(None, ca_bundle=str(ca.file), proxy_url=f"{scheme}://{tunnel.address}").request_role_token(node, "f")
    tunnel.stop()
    scripted.stop()
    assert caught.value.code == "tls-failed"
    assert scripted.requests == []


def test_the_certificate_of_a_proxy_is_verified(ca: Any, aws: Any, node: Registration) -> None:
    tunnel = Tunnel(aws.port, ca.server("127.0.0.2"))
    with pytest.raises(ServiceError, match="it is for another address") as caught:
        ssm_client(None, ca_bundle=str(ca.file), proxy_url=f"https://{tunnel.address}").request_role_token(node, "f")
    tunnel.stop()
    assert caught.value.code == "tls-failed"
    assert (tunnel.heads, aws.requests) == ([], [])


def test_without_tls_a_proxy_gets_the_whole_url_and_the_login(service: Any, node: Registration) -> None:
    service.says(token_reply())
    proxy = service.url.replace("http://", f"http://{USER_INFO}@")
    ssm_client("http://ssm.example:8000", proxy_url=proxy).request_role_token(node, "f")
    (request,) = service.requests
    assert request.target == "http://ssm.example:8000/"
    assert request.headers["host"] == "ssm.example:8000"
    assert request.headers["proxy-authorization"] == f"Basic {LOGIN}"


def failure(url: str | None, node: Registration, **changes: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        ssm_client(url, **changes).request_role_token(node, "a-fingerprint")
    assert caught.value.code == "proxy-failed"
    return caught.value


def test_a_proxy_that_is_not_there_is_told_without_its_password(node: Registration) -> None:
    for url in ("http://ssm.example", "https://ssm.example"):
        error = failure(url, node, proxy_url="http://user:pass-word@127.0.0.1:9")
        assert "Connection refused, http://127.0.0.1:9/" in error.message
        assert "pass-word" not in f"{error.message}{error.hint}"


@pytest.mark.parametrize("status", [407, 403, 502, 599])
def test_a_proxy_that_refuses_the_tunnel_is_a_proxy_failure(status: int, service: Any, node: Registration) -> None:
    service.says(Reply(status, b""))
    assert f"it answers {status}" in failure("https://ssm.example", node, proxy_url=service.url).message


def test_a_proxy_that_wants_a_login_is_a_proxy_failure_without_tls_too(service: Any, node: Registration) -> None:
    service.says(Reply(407, b""))
    error = failure("http://ssm.example", node, proxy_url=service.url)
    assert "it answers 407 Proxy Authentication Required" in error.message


# What HTTPS_PROXY may hold, and what is said of it.
FAULTS = {
    "socks5://user:xq@h:1080": "it begins with socks5://, and only http:// and https:// can be used",
    "SOCKS5h://h:1080": "it begins with SOCKS5h://",
    "\u201chttp://user:xq@h:3128\u201d": "not ASCII, such as a typographic quote",
    '"http://user:xq@h:3128"': "it has quotes around it",
    "'h:3128'": "it has quotes around it",
    "http://user:x%C3%A4q@h:9": "not ASCII",
    "http://xq:xq@[::1": "no valid host or port",
    "http://xq:xq@xq@127.0.0.1:99999": "no valid host or port",
    "http://xq:xq/xq@127.0.0.1:9": "no valid host or port",
    "http://xq:xq\\xq@127.0.0.1:9": "no valid host or port",
    "http://xq:xqxq\u2100@h:9": "not ASCII",
    "http://xq:xq xq@h:9": "no valid host or port",
    "http://h:0": "no valid host or port",
    "http://": "no valid host or port",
    "xq:xq@evil://h": "it begins with something else",
    f"http://{'x' * 64}:9": "no valid host or port",
}


@pytest.mark.parametrize(("value", "words"), FAULTS.items())
def test_a_proxy_variable_that_cannot_be_used_is_named_and_not_repeated(
    value: str, words: str, node: Registration
) -> None:
    error = failure(None, node, environment={"HTTPS_PROXY": value})
    assert "HTTPS_PROXY is not the URL of an HTTP proxy" in error.message
    assert words in error.message
    assert "HTTPS_PROXY" in error.hint
    assert "xq" not in f"{error.message}{error.hint}"


def test_a_proxy_of_the_settings_counts_whatever_the_environment_says(node: Registration) -> None:
    environment = {"no_proxy": "*", "https_proxy": "socks5://h"}
    error = failure(None, node, environment=environment, proxy_url="socks5://h")
    assert "service.proxy_url is not" in error.message


NAMES = [spelled for name in ("http_proxy", "https_proxy", "no_proxy") for spelled in (name, name.upper())]
HOSTS = ["host.example", "HOST.example:8443", "sub.host.example", "example", "127.0.0.1", "[::1]", "[::1]:8443", "h"]
LISTS = st.lists(st.sampled_from([*HOSTS, ".host.example", " .example ", "*", "", "*.example", "8443"]), max_size=3)


@given(netloc=st.sampled_from(HOSTS), listed=LISTS.map(",".join))
def test_no_proxy_means_what_it_means_to_urllib(netloc: str, listed: str) -> None:
    assert bypasses(netloc, listed) == bool(listed and proxy_bypass_environment(netloc, {"no": listed}))


@given(
    environment=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", "p:1", "http://q:2", "host.example"])),
    scheme=st.sampled_from(["http", "https"]),
)
def test_the_variables_are_those_that_urllib_takes(environment: dict[str, str], scheme: str) -> None:
    url = f"{scheme}://host.example"
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        expected = None if proxy_bypass_environment("host.example") else getproxies_environment().get(scheme)
    found = proxy_for("Cannot try", parse(url), None, environment)
    assert (found and found.endpoint) == (expected and parse(expected if "://" in expected else f"http://{expected}"))
