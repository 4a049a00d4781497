"""A machine that rolekeeper is installed on as users install it: the package, systemd, and the emulator as AWS."""

import configparser
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.packages.conftest import left_out
from tests.systemd.box import BOXES, Box, Said, forget_boxes, why_not

from rolekeeper import __version__
from rolekeeper.emulator import Activation, Emulator

ROOT = Path(__file__).parents[2]
OLD_VERSION, NEW_VERSION = "0.0.1", __version__
PACKAGES = "/opt/packages"  # where a box sees them
UNIT = "rolekeeper.service"
OUTPUT = "/root/.aws/credentials"
READER, GROUP, STRANGER = "reader", "awsreaders", "nobody"
# As `binds`: what it takes to run programs of the checkout's environment in a box.
CHECKOUT = tuple(f"{path}:{path}" for path in {str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"})
PYTHON = "/usr/lib/rolekeeper/bin/python3"  # of the package
# Publishes, as the attempt does: the endpoint argv[1] for the group argv[2], and the token of the number argv[3].
PUBLISH = """
import sys
from datetime import timedelta
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.outputs.endpoint import EndpointDocuments
from rolekeeper.model import Lifetime, RoleToken
from rolekeeper.settings import Endpoint
clock, sink, output = SystemClock(), EndpointDocuments("/run/rolekeeper"), Endpoint(sys.argv[1], group=sys.argv[2])
now = clock.now()
sink.prepare(output)
if len(sys.argv) > 3:
    token = RoleToken("ASIA" + sys.argv[3], "secret", "session", now.wall + timedelta(hours=1))
    sink.publish(output, token, Lifetime(now.wall, token.expires_at, now.boot), clock.boot_id())
"""
numbers = itertools.count()


@dataclass
class Machine(Box):
    """A box with the package installed."""

    emulator: Emulator | None = None
    activation: Activation | None = None

    @property
    def service(self) -> Emulator:
        assert self.emulator is not None
        return self.emulator

    def install(self, version: str = NEW_VERSION) -> Said:
        return self.run("dpkg", "--install", f"{PACKAGES}/rolekeeper_{version}_amd64.deb")

    def configure(self, text: str = "") -> None:
        """What stands in conf.d beside the packaged configuration; the service is the emulator."""
        endpoint = f'[service]\nendpoint_url = "{self.service.url}"\n' if self.emulator else ""
        self.write("/etc/rolekeeper/conf.d/test.toml", endpoint + text)

    def drop_in(self, text: str, unit: str = UNIT, name: str = "test.conf") -> None:
        self.write(f"/etc/systemd/system/{unit}.d/{name}", text)
        self.systemctl("daemon-reload")

    def register(self) -> None:
        """As a person does: `rolekeeper register`, with the code on standard input."""
        self.activation = self.service.create_activation()
        self.rolekeeper(
            *("register", "--activation-id", self.activation.activation_id, "--region", self.service.region),
            stdin=self.activation.code,
        )

    def set_up(self, text: str = "") -> "Machine":
        """Install, register, and wait until credentials are published."""
        self.configure(text)
        self.install()
        self.register()
        self.until_published()
        return self

    def rolekeeper(self, *arguments: str, stdin: str = "", expect: int | None = 0) -> Said:
        return self.run("rolekeeper", *arguments, stdin=stdin, expect=expect)

    def access_key_id(self, path: str = OUTPUT) -> str:
        """What the published file holds; empty when there is none. A file that is not whole is an error."""
        said = self.run("cat", path, expect=None)
        if said.code:
            return ""
        if path.endswith(".json"):
            return str(json.loads(said.out)["AccessKeyId"])
        found = configparser.ConfigParser(default_section="")
        found.read_string(said.out)
        values = found["default"]
        assert values["aws_session_token"]
        assert values["aws_secret_access_key"]
        return values["aws_access_key_id"]

    def issued(self) -> list[str]:
        """The access key ids that the service has issued, oldest first."""
        return [token.access_key_id for token in self.service.tokens.values()]

    def until_published(self, path: str = OUTPUT) -> str:
        """Wait until the published credentials are the newest."""
        seen = self.until("the newest credentials are published", lambda: self._newest(path))
        assert isinstance(seen, str)
        return seen

    def _newest(self, path: str) -> str:
        key = self.access_key_id(path)
        return key if key and key == self.issued()[-1] else ""

    def status(self) -> str:
        """The line that systemctl shows."""
        return self.property(UNIT, "StatusText")

    def until_status(self, words: str) -> str:
        return str(self.until(f"the status says {words!r}", lambda: words in self.status() and self.status()))

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.journal(f"ROLEKEEPER_EVENT={event}")

    def until_event(self, event: str, count: int = 1) -> dict[str, Any]:
        """The newest of at least `count` entries of this event."""
        found = self.until(f"the journal has {event}", lambda: len(self.events(event)) >= count and self.events(event))
        return dict(found[-1])

    def pid(self) -> int:
        return int(self.property(UNIT, "MainPID"))


@pytest.fixture(scope="session")
def packages() -> Path:
    """The directory with two versions of the package; without it there is no test here."""
    if reason := why_not():
        left_out(f"unit, sandbox and installation are not tested: {reason}")
    built, older = ROOT / "dist", ROOT / "build" / "tests"
    for version, into, options in ((NEW_VERSION, built, []), (OLD_VERSION, older, ["--quick"])):
        command = [sys.executable, "packaging/packages.py", "--architecture=amd64", "--version", version, *options]
        done = subprocess.run([*command, "--into", into], cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in (f"rolekeeper_{NEW_VERSION}_amd64.deb", f"rolekeeper-{NEW_VERSION}-1.x86_64.rpm"):
        fresh = older / f".{name}-{os.getpid()}"
        shutil.copy(built / name, fresh)
        fresh.replace(older / name)  # at once: boxes of another worker may be installing it
    return older


@pytest.fixture(scope="session")
def boxes() -> Iterator[Path]:
    """Where boxes and their state are."""
    yield BOXES
    forget_boxes()


@pytest.fixture(scope="module")
def new_machine(packages: Path, boxes: Path) -> Iterator[Callable[..., Machine]]:
    """A booted machine without rolekeeper; a keyword `emulated` makes an emulator for it."""
    with ExitStack() as ends:

        def build(*binds: str, emulated: timedelta | None = timedelta(hours=1), **options: Any) -> Machine:
            emulator = ends.enter_context(Emulator(token_lifetime=emulated)) if emulated else None
            name = f"rolekeeper-{os.getpid()}-{next(numbers)}"
            machine = Machine(name, (f"{packages}:{PACKAGES}", *binds), emulator=emulator, **options)
            if options.get("state") is True:
                machine.state = boxes / f"{name}.state"
            machine.start()
            ends.callback(machine.crash)
            return machine

        yield build


def add_reader(machine: Machine) -> None:
    """A group that may read the credentials, and a member of it."""
    machine.shell(f"groupadd --system {GROUP}; useradd --system --groups {GROUP} {READER}")


def as_user(machine: Machine, user: str, *command: str) -> Said:
    return machine.run(
        "setpriv", f"--reuid={user}", "--init-groups", f"--regid={user_group(user)}", *command, expect=None
    )


def user_group(user: str) -> str:
    return "nogroup" if user == "nobody" else user
