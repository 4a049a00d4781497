"""A TPM 2.0 in software (swtpm), which a box reaches over TCP, and the few commands that a machine's firmware sends.

A TPM has room for a few sessions, and systemd leaves some behind: the kernel removes what a client has left when it
closes /dev/tpmrm0. Here every command is a connection of its own, so the thread between box and swtpm does it when the
next client sends its first command, which is Startup.
"""

import os
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from tests.systemd.box import ENVIRONMENT, HERE

PCR = 7
PASSWORD, LOCKOUT, PLATFORM = 0x40000009, 0x4000000A, 0x4000000C
STARTUP, SHUTDOWN, PCR_EXTEND, CLEAR, UNLOCK, FLUSH = 0x144, 0x145, 0x182, 0x126, 0x139, 0x165
LEFT_BEHIND = [first + number for first in (0x02000000, 0x03000000, 0x80000000) for number in range(4)]
NO_SESSIONS, SESSIONS = 0x8001, 0x8002
LONGEST = 30  # seconds
NEEDED = "swtpm:swtpm libtss2-esys-3.0.2-0 libtss2-rc0 libtss2-tcti-swtpm0"


def why_not() -> str:
    """Why there is no TPM to test with; empty when there is one. As root on Debian, what it takes is installed."""
    if os.geteuid() != 0:
        return "a TPM in software takes root, like the box"
    command = [str(HERE.parents[1] / "packaging" / "need-programs"), NEEDED]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    found = subprocess.run(["ldconfig", "-p"], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    missing = [name for name in ("libtss2-esys", "libtss2-rc", "libtss2-tcti-swtpm") if name not in found]
    return f"systemd cannot use a TPM without {', '.join(missing)}" if missing else ""


def two_free_ports() -> int:
    """A port that is free, and so is the next one, which the TPM's library takes for its control channel."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class Client(socketserver.BaseRequestHandler):
    """A connection from the box, handed on."""

    def handle(self) -> None:
        assert isinstance(self.server, ResourceManager)
        with (
            suppress(EOFError, ConnectionError),
            socket.create_connection(("127.0.0.1", self.server.port_of_tpm)) as to_tpm,
        ):
            while True:
                command = message(self.request)
                if int.from_bytes(command[6:10], "big") == STARTUP:
                    remove_contexts(to_tpm)
                to_tpm.sendall(command)
                self.request.sendall(message(to_tpm))


class ResourceManager(socketserver.ThreadingTCPServer):
    """Takes connections on a port, for the TPM on another."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, port: int, port_of_tpm: int) -> None:
        super().__init__(("127.0.0.1", port), Client)
        self.port_of_tpm = port_of_tpm
        Thread(target=self.serve_forever, daemon=True).start()


def remove_contexts(to_tpm: socket.socket) -> None:
    """Remove sessions and objects; the TPM says which there are not."""
    for handle in LEFT_BEHIND:
        to_tpm.sendall(struct.pack(">HIII", NO_SESSIONS, 14, FLUSH, handle))
        message(to_tpm)


def message(peer: socket.socket) -> bytes:
    """A whole command or answer; EOFError when there is none any more."""
    head = exactly(peer, 10)
    return head + exactly(peer, int.from_bytes(head[2:6], "big") - len(head))


def exactly(peer: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = peer.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


@dataclass
class Tpm:
    """One TPM; `directory` is what is in the chip. Between `power_on` and `power_off`, the machine is on."""

    directory: Path
    port: int = field(default_factory=two_free_ports)
    inner: int = field(default_factory=two_free_ports)
    process: subprocess.Popen[bytes] | None = None
    manager: ResourceManager | None = None

    @property
    def variable(self) -> str:
        """What tells systemd where it is."""
        return f"SYSTEMD_TPM2_DEVICE=swtpm:host=127.0.0.1,port={self.port}"

    def power_on(self, measured: str = "firmware 1") -> None:
        """Boot: the firmware starts the TPM and measures what it boots."""
        self.directory.mkdir(parents=True, exist_ok=True)
        addresses = [f"type=tcp,port={port},bindaddr=127.0.0.1" for port in (self.inner, self.port + 1)]
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}", "--flags"]
        command += ["startup-clear,not-need-init", "--server", addresses[0], "--ctrl", addresses[1]]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        digest = measured.encode().ljust(32)[:32]
        self._command(PCR_EXTEND, PCR, struct.pack(">IH", 1, 0xB) + digest, handle_of_session=PASSWORD)
        self.manager = ResourceManager(self.port, self.inner)

    def power_off(self) -> None:
        """Turn the machine off, as a kernel does. A TPM that is not told counts that as an attempt to guess."""
        self._send(struct.pack(">HIIH", NO_SESSIONS, 12, SHUTDOWN, 0))
        self.power_fails()

    def power_fails(self) -> None:
        assert self.process is not None
        assert self.manager is not None
        self.manager.shutdown()
        self.manager.server_close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def reboot(self, measured: str = "firmware 1") -> None:
        self.power_off()
        self.power_on(measured)

    def clear(self) -> None:
        """As a person does in the firmware's menu."""
        self._command(CLEAR, PLATFORM, b"", handle_of_session=PASSWORD)

    def unlock(self) -> None:
        """As it does by itself after hours."""
        self._command(UNLOCK, LOCKOUT, b"", handle_of_session=PASSWORD)

    def is_replaced(self, by: Path) -> None:
        """Another chip; this one's content goes to `by`."""
        self.power_off()
        shutil.move(self.directory, by)
        self.power_on()

    def _command(self, code: int, handle: int, rest: bytes, *, handle_of_session: int) -> None:
        session = struct.pack(">IIHBH", 9, handle_of_session, 0, 0, 0)
        body = struct.pack(">II", code, handle) + session + rest
        self._send(struct.pack(">HI", SESSIONS, len(body) + 6) + body)

    def _send(self, command: bytes) -> None:
        until = time.monotonic() + LONGEST
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.inner), timeout=LONGEST) as to_tpm:
                    to_tpm.sendall(command)
                    answer = message(to_tpm)
                break
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    pytest.fail("swtpm does not answer")
                time.sleep(0.05)
        assert answer[6:10] == b"\0\0\0\0", f"the TPM refuses: {answer.hex()}"
