"""The emulator as an object: the service and its server, for programs and their tests.

with Emulator() as emulator:
    activation = emulator.create_activation(role="Web")
    emulator.create_role("Backup", trusts=("Web",))
    emulator.fail("RequestManagedInstanceRoleToken", error="InternalServerError", times=3)
    ...
    emulator.wait_for("RequestManagedInstanceRoleToken", count=4)
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from rolekeeper.emulator.account import ANY_ROLE, Activation, Administrator, Node, Role, Token
from rolekeeper.emulator.control import Control
from rolekeeper.emulator.faults import Fault, FaultOptions
from rolekeeper.emulator.hybrid import new_fingerprint
from rolekeeper.emulator.requests import RecordedRequest
from rolekeeper.emulator.server import Server, Tls
from rolekeeper.emulator.service import TOKEN_LIFETIME, Clock, Service, system_clock

LOOPBACK = "127.0.0.1"


class Emulator:
    """A running service; a context manager. It listens when it is constructed, and answers after `start`.

    Raises InputOutputError for a state file or TLS files that cannot be used, UnavailableError for a port in use.
    """

    def __init__(
        self,
        *,
        address: str = LOOPBACK,
        port: int = 0,
        state_file: Path | None = None,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        account_id: str | None = None,
        region: str | None = None,
        tls: Tls | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._service = Service(
            state_file=state_file, token_lifetime=token_lifetime, account_id=account_id, region=region, clock=clock
        )
        control = Control(self._service, address)
        self._server = Server(control.handle, self._service.date_header, address=address, port=port, tls=tls)

    def start(self) -> str:
        """Begin to answer; returns the URL for AWS_ENDPOINT_URL."""
        self._server.start()
        return self.url

    def stop(self) -> None:
        """Close every connection and the port at once."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of the service, for AWS_ENDPOINT_URL."""
        return self._server.url

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def region(self) -> str:
        """The region that requests must be signed for."""
        return self._service.account.region

    @property
    def account_id(self) -> str:
        """The account in every ARN."""
        return self._service.account.account_id

    @property
    def admin(self) -> Administrator:
        """The administrator's key, which may create activations."""
        return self._service.account.administrator

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which the AWS CLI and every SDK use this service as the administrator."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.admin.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.admin.secret_access_key,
        }

    @property
    def roles(self) -> Mapping[str, Role]:
        """Roles that can be assumed, by name."""
        return self._service.account.roles

    @property
    def activations(self) -> Mapping[str, Activation]:
        """Activations by id."""
        return self._service.account.activations

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Registered nodes by node id."""
        return self._service.account.nodes

    @property
    def tokens(self) -> Mapping[str, Token]:
        """Issued credentials by access key id, in order: role tokens of nodes, and sessions from AssumeRole."""
        return self._service.account.tokens

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The last 10,000 requests to the service, oldest first."""
        return self._service.requests.all()

    def forget_requests(self) -> None:
        """Forget the recorded requests."""
        self._service.requests.clear()

    def wait_for(
        self, operation: str, count: int = 1, timeout: timedelta = timedelta(seconds=30)
    ) -> tuple[RecordedRequest, ...]:
        """All requests for an operation, as soon as there are `count`; TimeoutError after `timeout`."""
        return self._service.requests.wait_for(operation, count, timeout)

    @property
    def offset(self) -> timedelta:
        """How far the service's clock is ahead of `clock`."""
        return self._service.offset

    @offset.setter
    def offset(self, offset: timedelta) -> None:
        self._service.offset = offset

    @property
    def token_lifetime(self) -> timedelta:
        """The lifetime of role tokens that are issued from now on."""
        return self._service.token_lifetime

    @token_lifetime.setter
    def token_lifetime(self, lifetime: timedelta) -> None:
        self._service.token_lifetime = lifetime

    def create_activation(
        self, role: str = "rolekeeper", limit: int = 1, lifetime: timedelta = timedelta(hours=24)
    ) -> Activation:
        """An activation that `limit` nodes may register with. Raises AnswerError as the service would."""
        expires_at = self._service.now() + lifetime
        document = {"IamRole": role, "RegistrationLimit": limit, "ExpirationDate": expires_at.timestamp()}
        answer = self._service.perform("CreateActivation", document)
        return self.activations[answer["ActivationId"]]

    def create_role(
        self,
        name: str,
        *,
        trusts: tuple[str, ...] = (ANY_ROLE,),
        external_id: str = "",
        longest_session: timedelta = timedelta(hours=1),
    ) -> Role:
        """Add a role that can be assumed, or replace the one of that name; the options are the fields of `Role`."""
        seconds = int(longest_session.total_seconds())
        options = {"trusts": list(trusts), "external_id": external_id, "longest_session_seconds": seconds}
        return self._service.create_role({"name": name, **options})

    def delete_role(self, name: str) -> None:
        """Remove a role; KeyError when it does not exist. Its sessions stay valid until they expire."""
        self._service.change(lambda account: account.without_role(name))

    def role_arn(self, name: str) -> str:
        """The ARN of a role, for AssumeRole; the role need not exist."""
        return self._service.account.role_arn(name)

    def fail(self, operation: str, **options: Unpack[FaultOptions]) -> None:
        """Add a fault for the next requests; the options are the fields of `Fault`."""
        self._service.add_fault(Fault(operation, **options))

    def clear_faults(self) -> None:
        """Remove every fault."""
        self._service.clear_faults()

    def add_node(self, node_id: str, public_key: str, fingerprint: str, role: str = "rolekeeper") -> Node:
        """Add a node that was registered elsewhere, for tests with the vault of another agent.

        `public_key` is the base64 SubjectPublicKeyInfo of the node's key, as in RegisterManagedInstance.
        """
        node = Node(node_id, "", role, fingerprint, public_key, registered_at=self._service.now())
        self._service.change(lambda account: account.with_node(node))
        return node

    def deregister(self, node_id: str) -> None:
        """Remove a node, as `aws ssm deregister-managed-instance` does."""
        self._service.perform("DeregisterManagedInstance", {"InstanceId": node_id})

    def change_fingerprint(self, node_id: str, fingerprint: str | None = None) -> str:
        """Accept only another fingerprint from a node (by default a new one), so that its next request is refused."""
        wanted = fingerprint or new_fingerprint()
        return self._service.change_node(node_id, lambda node: replace(node, fingerprint=wanted)).fingerprint

    def request_rotation(self, node_id: str) -> None:
        """Answer UpdateKeyPair true until the node changes its key."""
        self._service.change_node(node_id, lambda node: replace(node, rotation_wanted=True))

    def run(self, announce: Callable[["Emulator"], None]) -> None:
        """Serve until SIGTERM or SIGINT; `announce` is called as soon as connections are answered."""
        signals = {signal.SIGTERM, signal.SIGINT}
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread exists that could take them
        try:
            with self:
                announce(self)
                signal.sigwait(signals)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
