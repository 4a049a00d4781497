"""TLS, proxies, and connections that come to nothing."""

import ipaddress
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rolekeeper.adapters.ssm.http import trust_store
from rolekeeper.errors import RolekeeperError, ServiceError
from rolekeeper.model import Registration

DAY = timedelta(days=1)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def authority(directory: Path, *, address: str = "127.0.0.1", made: timedelta = timedelta(0)) -> tuple[Path, Path]:
    """A CA's certificate, and a chain with key that it signed for `address`; good for a day around `made` from now."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC) + made
    base = x509.CertificateBuilder().issuer_name(name("test CA")).not_valid_before(now - DAY).not_valid_after(now + DAY)
    ca = base.subject_name(name("test CA")).public_key(ca_key.public_key()).serial_number(1)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    usage = x509.KeyUsage(*(index in {0, 5, 6} for index in range(9)))
    signed_ca = ca.add_extension(usage, critical=True).sign(ca_key, SHA256())
    leaf = base.subject_name(name("service")).public_key(key.public_key()).serial_number(2)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    signed = (
        leaf.add_extension(alternative, critical=False).add_extension(issuer, critical=False).sign(ca_key, SHA256())
    )
    ca_file, chain = directory / "ca.pem", directory / "chain.pem"
    ca_file.write_bytes(signed_ca.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return ca_file, chain


def server_context(chain: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


@pytest.fixture
def ca(tmp_path: Path) -> tuple[Path, Path]:
    return authority(tmp_path)


@pytest.fixture
def tls_service(ca: tuple[Path, Path], kit: Any) -> Iterator[Any]:
    scripted = kit.service(server_context(ca[1]))
    scripted.says(kit.token_reply())
    yield scripted
    scripted.stop()


def failure(kit: Any, url: str, node: Registration, **changes: Any) -> RolekeeperError:
    with pytest.raises(ServiceError) as caught:
        kit.client(url, **changes).request_role_token(node, "a-fingerprint")
    assert caught.value.message.startswith(f"Cannot request a role token for {node.node_id} in us-east-1: ")
    return caught.value


def test_a_private_ca_is_trusted_when_ca_bundle_names_it(
    ca: tuple[Path, Path], tls_service: Any, kit: Any, node: Registration
) -> None:
    kit.client(tls_service.url, ca_bundle=str(ca[0])).request_role_token(node, "a-fingerprint")
    assert len(tls_service.requests) == 1


def test_a_private_ca_is_refused_otherwise_and_the_hint_names_ca_bundle(
    tls_service: Any, kit: Any, node: Registration
) -> None:
    error = failure(kit, tls_service.url, node)
    assert error.code == "tls-failed"
    assert "service.ca_bundle" in error.hint
    assert "certificate verify failed" in error.message
    assert tls_service.requests == []


def test_a_certificate_for_another_address_is_refused(tmp_path: Path, kit: Any, node: Registration) -> None:
    ca_file, chain = authority(tmp_path, address="127.0.0.2")
    scripted = kit.service(server_context(chain))
    error = failure(kit, scripted.url, node, ca_bundle=str(ca_file))
    scripted.stop()
    assert error.code == "tls-failed"
    assert scripted.requests == []


@pytest.mark.parametrize(("made", "what"), [(20_000 * DAY, "not yet valid"), (-400 * DAY, "expired")])
def test_a_certificate_that_is_out_of_its_time_names_the_clock_as_the_likely_cause(
    made: timedelta, what: str, tmp_path: Path, kit: Any, node: Registration
) -> None:
    ca_file, chain = authority(tmp_path, made=made)
    scripted = kit.service(server_context(chain))
    error = failure(kit, scripted.url, node, ca_bundle=str(ca_file))
    scripted.stop()
    assert error.code == "tls-failed"
    assert f"is {what} by this machine's clock, which says 2026-11-23 12:00:00 UTC" in error.message
    assert error.hint.startswith("set this machine's clock")


def test_tls_to_a_server_that_speaks_none_is_a_tls_failure(service: Any, kit: Any, node: Registration) -> None:
    assert failure(kit, service.url.replace("http:", "https:"), node).code in {"tls-failed", "connection-lost"}
    assert service.requests == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate at all"])
def test_a_ca_bundle_that_is_none_is_named(
    content: bytes | None, tmp_path: Path, service: Any, kit: Any, node: Registration
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ServiceError) as caught:
        kit.client(service.url, ca_bundle=str(bundle)).request_role_token(node, "a-fingerprint")
    assert caught.value.code == "ca-bundle-unreadable"
    assert str(bundle) in caught.value.message
    assert "service.ca_bundle" in caught.value.hint
    assert service.requests == []


def test_a_directory_is_no_ca_bundle(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="Is a directory"):
        trust_store(str(tmp_path))


def test_damaged_certificates_in_the_bundle_are_a_tls_failure(
    tmp_path: Path, tls_service: Any, kit: Any, node: Registration
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    error = failure(kit, tls_service.url, node, ca_bundle=str(bundle))
    assert error.code == "tls-failed"
    assert "service.ca_bundle" in error.hint


def test_the_first_trust_store_that_is_there_and_not_empty_counts(tmp_path: Path) -> None:
    missing, empty, first, second = (tmp_path / word for word in ("missing", "empty", "first", "second"))
    empty.touch()
    first.write_text("x")
    second.write_text("x")
    candidates = [str(path) for path in (missing, empty, tmp_path, first, second)]
    assert trust_store(None, candidates) == str(first)


def test_without_a_trust_store_botocores_own_is_used(tmp_path: Path) -> None:
    assert trust_store(None, [str(tmp_path / "missing")]) is True


def test_the_systems_trust_store_is_the_default() -> None:
    found = trust_store(None)
    assert found is True or Path(str(found)).stat().st_size > 0


def test_a_port_that_nobody_listens_on_is_unreachable(kit: Any, node: Registration) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(kit, f"http://127.0.0.1:{taken.getsockname()[1]}", node)
    assert error.code == "unreachable"
    assert "Connection refused" in error.message


def test_a_name_that_does_not_exist_is_unreachable(kit: Any, node: Registration) -> None:
    error = failure(kit, "http://no-such-host.invalid", node)
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
    trouble: dict[str, Any], code: str, service: Any, kit: Any, node: Registration
) -> None:
    service.says(kit.reply(**trouble))
    assert failure(kit, service.url, node, read_timeout=timedelta(seconds=0.2)).code == code


def test_a_proxy_that_is_not_there_is_told_without_its_password(kit: Any, node: Registration) -> None:
    proxy = "http://user:pass-word@127.0.0.1:9"
    for url in ("http://ssm.example", "https://ssm.example"):
        error = failure(kit, url, node, proxy_url=proxy)
        assert error.code == "proxy-failed"
        assert "pass-word" not in f"{error.message}{error.hint}"


def test_a_proxy_password_that_is_not_ascii_is_not_told_in_part(kit: Any, node: Registration) -> None:
    error = failure(kit, "http://ssm.example", node, proxy_url="http://user:%C3%A4@127.0.0.1:9")
    assert "is not ASCII" in error.message
    assert "xe4" not in error.message


def test_a_password_in_the_endpoint_url_is_not_told(kit: Any, node: Registration) -> None:
    error = failure(kit, "http://user:pass-word@127.0.0.1:9", node)
    assert error.code == "unreachable"
    assert "http://***@127.0.0.1:9/" in error.message


def test_a_proxy_that_refuses_is_a_proxy_failure(service: Any, kit: Any, node: Registration) -> None:
    service.says(kit.reply(407, b""))
    for url in ("https://ssm.example", "http://ssm.example"):
        error = failure(kit, url, node, proxy_url=service.url)
        assert error.code == "proxy-failed"
        assert "407" in error.message


@pytest.mark.parametrize(
    "rest", ["@[::1", "@xq@127.0.0.1:99999", "/xq@127.0.0.1:9", "\\xq@127.0.0.1:9", "xq\u2100@h:9"]
)
def test_a_proxy_url_that_is_none_is_told_without_its_user_and_password(
    kit: Any, node: Registration, rest: str
) -> None:
    """The configuration refuses these; HTTPS_PROXY may hold anything."""
    error = failure(kit, "http://ssm.example", node, proxy_url=f"http://xq:xq{rest}")
    assert "xq" not in f"{error.message}{error.hint}"
