"""A service that says what the test tells it to, a clock that runs by itself, and what both need."""

import base64
import contextlib
import http.server
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.model import Instant, NodeKey, Registration
from rolekeeper.settings import ServiceSettings
from rolekeeper.values import replace

VECTORS = Path(__file__).parents[1] / "vectors"
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
TICK = timedelta(milliseconds=10)


HOSTILE_MODEL = {
    "version": "2.0",
    "metadata": {"apiVersion": "2099-01-01", "endpointPrefix": "evil", "protocol": "query", "serviceId": "Evil"},
    "operations": {},
    "shapes": {},
}
CONFIG = """\
[default]
region = eu-west-9
endpoint_url = http://127.0.0.1:9/
ca_bundle = /nonexistent
max_attempts = 9
retry_mode = adaptive
use_fips_endpoint = true
defaults_mode = nonsense
parameter_validation = false
sdk_ua_app_id = evil
credential_process = /bin/false
[profile evil]
region = evil
services = evil
[services evil]
ssm =
  endpoint_url = http://127.0.0.1:9/
"""


@dataclass
class RunningClock:
    """A wall clock that is wrong by what the test says, and moves on at every look."""

    wall: datetime = NOON
    looks: int = 0

    def now(self) -> Instant:
        self.looks += 1
        return Instant(self.wall + self.looks * TICK, self.looks * TICK)

    def sleep(self, duration: timedelta) -> None:
        self.wall += duration

    def boot_id(self) -> str:
        return "b00t"


@dataclass(frozen=True)
class Reply:
    """One answer; `drop` closes the connection instead, `hang` never answers, `short` leaves out so many bytes."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    hang: bool = False
    short: int = 0


@dataclass(frozen=True)
class Received:
    """One request as it came in; header names in lower case."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parameters(self) -> Any:
        return json.loads(self.body)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class ScriptedService:
    """Gives the replies in turn, the last one for ever, and remembers every request."""

    def __init__(self, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.replies: list[Reply] = [Reply()]
        self.requests: list[Received] = []
        self.stopped = threading.Event()
        kind = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": _family(address)})
        self._server = kind((address, 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{f'[{address}]' if ':' in address else address}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def says(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def _next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.requests.append(Received(self.path, headers, body))
                self._answer(service._next())

            def do_CONNECT(self) -> None:
                service.requests.append(Received(self.path, dict(self.headers.items()), b""))
                self._answer(service._next())

            def _answer(self, reply: Reply) -> None:
                self.close_connection = True
                if reply.hang:
                    service.stopped.wait()
                if reply.hang or reply.drop:
                    return
                self.send_response_only(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # the client may have had enough
                    self.wfile.write(reply.body[: len(reply.body) - reply.short])

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def vectors() -> list[dict[str, Any]]:
    recorded: list[dict[str, Any]] = json.loads((VECTORS / "signed-requests.json").read_text())
    return recorded


def recorded_registration() -> Registration:
    first = vectors()[0]
    return Registration(first["instance_id"], "us-east-1", NodeKey(first["private_key_pkcs1_b64"], NOON))


def service_headers(clock_difference: timedelta = timedelta(0), **more: str) -> dict[str, str]:
    """What the service itself sends; its clock stands at noon and the difference."""
    return {
        "Content-Type": "application/x-amz-json-1.1",
        "x-amzn-RequestId": "5f3f0c53-5a7f-4c0c-9d21-3b8f0e6e2f10",
        "Date": format_datetime(NOON + clock_difference, usegmt=True),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def token_fields(**changes: Any) -> dict[str, Any]:
    fields = {
        "AccessKeyId": "ASIA3D3ZFM53CNDSWS5E",
        "SecretAccessKey": "2CpANXZ7aGU31uh5bGqoSGXRrVkLCpdkysDiQ2O3",
        "SessionToken": base64.b64encode(b"a session token" * 20).decode(),
        "TokenExpirationDate": (NOON + timedelta(hours=1)).timestamp(),
        "UpdateKeyPair": False,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not ...}


def token_reply(clock_difference: timedelta = timedelta(0), **changes: Any) -> Reply:
    return Reply(200, json.dumps(token_fields(**changes)).encode(), service_headers(clock_difference))


def error_reply(code: str, message: str = "", status: int = 400, difference: timedelta = timedelta(0)) -> Reply:
    body = json.dumps({"__type": code, "message": message}).encode()
    return Reply(status, body, service_headers(difference))


def service_settings(endpoint_url: str | None, **changes: Any) -> ServiceSettings:
    seconds = timedelta(seconds=5)
    plain = ServiceSettings(
        endpoint_url, None, None, fips=False, dual_stack=False, connect_timeout=seconds, read_timeout=seconds
    )
    return replace(plain, **changes)


def ssm_client(
    endpoint_url: str | None, clock: Any = None, environment: Mapping[str, str] | None = None, **changes: Any
) -> SsmService:
    settings = service_settings(endpoint_url, **changes)
    return SsmService(settings, clock or RunningClock(), "1.2.3", environment or {})


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    yield scripted
    scripted.stop()


@pytest.fixture(scope="session")
def node() -> Registration:
    """A registration with a recorded key."""
    return recorded_registration()


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """A home and an environment in which everything that botocore reads is wrong."""
    aws = tmp_path / ".aws"
    for models in (aws / "models", tmp_path / "data"):
        for version in ("2014-11-06", "2099-01-01"):
            (models / "ssm" / version).mkdir(parents=True)
            for kind in ("service-2", "service-2.sdk-extras", "endpoint-rule-set-1"):
                (models / "ssm" / version / f"{kind}.json").write_text(json.dumps(HOSTILE_MODEL))
        for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
            (models / f"{name}.json").write_text("{")
    (aws / "config").write_text(CONFIG)
    (aws / "credentials").write_text("[default]\naws_access_key_id = EVIL\naws_secret_access_key = EVIL\n")
    (tmp_path / "evil_plugin.py").write_text("raise SystemExit('the plugin was loaded')\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
        "AWS_DATA_PATH": str(tmp_path / "data"),
        "AWS_CONFIG_FILE": str(aws / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials"),
        "AWS_PROFILE": "evil",
        "AWS_DEFAULT_PROFILE": "no-such-profile",
        "AWS_REGION": "evil",
        "AWS_DEFAULT_REGION": "evil",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9/",
        "AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9/",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_ACCESS_KEY_ID": "EVILEVILEVILEVILEVIL",
        "AWS_SECRET_ACCESS_KEY": "evil",
        "AWS_SESSION_TOKEN": "evil-session-token",
        "AWS_BEARER_TOKEN_SSM": "evil",
        "AWS_CA_BUNDLE": "/nonexistent",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "AWS_MAX_ATTEMPTS": "7",
        "AWS_RETRY_MODE": "nonsense",
        "AWS_DEFAULTS_MODE": "nonsense",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_STS_REGIONAL_ENDPOINTS": "nonsense",
        "AWS_AUTH_SCHEME_PREFERENCE": "nonsense",
        "AWS_SIGV4A_SIGNING_REGION_SET": "evil",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "nonsense",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "required",
        "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "1",
        "AWS_EXECUTION_ENV": "evil",
        "AWS_SDK_UA_APP_ID": "evil",
        "AWS_LAMBDA_FUNCTION_NAME": "evil",
        "_X_AMZN_TRACE_ID": "evil",
        "AWS_CSM_ENABLED": "true",
        "AWS_CSM_HOST": "evil",
        "AWS_ENDPOINT_DISCOVERY_ENABLED": "true",
        "BOTOCORE_EXPERIMENTAL__PLUGINS": "evil=evil_plugin",
        "BOTOCORE_TCP_KEEPALIVE": "nonsense",
    }
