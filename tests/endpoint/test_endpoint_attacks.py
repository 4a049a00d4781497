"""Clients that are slow, silent, many or greedy, and servers that end or are killed: honest requests are answered."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event, Thread

import pytest
from tests.endpoint.conftest import LONGEST, Service, everything, parsed, request

from rolekeeper.endpoint.documents import Directory
from rolekeeper.endpoint.server import MOST_CONNECTIONS, Server

MANY = 2000


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Clients and server are one machine; the server keeps to the usual limit, which a child gets from `start`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 200:
        pytest.skip("the limit on open files is too low for so many clients")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def rack(foreground: Service) -> Service:
    foreground.publish("rack", 1)
    return foreground


def test_two_thousand_silent_connections_keep_no_honest_request_out(rack: Service) -> None:
    with ExitStack() as clients:
        silent = [clients.enter_context(rack.connect()) for _ in range(MANY)]
        assert rack.get()[0] == 200
        assert [one for one in silent[:-MOST_CONNECTIONS] if everything(one)] == []  # the oldest were closed for it


def test_a_low_limit_on_open_files_lets_honest_requests_through_too(service: Service) -> None:
    service.publish("rack", 1)
    service.start("prlimit", "--nofile=64")
    with ExitStack() as clients:
        for _ in range(200):
            clients.enter_context(service.connect())
        assert service.get()[0] == 200


def test_two_thousand_requests_at_once_are_all_answered(rack: Service) -> None:
    wanted = request("rack", rack.authorization())
    with ExitStack() as clients:
        asking: list[socket.socket] = []
        for _ in range(MANY):
            asking.append(clients.enter_context(rack.connect()))
            asking[-1].sendall(wanted)
        assert [parsed(everything(client))[0] for client in asking] == [200] * MANY


def test_slow_clients_are_cut_off_and_delay_nobody(rack: Service) -> None:
    wanted = request("rack", rack.authorization())
    with ExitStack() as clients:
        slow = [clients.enter_context(rack.connect()) for _ in range(MOST_CONNECTIONS // 2)]
        for position in range(10):
            for client in slow:
                client.send(wanted[position : position + 1])
            assert rack.get()[0] == 200
        assert [everything(client) for client in slow] == [b""] * len(slow)


def test_a_megabyte_of_headers_is_refused_unread(rack: Service) -> None:
    filler = b"X: " + b"a" * 1000 + b"\r\n"
    answer = rack.ask(request("rack", rack.authorization())[:-2] + filler * 1000 + b"\r\n")
    assert answer == b"" or parsed(answer)[0] == 431  # the answer may be lost, as more comes in than is read
    assert rack.ask(request("rack")[:-2] + b"X: " + b"a" * 8190)[:12] == b"HTTP/1.1 431"
    assert rack.get()[0] == 200


def test_a_connection_carries_one_request(rack: Service) -> None:
    wanted = request("rack", rack.authorization())
    with rack.connect() as client:
        client.sendall(wanted * 2)
        assert everything(client).count(b"HTTP/1.1 200") == 1


def test_a_request_in_pieces_is_put_together(rack: Service) -> None:
    wanted = request("rack", rack.authorization())
    with rack.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(0, len(wanted), 7):
            client.sendall(wanted[position : position + 7])
        assert parsed(everything(client))[0] == 200


def test_a_client_that_goes_before_its_answer_harms_nobody(rack: Service) -> None:
    for _ in range(100):
        with rack.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by a reset
            client.sendall(request("rack", rack.authorization()))
    assert rack.get()[0] == 200


def test_a_server_that_is_killed_gives_whole_answers_or_none_and_the_next_one_goes_on(service: Service) -> None:
    service.publish("rack", 1)
    wanted = request("rack", service.authorization())
    answers: list[bytes] = []
    enough = Event()

    def ask_on_and_on() -> None:
        while not enough.is_set():
            answers.append(service.ask(wanted))

    askers = [Thread(target=ask_on_and_on) for _ in range(4)]
    for asker in askers:
        asker.start()
    for _ in range(5):
        server, known = service.start(), len(answers)
        while len(answers) < known + 50 and askers[0].is_alive():
            time.sleep(0.01)
        server.kill()
        server.wait()
    service.start()
    enough.set()
    for asker in askers:
        asker.join(LONGEST)
    assert {parsed(answer)[0] for answer in answers if answer} == {200}


def test_a_server_that_systemd_started_ends_when_it_is_idle_and_leaves_the_queue_to_the_next(service: Service) -> None:
    service.publish("rack", 1)
    assert service.listener is not None
    Server([service.listener.dup()], Directory(str(service.directory / "endpoint"))).run(idle=0.05)
    with service.connect() as early:
        early.sendall(request("rack", service.authorization()))
        service.start()
        assert parsed(everything(early))[0] == 200


def test_a_server_that_is_never_idle_ends_too_once_open_connections_are_served(service: Service) -> None:
    service.publish("rack", 1)
    assert service.listener is not None
    server = Server([service.listener.dup()], Directory(str(service.directory / "endpoint")))
    wanted = request("rack", service.authorization())
    running = Thread(target=server.run, kwargs={"longest": 0.3})
    with service.connect() as client:
        client.sendall(wanted[:-1])
        running.start()
        while is_answered_soon(service, wanted):
            """It still accepts connections."""
        client.sendall(wanted[-1:])
        assert parsed(everything(client))[0] == 200
    running.join(LONGEST)
    assert not running.is_alive()


def is_answered_soon(service: Service, wanted: bytes) -> bool:
    with service.connect() as client:
        client.settimeout(0.5)
        client.sendall(wanted)
        try:
            return bool(client.recv(1))
        except TimeoutError:
            return False


def test_it_serves_any_number_of_sockets(service: Service) -> None:
    service.publish("rack", 1)
    documents = Directory(str(service.directory / "endpoint"))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    running = Thread(target=Server(sockets, documents).run, kwargs={"idle": 1.0})
    running.start()
    for one in sockets:
        service.port = one.getsockname()[1]
        assert service.get()[0] == 200
    running.join(LONGEST)


def test_no_other_server_can_take_the_port(service: Service) -> None:
    for option in (0, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - to be refused
            with socket.socket() as thief:
                if option:
                    thief.setsockopt(socket.SOL_SOCKET, option, 1)
                with pytest.raises(OSError, match="in use"):
                    take(thief, address, service.port)


def take(thief: socket.socket, address: str, port: int) -> None:
    thief.bind((address, port))
    thief.listen()
