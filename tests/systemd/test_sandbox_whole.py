"""The daemon does all of its job inside the sandbox; where the sandbox is in the way, the hint opens it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from tests.systemd import smbios_tables
from tests.systemd.conftest import GROUP, OUTPUT, READER, STRANGER, UNIT, Machine, add_reader, as_user

SHARED = "/srv/aws/credentials"


class Proxy(ThreadingHTTPServer):
    """Forwards requests with a whole URL, and remembers these."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.asked: list[str] = []


class Forward(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with closing(HTTPConnection(target.hostname or "", target.port)) as connection:
            connection.request("POST", target.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        self.send_response_only(answer.status)
        for name in ("Date", "Content-Type", "x-amzn-RequestId"):
            self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """Registered, with disks and SMBIOS tables that root alone may read, a group of readers, and an app's home."""
    machine = new_machine()
    machine.shell(
        "mkdir -p /dev/disk/by-uuid; ln -s ../../vda1 /dev/disk/by-uuid/0b2d4c4e-6a5a-4a21-9a3e-000000000001\n"
        "mount -t tmpfs tmpfs /sys/firmware; mkdir -p /sys/firmware/dmi/tables; useradd --create-home app"
    )
    tables = machine.root / "sys" / "firmware" / "dmi" / "tables"
    smbios_tables.write(tables, "SN-1")
    for table in tables.iterdir():
        table.chmod(0o400)
    add_reader(machine)
    return machine.set_up()


def follow(machine: Machine, hint: str) -> None:
    """Do what the hint says, word by word, as an administrator would."""
    told, _, lines = hint.partition("[Service]\n")
    file = re.search(r"to (/etc/systemd/system/rolekeeper\.service\.d/\S+\.conf)", told)
    command = re.search(r"`(systemctl daemon-reload && .+)`", told)
    assert file is not None
    assert command is not None
    machine.write(file[1], f"[Service]\n{lines}\n")
    machine.shell(command[1])


def publish_elsewhere(machine: Machine, output: str) -> str:
    """Configure this output alone; the hint of the error that follows."""
    known = len(machine.events("backing_off"))
    machine.configure(f"[[credentials_file]]\n{output}\n")
    machine.systemctl("reload", UNIT)
    entry = machine.until_event("backing_off", known + 1)
    assert entry["ROLEKEEPER_HINT"] in entry["MESSAGE"]
    return str(entry["ROLEKEEPER_HINT"])


@pytest.fixture
def plain(machine: Machine) -> Iterator[Machine]:
    """Whatever a test opens and configures is gone after it."""
    yield machine
    machine.shell(f"rm -rf /etc/systemd/system/{UNIT}.d")
    machine.configure()
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", UNIT)
    machine.until_status("Waiting")


def test_it_measures_the_same_hardware_as_a_command_outside(machine: Machine) -> None:
    shown = json.loads(machine.rolekeeper("fingerprint", "--json").out)
    states = {one["name"]: one["state"] for one in shown["components"]}
    status = json.loads(machine.rolekeeper("status", "--json").out)
    summary = status["fingerprint"]
    assert (summary["verdict"], summary["matched"], summary["compared"]) == ("similar", 9, 9)
    assert all(states[f"{kind}-hash"] == "matched" for kind in ("processor", "memory", "bios", "system")), states
    assert states["disk-info"] == states["machine-id"] == "matched"
    assert machine.events("hardware_changed") == []


def test_nothing_that_it_does_is_refused_by_the_filter(machine: Machine) -> None:
    assert machine.service.nodes
    machine.service.request_rotation(next(iter(machine.service.nodes)))
    machine.rolekeeper("refresh")
    machine.until_event("key_rotated")
    machine.systemctl("reload", UNIT)
    machine.until_event("reloaded")
    machine.rolekeeper("refresh")
    assert machine.access_key_id() == machine.issued()[-1]
    worst = [entry["MESSAGE"] for entry in machine.journal("-u", UNIT, "-p", "warning") if "ROLEKEEPER_EVENT" in entry]
    assert all("No registration" in message for message in worst)


def test_a_proxy_from_the_environment_is_used(plain: Machine, proxy: Proxy) -> None:
    plain.drop_in(f"[Service]\nEnvironment=HTTP_PROXY=http://127.0.0.1:{proxy.server_port} NO_PROXY=\n")
    plain.systemctl("restart", UNIT)
    plain.rolekeeper("wait")
    plain.rolekeeper("refresh")
    assert proxy.asked
    assert all(url.startswith(plain.service.url) for url in proxy.asked)


def test_a_name_is_resolved(plain: Machine) -> None:
    plain.shell("echo 127.0.0.1 ssm.rolekeeper.test >>/etc/hosts")
    plain.write("/etc/rolekeeper/conf.d/test.toml", f'[service]\nendpoint_url = "{named(plain)}"\n')
    plain.systemctl("reload", UNIT)
    plain.rolekeeper("refresh")
    hosts = {name.lower(): value for name, value in plain.service.requests[-1].headers}
    assert hosts["host"].startswith("ssm.rolekeeper.test")


def named(machine: Machine) -> str:
    return machine.service.url.replace("127.0.0.1", "ssm.rolekeeper.test")


def test_a_directory_for_a_group_opens_by_the_drop_in_of_the_hint(plain: Machine) -> None:
    hint = publish_elsewhere(plain, f'path = "{SHARED}"\nmode = "0640"\ngroup = "{GROUP}"')
    assert "ReadWritePaths=-/srv/aws" in hint
    plain.run("install", "-d", "-m", "750", "-g", GROUP, "/srv/aws")
    follow(plain, hint)
    key = plain.until_published(SHARED)
    assert key in as_user(plain, READER, "cat", SHARED).out
    assert as_user(plain, STRANGER, "cat", SHARED).code != 0
    assert plain.run("stat", "-c", "%U:%G %a", SHARED).out.split() == [f"root:{GROUP}", "640"]
    assert as_user(plain, READER, "cat", OUTPUT).code != 0


def test_a_users_home_opens_by_the_drop_in_of_the_hint_and_stays_writable_for_the_next_token(plain: Machine) -> None:
    hint = publish_elsewhere(plain, 'path = "/home/app/.aws/credentials"\nowner = "app"\ngroup = "app"')
    assert "BindPaths=-/home/app/.aws" in hint
    plain.run("install", "-d", "-m", "700", "-o", "app", "-g", "app", "/home/app/.aws")
    follow(plain, hint)
    plain.until_published("/home/app/.aws/credentials")
    plain.rolekeeper("refresh")
    key = plain.until_published("/home/app/.aws/credentials")
    assert key in as_user(plain, "app", "cat", "/home/app/.aws/credentials").out


def test_a_file_of_another_user_in_an_open_directory_takes_the_capability_of_the_hint(plain: Machine) -> None:
    path = "/root/for-app/credentials"
    hint = publish_elsewhere(plain, f'path = "{path}"\nowner = "app"')
    assert "Paths=" not in hint
    follow(plain, hint)
    plain.until_published(path)
    plain.rolekeeper("refresh")
    plain.until_published(path)


def test_below_tmp_nothing_is_published_that_nobody_would_find(plain: Machine) -> None:
    hint = publish_elsewhere(plain, 'path = "/tmp/aws/credentials"')
    assert hint == f"publish elsewhere: {UNIT} has a /tmp of its own, which no other program sees"


@pytest.fixture(scope="module")
def linked(new_machine: Callable[..., Machine]) -> Machine:
    """Homes, root's too, and /srv are symlinks into /var, as where the rest of the system is an image."""
    machine = new_machine()
    machine.shell(
        "install -d -m 700 /var/root; mkdir -p /var/home /var/srv /srv\n"
        "for one in home root srv; do umount /$one || true; mv /$one /old-$one; ln -s var/$one /$one; done\n"
        "useradd --create-home app"
    )
    machine.configure()
    machine.install()
    machine.register()
    return machine


@pytest.mark.parametrize(
    ("directory", "output"),
    [("/home/app/.aws", 'owner = "app"\ngroup = "app"'), ("/srv/aws", 'mode = "0640"'), ("/var/home/app/aws", "")],
)
def test_a_directory_behind_a_symlink_opens_by_the_drop_in_of_the_hint(
    linked: Machine, directory: str, output: str
) -> None:
    linked.until_published()  # /root is open from the beginning
    hint = publish_elsewhere(linked, f'path = "{directory}/credentials"\n{output}')
    linked.run("install", "-d", "-m", "755", directory)
    follow(linked, hint)
    linked.until_published(f"{directory}/credentials")
    linked.shell(f"rm -r {directory}; systemctl restart {UNIT}")  # a missing directory stops no unit
    linked.configure()
    linked.systemctl("reload", UNIT)
    linked.rolekeeper("wait")
