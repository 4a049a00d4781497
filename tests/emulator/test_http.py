"""What the server makes of bytes, sent without a client's help."""

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.emulator.conftest import Machine

from rolekeeper.emulator import Emulator
from rolekeeper.errors import UnavailableError, UsageError

TOKEN = "RequestManagedInstanceRoleToken"
Connect = Callable[[Emulator], socket.socket]


def head_of(node: Machine, *extra: str) -> tuple[str, bytes]:
    """The head of a signed request, and the body that belongs to it."""
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    lines = [f"Host: 127.0.0.1:{node.emulator.port}", *(f"{name}: {value}" for name, value in headers.items()), *extra]
    return "POST / HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n", body


def answer_on(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_a_chunked_body_is_put_together(emulator: Emulator, node: Machine, raw_connection: Connect) -> None:
    head, body = head_of(node, "Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:8], body[8:]))
    connection = raw_connection(emulator)
    connection.sendall(head.encode() + chunks + b"0\r\n\r\n")
    status, answer = answer_on(connection)
    assert (status, json.loads(answer)["UpdateKeyPair"]) == (200, False)


def test_a_client_that_asks_before_it_sends_the_body_gets_100_continue(
    emulator: Emulator, node: Machine, raw_connection: Connect
) -> None:
    head, body = head_of(node, "Expect: 100-continue")
    connection = raw_connection(emulator)
    connection.sendall(head.replace("\r\n\r\n", f"\r\nContent-Length: {len(body)}\r\n\r\n").encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body)
    assert answer_on(connection)[0] == 200


def test_a_request_that_comes_byte_by_byte_is_understood(
    emulator: Emulator, node: Machine, raw_connection: Connect
) -> None:
    head, body = head_of(node)
    raw = head.replace("\r\n\r\n", f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    connection = raw_connection(emulator)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for place in range(len(raw)):
        connection.sendall(raw[place : place + 1])
    assert answer_on(connection)[0] == 200


def test_one_connection_carries_many_requests(emulator: Emulator, node: Machine) -> None:
    headers, body = node.signed(TOKEN, {"Fingerprint": node.fingerprint})
    with closing(http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)) as connection:
        for _ in range(3):
            connection.request("POST", "/", body, headers)
            kept = connection.sock
            response = connection.getresponse()
            assert (response.status, len(response.read()) > 500) == (200, True)
            assert connection.sock is kept


def test_two_requests_sent_at_once_are_answered_in_turn(
    emulator: Emulator, node: Machine, raw_connection: Connect
) -> None:
    head, body = head_of(node)
    raw = head.replace("\r\n\r\n", f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    connection = raw_connection(emulator)
    connection.sendall(raw + raw.replace(b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nConnection: close\r\n"))
    stream = b""
    while received := connection.recv(65536):
        stream += received
    assert stream.count(b"HTTP/1.1 200 ") == 2


def test_a_client_that_closes_the_connection_after_its_request_is_answered(
    emulator: Emulator, node: Machine, raw_connection: Connect
) -> None:
    head, body = head_of(node, "Connection: close")
    connection = raw_connection(emulator)
    connection.sendall(head.replace("\r\n\r\n", f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
    connection.shutdown(socket.SHUT_WR)
    assert answer_on(connection)[0] == 200
    assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"z" * 1_200_000, b"413"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", b"400"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    emulator: Emulator, raw_connection: Connect, raw: bytes, status: bytes
) -> None:
    connection = raw_connection(emulator)
    connection.sendall(raw)
    stream = b""
    try:
        while received := connection.recv(65536):
            stream += received
    except ConnectionResetError:  # bytes that nobody read make the closing abrupt
        pass
    assert stream.startswith(b"HTTP/1.1 " + status)
    assert emulator.requests == ()


def test_a_head_request_gets_no_body(emulator: Emulator, raw_connection: Connect) -> None:
    connection = raw_connection(emulator)
    connection.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    stream = b""
    while received := connection.recv(65536):
        stream += received
    assert stream.startswith(b"HTTP/1.1 404 ")
    assert stream.endswith(b"\r\n\r\n")


def test_a_connection_without_a_request_does_no_harm(
    emulator: Emulator, node: Machine, raw_connection: Connect
) -> None:
    raw_connection(emulator).close()
    raw_connection(emulator).sendall(b"POST / HT")
    assert node.request_token().status == 200


def test_many_machines_at_once_are_served_once_each(emulator: Emulator, keys: tuple[RSAPrivateKey, ...]) -> None:
    activation = emulator.create_activation(limit=20)
    machines = [Machine(emulator, keys[0]).register(activation) for _ in range(20)]
    threads = [threading.Thread(target=machine.request_token) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    served = [record.node_id for record in emulator.wait_for(TOKEN, 20)]
    assert sorted(served) == sorted(machine.node_id for machine in machines)
    assert len(emulator.tokens) == 20


def test_a_port_that_is_taken_is_an_error_that_says_so(emulator: Emulator) -> None:
    with pytest.raises(UnavailableError, match=f"Cannot listen on 127.0.0.1 port {emulator.port}") as caught:
        Emulator(port=emulator.port)
    assert caught.value.hint


@pytest.mark.parametrize("address", ["", "\u00e9..x", "nowhere.invalid"])
def test_an_invalid_address_is_an_error_that_says_so(address: str) -> None:
    with pytest.raises((UnavailableError, UsageError), match="Cannot listen on") as caught:
        Emulator(address=address)
    assert caught.value.hint


def test_it_listens_on_ipv6_too() -> None:
    try:
        running = Emulator(address="::1")
    except UnavailableError:
        pytest.skip("this machine has no IPv6 loopback")
    with running as emulator, socket.create_connection(("::1", emulator.port), timeout=30):
        assert emulator.url == f"http://[::1]:{emulator.port}"
