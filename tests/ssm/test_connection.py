"""TLS, and connections that come to nothing."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.ssm.certificates import Authority
from tests.ssm.conftest import Reply, ScriptedService, ssm_client, token_reply

from rolekeeper.adapters.ssm import tls
from rolekeeper.adapters.ssm.tls import trust_store
from rolekeeper.errors import RolekeeperError, ServiceError
from rolekeeper.model import Registration

DAY = timedelta(days=1)


@pytest.fixture
def ca(tmp_path: Path) -> Any:
    return Authority(tmp_path / "ca")


@contextmanager
def serving(context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[Any]:
    scripted = ScriptedService(context, address)
    scripted.says(token_reply())
    try:
        yield scripted
    finally:
        scripted.stop()


@pytest.fixture
def tls_service(ca: Any) -> Iterator[Any]:
    with serving(ca.server()) as scripted:
        yield scripted


def failure(url: str | None, node: Registration, **changes: Any) -> RolekeeperError:
    with pytest.raises(ServiceError) as caught:
        ssm_client(url, **changes).request_role_token(node, "a-fingerprint")
    assert caught.value.message.startswith(f"Cannot request a role token for {node.node_id} in us-east-1: ")
    return caught.value


def test_a_private_ca_is_trusted_when_ca_bundle_names_it(ca: Any, tls_service: Any, node: Registration) -> None:
    ssm_client(tls_service.url, ca_bundle=str(ca.file)).request_role_token(node, "a-fingerprint")
    assert len(tls_service.requests) == 1


# How a server's certificate is wrong: what it is made of, and the words that its error has, and its hint.
CLOCK = "by this machine's clock, which says 2026-11-23 12:00:00 UTC"
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "for another address": ({}, {"host": "127.0.0.2"}, "it is for another address", "captive portal"),
    "for a name": ({}, {"host": "ssm.example"}, "it is for another address", "captive portal"),
    "self-signed": ({}, {"self_signed": True}, "it is self-signed", "service.ca_bundle"),
    "of the future": ({"made": 20_000 * DAY}, {}, f"is not yet valid {CLOCK}", "set this machine's clock"),
    "of the past": ({"made": -400 * DAY}, {}, f"is expired {CLOCK}", "set this machine's clock"),
}


@pytest.mark.parametrize(("authority", "server", "words", "hint"), WRONG.values(), ids=WRONG)
def test_each_wrong_certificate_is_refused_in_words_of_its_own(
    authority: dict[str, Any],
    server: dict[str, Any],
    words: str,
    hint: str,
    tmp_path: Path,
    node: Registration,
) -> None:
    ca = Authority(tmp_path / "ca", **authority)
    with serving(ca.server(**server)) as scripted:
        error = failure(scripted.url, node, ca_bundle=str(ca.file))
        assert scripted.requests == []
    assert error.code == "tls-failed"
    assert words in error.message
    assert hint in error.hint


def test_a_certificate_of_an_unknown_ca_is_refused_and_the_hint_names_ca_bundle(
    tmp_path: Path, ca: Any, node: Registration
) -> None:
    """Whether or not the server shows the CA's certificate too."""
    other = Authority(tmp_path / "other")
    for send_ca, words in ((False, "it is from an unknown CA"), (True, "its CA is not trusted")):
        with serving(ca.server(send_ca=send_ca)) as scripted:
            error = failure(scripted.url, node, ca_bundle=str(other.file))
            assert scripted.requests == []
        assert error.code == "tls-failed"
        assert words in error.message
        assert "an inspecting proxy has its own" in error.hint


def test_the_systems_trust_store_does_not_trust_a_private_ca(tls_service: Any, node: Registration) -> None:
    error = failure(tls_service.url, node)
    assert error.code == "tls-failed"
    assert "service.ca_bundle" in error.hint
    assert tls_service.requests == []


def test_what_speaks_no_tls_is_no_matter_of_certificates(service: Any, node: Registration) -> None:
    error = failure(service.url.replace("http://", "https://"), node)
    assert error.code == "tls-failed"
    assert "what answers does not speak TLS" in error.message
    assert error.hint.startswith("write http:// where the proxy or endpoint speaks no TLS")


@pytest.mark.parametrize("where", ["directory", "file", "neither"])
def test_a_ca_of_the_system_is_found_in_its_directory_or_its_file(
    where: str, ca: Any, tls_service: Any, node: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of hashes comes first, because it is quick; the file has what an administrator appended to it."""
    other = Authority(tmp_path / "other")
    monkeypatch.setattr(tls, "TRUST_STORES", (str((ca if where == "file" else other).file),))
    monkeypatch.setattr(tls, "CA_DIRECTORY", str(tmp_path / "hashed"))
    (tmp_path / "hashed").mkdir()
    (tmp_path / "hashed" / "00000000.0").touch()
    if where == "directory":
        ca.hash_into(tmp_path / "hashed")
    if where == "neither":
        assert failure(tls_service.url, node).code == "tls-failed"
    else:
        ssm_client(tls_service.url).request_role_token(node, "a-fingerprint")
    assert len(tls_service.requests) == (where != "neither")


def test_a_machine_without_a_trust_store_is_told_which_package_to_install(
    tls_service: Any, node: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the list of places empty; botocore's own bundle knows AWS, and no private CA."""
    monkeypatch.setattr(tls, "TRUST_STORES", ())
    error = failure(tls_service.url, node)
    assert error.code == "tls-failed"
    assert "this machine has no trust store" in error.message
    assert error.hint.startswith("install the package ca-certificates")
    assert "proxy" not in error.hint
    with pytest.raises(ServiceError, match="no trust store") as caught:
        trust_store(None, [])
    assert caught.value.code == "ca-bundle-unreadable"
    assert caught.value.hint == error.hint


def test_the_trust_store_is_read_once_in_a_process(ca: Any, tls_service: Any, node: Registration) -> None:
    """Once it is damaged, only a second reading would notice."""
    for _ in range(2):
        ssm_client(tls_service.url, ca_bundle=str(ca.file)).request_role_token(node, "a-fingerprint")
        ca.file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert len(tls_service.requests) == 2


def test_keys_of_a_session_are_written_nowhere(
    ca: Any, tls_service: Any, node: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    ssm_client(tls_service.url, ca_bundle=str(ca.file)).request_role_token(node, "a-fingerprint")
    assert not (tmp_path / "keys").exists()


def test_the_server_is_told_the_name_that_is_wanted(
    ca: Any, node: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SNI, and a certificate with that name; each address of the name is tried in order."""
    context, wanted = ca.server("ssm.example"), []
    context.sni_callback = lambda _link, name, _context: wanted.append(name)
    with serving(context) as scripted:
        names = {"ssm.example": ["127.0.0.2", "::1", "127.0.0.1"]}
        monkeypatch.setattr(socket, "getaddrinfo", resolver(names))
        ssm_client(f"https://ssm.example:{scripted.port}", ca_bundle=str(ca.file)).request_role_token(node, "f")
    assert wanted == ["ssm.example"]
    assert scripted.requests[0].headers["host"] == f"ssm.example:{scripted.port}"


def resolver(names: dict[str, list[str]]) -> Any:
    """The name service, with these names."""
    whole = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any) -> Any:
        return [found for address in names.get(host, [host]) for found in whole(address, port, *rest)]

    return resolve


def test_an_ipv6_address_is_reached(ca: Any, node: Registration) -> None:
    with serving(ca.server("::1"), "::1") as scripted:
        ssm_client(scripted.url, ca_bundle=str(ca.file)).request_role_token(node, "f")
    assert scripted.requests[0].headers["host"] == f"[::1]:{scripted.port}"


def test_a_machine_without_ipv4_is_told_of_dual_stack(node: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a multicast address there is no route for TCP, as there is none to any IPv4 address from such a machine."""
    names = {
        "ssm.us-east-1.amazonaws.com": ["224.0.0.1"],
        "ssm.us-east-1.api.aws": ["224.0.0.1"],
        "own.example": ["224.0.0.1"],
    }
    monkeypatch.setattr(socket, "getaddrinfo", resolver(names))
    hints = [
        failure(None, node).hint,
        failure(None, node, dual_stack=True).hint,
        failure("https://own.example", node).hint,
    ]
    assert ["service.dual_stack" in hint for hint in hints] == [True, False, False]


def test_tls_to_a_server_that_speaks_none_is_a_tls_failure(service: Any, node: Registration) -> None:
    assert failure(service.url.replace("http:", "https:"), node).code in {"tls-failed", "connection-lost"}
    assert service.requests == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate at all"])
def test_a_ca_bundle_that_is_none_is_named(
    content: bytes | None, tmp_path: Path, service: Any, node: Registration
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ServiceError) as caught:
        ssm_client(service.url, ca_bundle=str(bundle)).request_role_token(node, "a-fingerprint")
    assert caught.value.code == "ca-bundle-unreadable"
    assert str(bundle) in caught.value.message
    assert "service.ca_bundle" in caught.value.hint
    assert service.requests == []


def test_a_directory_is_no_ca_bundle(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="Is a directory"):
        trust_store(str(tmp_path))


def test_damaged_certificates_in_the_bundle_are_a_tls_failure(
    tmp_path: Path, tls_service: Any, node: Registration
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    error = failure(tls_service.url, node, ca_bundle=str(bundle))
    assert error.code == "tls-failed"
    assert "service.ca_bundle" in error.hint


def test_the_first_trust_store_that_is_there_and_not_empty_counts(tmp_path: Path) -> None:
    missing, empty, first, second = (tmp_path / word for word in ("missing", "empty", "first", "second"))
    empty.touch()
    first.write_text("x")
    second.write_text("x")
    candidates = [str(path) for path in (missing, empty, tmp_path, first, second)]
    assert trust_store(None, candidates) == str(first)


def test_the_systems_trust_store_is_the_default() -> None:
    assert Path(trust_store(None)).stat().st_size > 0


def test_a_port_that_nobody_listens_on_is_unreachable(node: Registration) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(f"http://127.0.0.1:{taken.getsockname()[1]}", node)
    assert error.code == "unreachable"
    assert "Connection refused" in error.message


def test_a_name_that_does_not_exist_is_unreachable(node: Registration) -> None:
    error = failure("http://no-such-host.invalid", node)
    assert error.code == "unreachable"
    assert "name service" in error.hint


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ({"hang": True}, "timeout"),
        ({"drop": True}, "connection-lost"),
        ({"body": b"{}  ", "short": 2}, "connection-lost"),
    ],
)
def test_a_connection_that_ends_early_or_never_is_told_apart(
    trouble: dict[str, Any], code: str, service: Any, node: Registration
) -> None:
    service.says(Reply(**trouble))
    assert failure(service.url, node, read_timeout=timedelta(seconds=0.2)).code == code


def test_a_password_in_the_endpoint_url_is_not_told(node: Registration) -> None:
    error = failure("http://user:pass-word@127.0.0.1:9", node)
    assert error.code == "unreachable"
    assert "(Connection refused, http://127.0.0.1:9/)" in error.message


@contextmanager
def pouring(first: bytes, forever: bytes) -> Iterator[str]:
    """A service that says `first`, and then `forever` until the client has had enough."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.settimeout(20)
                try:
                    peer.sendall(first)
                    while True:
                        peer.sendall(forever)
                except OSError:
                    pass

        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.join()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "longer than 1048576 bytes"),
    "headers": (OK, b"X: y\r\n", "got more than 100 headers"),
    "a header": (OK + b"X: ", b"y" * 1000, "got more than 65536 bytes when reading header line"),
    "a status": (b"HTTP/1.1 200 ", b"O" * 1000, "got more than 65536 bytes when reading status line"),
    "a body": (OK + b"\r\n", b" " * 1000, "longer than 1048576 bytes"),
    "a body of a declared size": (OK + b"Content-Length: 9999999999999\r\n\r\n", b" " * 1000, "longer than 1048576"),
    "chunks": (CHUNKED, b"1\r\n \r\n", "longer than 1048576 bytes"),
    "a chunk": (CHUNKED + b"FFFFFFFFFF\r\n", b" " * 1000, "longer than 1048576 bytes"),
    "a chunk of negative size": (CHUNKED + b"-1\r\n", b" " * 1000, "longer than 1048576 bytes"),
    "a chunk's size": (CHUNKED, b"0" * 1000, "got more than 65536 bytes when reading chunk size"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n", "longer than 1048576 bytes"),
    "what is not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", b" " * 1000, "it is not HTTP"),
    "another HTTP": (b"HTTP/2.0 200 OK\r\n", b" " * 1000, "it is not HTTP"),
}


@pytest.mark.parametrize(("first", "forever", "words"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_not_read_to_its_end(
    first: bytes, forever: bytes, words: str, node: Registration
) -> None:
    with pouring(first, forever) as url:
        error = failure(url, node)
    assert error.code == "unusable-answer"
    assert words in error.message


def test_no_word_of_what_is_not_http_is_repeated(node: Registration) -> None:
    with pouring(b"a-secret ", b"\r\n") as url:
        assert "a-secret" not in failure(url, node).message
