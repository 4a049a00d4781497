"""A machine that speaks the protocol through botocore's signer, so that two independent signers have to agree."""

import base64
import http.client
import json
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolekeeper.emulator import Emulator
from rolekeeper.emulator.account import Activation

VECTORS = Path(__file__).parents[1] / "vectors"


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code without its namespace; empty for success."""
        return str(self.json.get("__type", "")).rpartition("#")[2]

    @property
    def message(self) -> str:
        return str(self.json.get("message", ""))


class NodeKeyAuth(SigV4Auth):  # type: ignore[misc]
    """botocore's signer with the last step replaced (docs/protocol.md, section 3)."""

    def __init__(self, key: RSAPrivateKey, node_id: str, region: str, salt: int = 32, service: str = "ssm") -> None:
        super().__init__(Credentials(node_id, "unused"), service, region)
        self._key = key
        self._salt = salt

    def signature(self, string_to_sign: str, _request: AWSRequest) -> str:
        padding = PSS(MGF1(SHA256()), self._salt)
        return base64.b64encode(self._key.sign(string_to_sign.encode(), padding, SHA256())).decode()


def public_key(key: RSAPrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def exchange(
    url: str, headers: Mapping[str, str], body: bytes, method: str = "POST", path: str = "/", trust: Path | None = None
) -> Answer:
    """One request on a connection of its own."""
    where = urlsplit(url)
    context = ssl.create_default_context(cafile=str(trust)) if trust else None
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(where.hostname or "", where.port, timeout=30, context=context)
        if context
        else http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    )
    with closing(connection):
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def unsigned(emulator: Emulator, operation: str, body: Mapping[str, Any] | bytes) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}"}
    return exchange(emulator.url, headers, raw)


@dataclass
class Machine:
    """A server that registers with the emulator and asks it for tokens."""

    emulator: Emulator
    key: RSAPrivateKey
    fingerprint: str = field(default_factory=lambda: str(uuid.uuid4()))
    node_id: str = ""

    def registration(self, activation: Activation, **changes: Any) -> dict[str, Any]:
        document = {
            "ActivationId": activation.activation_id,
            "ActivationCode": activation.code,
            "Fingerprint": self.fingerprint,
            "PublicKey": public_key(self.key),
            "PublicKeyType": "Rsa",
        }
        return {name: value for name, value in {**document, **changes}.items() if value is not None}

    def register(self, activation: Activation | None = None) -> "Machine":
        activation = activation or self.emulator.create_activation(role="Web")
        answer = unsigned(self.emulator, "RegisterManagedInstance", self.registration(activation))
        assert answer.status == 200, answer
        self.node_id = answer.json["InstanceId"]
        return self

    def signed(
        self, operation: str, document: Mapping[str, Any], auth: SigV4Auth | None = None, **headers: str
    ) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a request signed with the node key, or with `auth`."""
        body = json.dumps(document).encode()
        named = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}", **headers}
        request = AWSRequest("POST", f"{self.emulator.url}/", headers=named, data=body)
        (auth or NodeKeyAuth(self.key, self.node_id, self.emulator.region)).add_auth(request)
        return dict(request.headers), body

    def call(
        self, operation: str, document: Mapping[str, Any], auth: SigV4Auth | None = None, **headers: str
    ) -> Answer:
        return exchange(self.emulator.url, *self.signed(operation, document, auth, **headers))

    def request_token(self, auth: SigV4Auth | None = None) -> Answer:
        return self.call("RequestManagedInstanceRoleToken", {"Fingerprint": self.fingerprint}, auth)

    def change_key(self, new: RSAPrivateKey) -> Answer:
        document = {"NewPublicKey": public_key(new), "NewPublicKeyType": "Rsa"}
        return self.call("UpdateManagedInstancePublicKey", document)


@pytest.fixture(scope="session")
def keys() -> tuple[RSAPrivateKey, ...]:
    """Three node keys; made once, since that takes longer than a test."""
    return tuple(generate_private_key(65537, 2048) for _ in range(3))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def machine(emulator: Emulator, keys: tuple[RSAPrivateKey, ...]) -> Machine:
    """A machine that is not registered yet."""
    return Machine(emulator, keys[0])


@pytest.fixture
def node(machine: Machine) -> Machine:
    """A registered machine."""
    return machine.register()


@pytest.fixture
def client() -> Iterator[Callable[..., Any]]:
    """Makes boto3 clients for an emulator: as its administrator, or with the answer that holds a token."""
    made = []

    def make(service: str, emulator: Emulator, token: Mapping[str, Any] | None = None, **options: Any) -> Any:
        keys = token or {
            "AccessKeyId": emulator.admin.access_key_id,
            "SecretAccessKey": emulator.admin.secret_access_key,
        }
        new = boto3.client(
            service,
            endpoint_url=emulator.url,
            region_name=options.pop("region_name", emulator.region),
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            config=Config(
                retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=options.pop("read_timeout", 30)
            ),
            **options,
        )
        made.append(new)
        return new

    yield make
    for each in made:
        each.close()


@pytest.fixture
def raw_connection() -> Iterator[Callable[[Emulator], socket.socket]]:
    """Opens raw connections, for what no client would send."""
    opened: list[socket.socket] = []

    def connect(emulator: Emulator) -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", emulator.port), timeout=30))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()
