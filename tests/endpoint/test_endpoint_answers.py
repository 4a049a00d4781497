"""What the endpoint answers, through real sockets, to SDKs and to attackers."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Server
from tests.endpoint.conftest import ACTIVATE, LONGEST, Service, parsed, request, until

from rolekeeper.endpoint.answers import answer
from rolekeeper.endpoint.documents import Directory, is_name
from rolekeeper.identifiers import NAME
from rolekeeper.settings import Endpoint

HEAVY = {"argparse", "json", "re", "socket", "dataclasses", "typing", "contextlib", "collections", "logging", "asyncio"}


def test_the_holder_of_the_token_gets_the_six_fields_and_nothing_is_to_be_cached(foreground: Service) -> None:
    status, found = foreground.get()
    assert status == 200
    assert found == {
        "AccessKeyId": "ASIA0000000000000001",
        "SecretAccessKey": "secret/1",
        "Token": "session==1",
        "Expiration": found["Expiration"],
        "RoleArn": "arn:aws:iam::123456789012:role/Rack",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["Expiration"])
    assert b"\r\nCache-Control: no-store\r\n" in foreground.ask(request("rack", foreground.authorization()))


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:4580": 200,
    "169.254.170.2": 200,
    "[::1]:4580": 200,
    "[fd00:ec2::23]": 200,
    "localhost": 200,
    "LOCALHOST:4580": 200,
    "rebound.example:4580": 403,
    "127.0.0.1.rebound.example": 403,
    "localhost.rebound.example": 403,
    "0x7f000001": 403,
    "[rebound.example]": 403,
    "": 403,
}


@pytest.mark.parametrize(("host", "status"), HOSTS.items(), ids=HOSTS)
def test_host_is_an_address_or_a_loopback_name(foreground: Service, host: str, status: int) -> None:
    found, body = parsed(foreground.ask(request("rack", foreground.authorization(), host=host)))
    assert (found, body.get("code", "")) == (status, "" if status == 200 else "host-refused")


# What is sent, with TOKEN for the right token and OTHER for that of another endpoint; status and code of the answer.
REFUSED = {
    "no token": ("GET /rack HTTP/1.1|Host: localhost", 401, "token-refused"),
    "an empty token": ("GET /rack HTTP/1.1|Host: localhost|Authorization:", 401, "token-refused"),
    "a wrong token as long as the right one": (
        f"GET /rack HTTP/1.1|Host: localhost|Authorization: {'x' * 43}",
        401,
        "token-refused",
    ),
    "the token of another endpoint": ("GET /rack HTTP/1.1|Host: localhost|Authorization: OTHER", 401, "token-refused"),
    "the token with a scheme": ("GET /rack HTTP/1.1|Host: localhost|Authorization: Bearer TOKEN", 401, "token-refused"),
    "a web page": ("GET /rack HTTP/1.1|Host: localhost|Authorization: TOKEN|Origin: null", 403, "origin-refused"),
    "a web page's question": ("OPTIONS /rack HTTP/1.1|Host: localhost|origin: http://a", 403, "origin-refused"),
    "POST": ("POST /rack HTTP/1.1|Host: localhost|Authorization: TOKEN|Content-Length: 0", 405, "method-refused"),
    "HEAD": ("HEAD /rack HTTP/1.1|Host: localhost|Authorization: TOKEN", 405, "method-refused"),
    "an unknown name": ("GET /other HTTP/1.1|Host: localhost|Authorization: TOKEN", 404, "endpoint-unknown"),
    "no name": ("GET / HTTP/1.1|Host: localhost|Authorization: TOKEN", 404, "endpoint-unknown"),
    "a path": ("GET /../token/rack HTTP/1.1|Host: localhost|Authorization: TOKEN", 404, "endpoint-unknown"),
    "a query": ("GET /rack?a HTTP/1.1|Host: localhost|Authorization: TOKEN", 404, "endpoint-unknown"),
    "a name in another alphabet": (
        "GET /r\xe4ck HTTP/1.1|Host: localhost|Authorization: TOKEN",
        404,
        "endpoint-unknown",
    ),
    "a proxy's request": (
        "GET http://localhost/rack HTTP/1.1|Host: localhost|Authorization: TOKEN",
        404,
        "endpoint-unknown",
    ),
    "no Host": ("GET /rack HTTP/1.1|Authorization: TOKEN", 400, "request-malformed"),
    "two Hosts": ("GET /rack HTTP/1.1|Host: localhost|host: a|Authorization: TOKEN", 400, "request-malformed"),
    "two tokens": (
        "GET /rack HTTP/1.1|Host: localhost|Authorization: TOKEN|authorization: a",
        400,
        "request-malformed",
    ),
    "a blank before a colon": ("GET /rack HTTP/1.1|Host : localhost|Authorization: TOKEN", 400, "request-malformed"),
    "a continued header": ("GET /rack HTTP/1.1|Host: localhost| Authorization: TOKEN", 400, "request-malformed"),
    "another protocol": ("GET /rack SPDY/3|Host: localhost|Authorization: TOKEN", 400, "request-malformed"),
    "words": ("give me credentials", 400, "request-malformed"),
    "nothing": ("", 400, "request-malformed"),
    "an endpoint without credentials": (
        "GET /idle HTTP/1.1|Host: localhost|Authorization: IDLE",
        503,
        "credentials-absent",
    ),
}


@pytest.mark.parametrize(("text", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused_with_a_code(foreground: Service, text: str, status: int, code: str) -> None:
    for word, name in {"TOKEN": "rack", "OTHER": "web", "IDLE": "idle"}.items():
        text = text.replace(word, foreground.authorization(name))
    reply = foreground.ask(text.replace("|", "\r\n").encode("latin-1") + b"\r\n\r\n")
    found, body = parsed(reply)
    assert (found, body["code"]) == (status, code)
    assert body["message"]
    assert b"secret/" not in reply


def test_a_document_that_is_damaged_is_said_to_be(foreground: Service) -> None:
    foreground.publish("torn", 3)
    document = foreground.directory / "endpoint" / "torn"
    whole = document.read_bytes()
    fields = (b"authorization", b"issued_at", b"expires_at", b"issued_boot", b"boot_id")
    missing = [whole.replace(field, b"unknown") for field in fields]
    for torn in (b"", b"\xff\n\n", whole.replace(b"issued_boot: ", b"issued_boot: x"), whole + b"x" * 70_000, *missing):
        document.write_bytes(torn)
        assert foreground.get("torn")[1]["code"] == "document-unreadable"


def test_credentials_that_expire_while_it_runs_are_not_handed_out_again(foreground: Service) -> None:
    foreground.publish("brief", 4, life=timedelta(seconds=2))
    assert foreground.get("brief")[0] == 200
    status, body = until("they expire", lambda: (seen := foreground.get("brief"))[0] != 200 and seen)
    assert (status, body["code"]) == (503, "credentials-expired")


@pytest.mark.parametrize(
    ("boot_id", "change", "status"),
    [
        ("", {}, 200),  # of another boot, and by the wall clock good for an hour
        ("", {"expires_at": "1.0"}, 503),
        ("same", {"expires_at": "3601.0", "issued_at": "1.0"}, 200),  # the wall clock is decades ahead of the service's
        ("same", {"issued_boot": "-3601.0"}, 503),  # the wall clock is an hour behind the service's
    ],
)
def test_the_clock_that_never_steps_decides_within_a_boot(
    foreground: Service, boot_id: str, change: dict[str, str], status: int
) -> None:
    foreground.publish("clocks", 5)
    document = foreground.directory / "endpoint" / "clocks"
    head, _, body = document.read_text().partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines()) | change
    fields["boot_id"] = boot_id and fields["boot_id"]
    document.write_text("".join(f"{name}: {value}\n" for name, value in fields.items()) + f"\n{body}")
    assert foreground.get("clocks")[0] == status


def test_boto3_finds_the_credentials_and_renews_them(
    foreground: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    foreground.publish("sdk", 6, life=timedelta(minutes=5))  # boto3 renews 15 minutes before the end
    environment = dict(line.split("=", 1) for line in (foreground.directory / "env/sdk").read_text().splitlines())
    uri = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].replace(":4580/", f":{foreground.port}/")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(foreground.directory / "token/sdk"))
    by_file = boto3.Session().get_credentials()
    monkeypatch.delenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    by_variable = boto3.Session().get_credentials()
    assert by_file.method == by_variable.method == "container-role"
    assert by_file.get_frozen_credentials().token == by_variable.get_frozen_credentials().token == "session==6"
    foreground.publish("sdk", 7)
    assert by_variable.get_frozen_credentials().token == "session==7"
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(foreground.directory / "token/sdk"))
    assert by_file.get_frozen_credentials().token == "session==7"


@given(
    st.lists(
        st.sampled_from([b"GET ", b"/rack", b" HTTP/1.1", b"\r\n", b"Host: localhost", b":", b" ", b"\0", b"\xff"])
    )
    | st.lists(st.binary(max_size=8))
)
def test_whatever_comes_gets_an_answer_and_never_credentials(foreground: Service, pieces: list[bytes]) -> None:
    documents = Directory(str(foreground.directory / "endpoint"))
    assert parsed(answer(b"".join(pieces), documents))[0] in range(400, 504)


@given(
    st.text(alphabet=st.sampled_from("aZ0._-/ \n\xe4\0"), max_size=4) | st.text(alphabet="a", min_size=60, max_size=70)
)
def test_the_server_knows_a_name_as_the_configuration_does(text: str) -> None:
    assert is_name(text) is (NAME.fullmatch(text) is not None)


def test_its_start_loads_nothing_heavy(service: Service) -> None:
    service.sink.prepare(Endpoint("rack"))
    program = (
        "import sys\n"
        "bare = set(sys.modules)\n"  # what a development environment's own start loads is not ours
        "from rolekeeper import cli\n"
        "from rolekeeper.cli import endpoint\n"
        "endpoint.Server.run = lambda *_, **__: print(*set(sys.modules) - bare)\n"
        "sys.argv = ['rolekeeper', 'endpoint']\n"
        "sys.exit(cli.main())\n"
    )
    assert service.listener is not None
    number = service.listener.fileno()
    command = [sys.executable, "-c", ACTIVATE, str(number), sys.executable, "-I", "-c", program]
    done = subprocess.run(command, pass_fds=[number], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "rolekeeper.endpoint.server" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 64, "argument-missing"),
        (("--address", "127.0.0.1"), 64, "argument-invalid"),
        (("--address", "127.0.0.1:70000"), 64, "argument-invalid"),
        (("--address", ":4580"), 64, "argument-invalid"),
        (("--address", "192.0.2.1:4580"), 74, "address-unusable"),
    ],
)
def test_a_wrong_address_is_an_error(server: Server, arguments: tuple[str, ...], code: int, word: str) -> None:
    said = server.run("endpoint", *arguments)
    assert said.code == code
    assert f"[{word}]" in said.err
    assert "hint: " in said.err


def test_a_port_that_is_taken_is_an_error(server: Server, foreground: Service) -> None:
    said = server.run("endpoint", "--address", f"127.0.0.1:{foreground.port}")
    assert (said.code, "[address-unusable]" in said.err) == (74, True)


def test_a_socket_that_does_not_listen_is_an_error(service: Service) -> None:
    service.sink.prepare(Endpoint("rack"))
    client = service.connect()
    service.listener = client
    server = service.start()
    assert server.wait(LONGEST) == 74
    client.close()
