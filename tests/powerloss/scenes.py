"""What is done to a server when the power fails: the installed commands, traced, against the emulator."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import LONGEST, Server
from tests.powerloss import trace
from tests.powerloss.disk import Disk
from tests.powerloss.trace import Operation

from rolekeeper.adapters.vault.agentformat import encode_fingerprint, encode_manifest, encode_registration
from rolekeeper.values import replace

OTHER = "# by hand\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = a#b\n\n"
NODE = re.compile(rb"Credential=(mi-[0-9a-f]+)/")
BLOCKED = "blocked"  # a file where an output's directory is to be
LOCKS = ".*.rolekeeper-lock"  # nothing is in them
Keys = dict[str, tuple[str, str]]  # node id: public key and fingerprint that the service knows


@dataclass
class Recording:
    """Everything that was done to one server's directory, from what was there before."""

    server: Server
    disk: Disk
    known: Keys  # to the service, before
    done: list[Operation] = field(default_factory=list)
    runs: int = 0

    def run(self, *arguments: str, stdin: str = "", code: int = 0) -> None:
        """A command, to its end."""
        log = self._log()
        ended = trace.run(self.server.command(*arguments), log, stdin, self.server.environment())
        assert ended.returncode == code, ended.stderr
        self._read(log)

    def register(self, *options: str) -> None:
        """Register with a new activation; it has room for whoever comes back after the power failure."""
        self.server.activation = self.server.emulator.create_activation(limit=1000)
        self.run(*self.server.registration(), *options, stdin=self.server.activation.code)

    def start_daemon(self) -> None:
        """The daemon, until it has published."""
        log = self._log()
        command = trace.traced(self.server.command("run"), log)
        environment = self.server.environment()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as tracer:
            latest = time.monotonic() + LONGEST
            while (status := self.server.status_file()).get("state") != "waiting":
                assert time.monotonic() < latest, status
                time.sleep(0.05)
            os.kill(status["pid"], signal.SIGTERM)
            _, said = tracer.communicate(timeout=LONGEST)
        assert tracer.returncode == 0, said
        self._read(log)

    def service_knows(self, count: int) -> list[Keys]:
        """What the service may know when `count` operations were done: with the last request applied, and without."""
        requests = [one for one in self.done[:count] if one.kind == "send"]
        after = [self._known_after(requests)]
        unsure = self.done[count - 1].kind == "send"
        return [*after, self._known_after(requests[:-1])] if unsure else after

    def _known_after(self, requests: list[Operation]) -> Keys:
        known = dict(self.known)
        for request in requests:
            head, _, body = request.data.partition(b"\r\n\r\n")
            said = json.loads(body)
            if b"AmazonSSM.RegisterManagedInstance" in head:
                known[self._node_with(said["Fingerprint"])] = (said["PublicKey"], said["Fingerprint"])
            if b"AmazonSSM.UpdateManagedInstancePublicKey" in head:
                signer = NODE.search(head)
                assert signer is not None
                node_id = signer[1].decode()
                known[node_id] = (said["NewPublicKey"], known[node_id][1])
        return known

    def _node_with(self, fingerprint: str) -> str:
        """The node that was registered in the end; no two have the same fingerprint here."""
        nodes = self.server.emulator.nodes.values()
        return next(node.node_id for node in nodes if node.fingerprint == fingerprint)

    def _log(self) -> Path:
        self.runs += 1
        return self.server.directory.with_name(f"{self.server.directory.name}-trace-{self.runs}")

    def _read(self, log: Path) -> None:
        in_memory = (str(self.server.runtime), f"{self.server.directory}/.{self.server.runtime.name}.")
        for one in trace.operations(log, self.server.directory):
            if one.path.startswith(in_memory):
                continue  # as /run, it is in memory: gone after a power failure, and not missed
            last = self.done[-1] if self.done else None
            if one.kind == "send" and last is not None and last.kind == "send" and last.process == one.process:
                self.done[-1] = replace(last, data=last.data + one.data)  # the body after the head
            elif one.kind != "send" or one.data.startswith(b"POST / "):
                self.done.append(one)
        self.done.append(Operation("end"))


@dataclass(frozen=True)
class Scene:
    """`prepared` is there already, and durable; `acts` is what is recorded; `stages` is what the vault comes to."""

    prepare: Callable[[Server], None]
    act: Callable[[Recording], None]
    stages: tuple[str, ...]


def record(scene: Scene, server: Server) -> Recording:
    """Play the scene."""
    scene.prepare(server)
    known = {node.node_id: (node.public_key, node.fingerprint) for node in server.emulator.nodes.values()}
    recording = Recording(server, Disk(server.directory, LOCKS), known)
    scene.act(recording)
    return recording


def _nothing(_server: Server) -> None:
    pass


def _registered(server: Server) -> None:
    server.register()


def _registered_with_other_profiles(server: Server) -> None:
    server.register()
    server.output.parent.mkdir(0o710)
    server.output.write_text(OTHER)
    server.output.chmod(0o640)
    server.emulator.request_rotation(server.node_id)


def _agent_beside_us(server: Server) -> None:
    """SSM Agent's vault, with a node that the service knows."""
    server.register()
    node, agent = server.vault().node, server.directory.with_name("agent")
    assert node is not None
    shutil.rmtree(server.directory / "vault")
    (agent / "Store").mkdir(parents=True)
    (agent / "Store" / "InstanceFingerprint").write_bytes(encode_fingerprint(node.accepted))
    (agent / "Store" / "RegistrationKey").write_bytes(encode_registration(node.registration))
    named = {path.name: f"/var/lib/amazon/ssm/Vault/Store/{path.name}" for path in (agent / "Store").iterdir()}
    (agent / "Manifest").write_bytes(encode_manifest(named))


def _activation_in_the_configuration(server: Server) -> None:
    server.configure_activation(limit=1000, output='mode = "0640"')


def _one_output_of_two_blocked(server: Server) -> None:
    server.register()
    server.configure(f'[[credentials_file]]\npath = "{server.directory / BLOCKED / "credentials"}"')
    (server.directory / BLOCKED).write_text("")
    (server.directory / BLOCKED).chmod(0o600)


def _attempt_before_and_after_mending(recording: Recording) -> None:
    recording.run("attempt", code=74)
    (recording.server.directory / BLOCKED).unlink()
    recording.done.append(Operation("unlink", str(recording.server.directory / BLOCKED)))
    recording.run("attempt")


def _register_and_set_threshold(recording: Recording) -> None:
    recording.register()
    recording.run("fingerprint", "threshold", "50")


def _attempt_twice(recording: Recording) -> None:
    recording.run("attempt")
    recording.run("attempt")


SCENES = {
    "register, and set the threshold": Scene(
        _nothing, _register_and_set_threshold, ("empty", "registering", "registered", "registered")
    ),
    "register anew": Scene(
        _registered,
        lambda recording: recording.register("--force"),
        ("registered", "registered, registering", "registered"),
    ),
    "publish beside other profiles, rotate the key, and publish again": Scene(
        _registered_with_other_profiles,
        _attempt_twice,
        (
            "registered",
            "registered, measured, published",
            "registered, changing key, measured, published",
            "registered, key changed, measured, published",
            "registered, measured, published",
        ),
    ),
    "register at the first start of the daemon, and publish": Scene(
        _activation_in_the_configuration,
        Recording.start_daemon,
        ("empty", "registering", "registered", "registered, measured, published"),
    ),
    "keep a token for an output that cannot be written yet": Scene(
        _one_output_of_two_blocked,
        _attempt_before_and_after_mending,
        ("registered", "registered, measured, published, holding a token", "registered, measured, published"),
    ),
    "adopt": Scene(
        _agent_beside_us,
        lambda recording: recording.run("adopt", "--from", str(recording.server.directory.with_name("agent"))),
        ("empty", "registered"),
    ),
    "clear": Scene(_registered, lambda recording: recording.run("clear", "--yes"), ("registered", "empty")),
}
QUICK = (*tuple(SCENES)[:4], "clear")
