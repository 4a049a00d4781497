"""Start and stop: as an object, under TLS, until a signal, and as a pytest fixture."""

import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tests.emulator.conftest import Machine, exchange
from tests.ssm.certificates import Authority

from rolekeeper.emulator import Emulator, Tls
from rolekeeper.errors import InputOutputError

pytest_plugins = ["pytester"]

SERVE = """
import sys
from rolekeeper.emulator import Emulator

Emulator().run(lambda emulator: print(emulator.url, flush=True))
print("stopped")
"""
HUGE_STACK = 256 * 1024 * 1024  # bytes of address space for a thread; what else the process does takes far less


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for 127.0.0.1 that signs for itself, and its key in a file of its own."""
    private, head, certificate = Authority(tmp_path).chain(self_signed=True).read_text().partition("-----BEGIN CERT")
    files = Tls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    files.certificate.write_text(head + certificate)
    files.key.write_text(private)
    return files


def test_it_speaks_tls_with_a_certificate(tls: Tls) -> None:
    with Emulator(tls=tls) as emulator:
        assert emulator.url.startswith("https://127.0.0.1:")
        answer = exchange(emulator.url, {}, b"", "GET", "/_emulator", trust=tls.certificate)
        assert answer.json["administrator"]["access_key_id"] == emulator.admin.access_key_id


def test_a_client_without_tls_does_no_harm(tls: Tls, raw_connection: Callable[..., socket.socket]) -> None:
    with Emulator(tls=tls) as emulator:
        connection = raw_connection(emulator)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        raw_connection(emulator)  # says nothing at all
        assert exchange(emulator.url, {}, b"", "GET", "/_emulator", trust=tls.certificate).status == 200


def test_tls_files_that_cannot_be_used_are_one_clear_error(tls: Tls) -> None:
    tls.key.write_text("no key")
    with pytest.raises(InputOutputError, match=f"Cannot use the certificate {tls.certificate} with the key {tls.key}"):
        Emulator(tls=tls)


def test_stopping_ends_connections_that_wait_hang_or_idle(
    keys: tuple[RSAPrivateKey, ...], raw_connection: Callable[..., socket.socket]
) -> None:
    with Emulator() as emulator:
        machine = Machine(emulator, keys[0]).register(emulator.create_activation(limit=3))
        idle = raw_connection(emulator)
        emulator.fail("RequestManagedInstanceRoleToken", hang=True)
        emulator.fail("RequestManagedInstanceRoleToken", delay=timedelta(hours=1))
        ended: list[Exception] = []
        threads = [threading.Thread(target=_ends, args=(machine, ended)) for _ in range(2)]
        for thread in threads:
            thread.start()
        emulator.wait_for("RequestManagedInstanceRoleToken", 2)
        port = emulator.port
    for thread in threads:
        thread.join(30)
    assert [isinstance(error, OSError) for error in ended] == [True, True]
    assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def _ends(machine: Machine, ended: list[Exception]) -> None:
    try:
        machine.request_token()
    except OSError as error:
        ended.append(error)


def test_the_port_is_free_again_after_a_stop() -> None:
    with Emulator() as first:
        port = first.port
        exchange(first.url, {}, b"", "GET", "/_emulator")
    with Emulator(port=port) as second:
        assert second.port == port


def test_it_serves_from_the_announcement_until_the_signal() -> None:
    seen: list[tuple[str, int]] = []

    def announced(emulator: Emulator) -> None:
        seen.append((emulator.url, exchange(emulator.url, {}, b"", "GET", "/_emulator").status))
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    emulator = Emulator()
    emulator.run(announced)
    assert seen == [(emulator.url, 200)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_even_with_a_request_that_hangs(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        host, port = url.removeprefix("http://").split(":")
        exchange(url, {}, b'{"operation": "*", "hang": true}', "POST", "/_emulator/faults")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            while not exchange(url, {}, b"", "GET", "/_emulator/requests").json:
                pass
            process.send_signal(number)
            assert connection.recv(1) == b""
        assert process.stdout.read() == "stopped\n"
        assert process.wait(30) == 0


@pytest.fixture
def serving() -> Iterator[tuple[int, str]]:
    """The process and the URL of an emulator whose threads take HUGE_STACK each."""
    program = f"import threading; threading.stack_size({HUGE_STACK})\n{SERVE}"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
        process.terminate()


def test_it_accepts_again_once_descriptors_are_free(serving: tuple[int, str]) -> None:
    pid, url = serving
    where = urlsplit(url)
    held = Path(f"/proc/{pid}/fd")
    most = max(int(entry.name) for entry in held.iterdir()) + 3
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    clients = [socket.create_connection((where.hostname, where.port), timeout=30) for _ in range(20)]
    while len(list(held.iterdir())) < most:
        time.sleep(0.01)
    for client in clients:
        client.close()
    assert exchange(url, {}, b"", "GET", "/_emulator").status == 200


def test_it_accepts_again_once_there_is_room_for_a_thread(serving: tuple[int, str]) -> None:
    pid, url = serving
    where = urlsplit(url)
    taken = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.prlimit(pid, resource.RLIMIT_AS, (taken + HUGE_STACK // 2, resource.RLIM_INFINITY))
    with socket.create_connection((where.hostname, where.port), timeout=30) as client:
        assert client.recv(1) == b""
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    assert exchange(url, {}, b"", "GET", "/_emulator").status == 200


def test_a_connection_ends_even_when_the_clock_that_was_given_fails(
    raw_connection: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _failure: failed.set())
    with Emulator(clock=lambda: datetime.fromisoformat("no time")) as emulator:
        connection = raw_connection(emulator)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(1) == b""
    assert failed.wait(30)


def test_what_was_never_started_can_be_stopped() -> None:
    emulator = Emulator()
    emulator.stop()
    with Emulator(port=emulator.port) as another:
        assert another.port == emulator.port


def test_the_environment_names_the_service_and_the_administrator(emulator: Emulator) -> None:
    assert emulator.environment == {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": emulator.admin.access_key_id,
        "AWS_SECRET_ACCESS_KEY": emulator.admin.secret_access_key,
    }


def test_what_is_not_in_the_package_is_an_attribute_error() -> None:
    import rolekeeper.emulator

    with pytest.raises(AttributeError, match="no attribute 'Colour'"):
        _ = rolekeeper.emulator.Colour


def test_the_fixture_comes_with_the_package(rolekeeper_emulator: Emulator) -> None:
    assert exchange(rolekeeper_emulator.url, {}, b"", "GET", "/_emulator").status == 200


def test_the_fixture_gives_every_test_an_emulator_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        seen = []

        def test_one(rolekeeper_emulator):
            activation = rolekeeper_emulator.create_activation(role="Web", limit=2)
            assert len(activation.code) == 20
            seen.append(rolekeeper_emulator.url)

        def test_two(rolekeeper_emulator):
            assert rolekeeper_emulator.activations == {}
            assert rolekeeper_emulator.url not in seen
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:rolekeeper_emulator", *_plugin())
    result.assert_outcomes(passed=2)


def _plugin() -> tuple[str, str]:
    return "-p", "rolekeeper.emulator.pytest_plugin"


def test_the_fixture_says_what_to_install_when_a_library_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(rolekeeper_emulator): pass")
    pytester.makeconftest("import sys; sys.modules['h11'] = None")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:rolekeeper_emulator", *_plugin())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*The emulator needs h11: install rolekeeper*emulator*"])


def test_loading_the_plugin_imports_nothing_but_pytest() -> None:
    program = "import sys, pytest; before = set(sys.modules); import rolekeeper.emulator.pytest_plugin; "
    program += "print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    ours = {"rolekeeper", "rolekeeper.emulator", "rolekeeper.emulator.pytest_plugin"}
    assert {name for name in loaded.split() if name in ours or name.startswith(("h11", "cryptography"))} == ours


def test_the_emulator_imports_neither_the_daemon_nor_an_sdk() -> None:
    program = "import sys, rolekeeper.emulator.emulator; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("rolekeeper.") and not name.startswith("rolekeeper.emulator")}
    files = {"adapters", "adapters.files", "adapters.files.paths", "adapters.files.replace", "values"}
    assert ours == {f"rolekeeper.{name}" for name in {*files, "errors"}}
    assert not {"boto3", "botocore", "pydantic", "structlog"} & set(loaded)


def test_it_leaves_no_descriptor_open(keys: tuple[RSAPrivateKey, ...]) -> None:
    def held() -> set[str]:
        """What is open, by name; a socket's names its inode, so that a new one is never taken for an old one."""
        return {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}

    before = held()
    with Emulator() as emulator:
        Machine(emulator, keys[0]).register().request_token()
    assert held() <= before
