"""The endpoint as it is installed: a socket wakes a sealed service, which answers and is gone again."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.docs.test_readme import ROOT, section
from tests.systemd.conftest import GROUP, PUBLISH, PYTHON, READER, STRANGER, UNIT, Machine, add_reader, as_user

SOCKET, SERVICE = "rolekeeper-endpoint.socket", "rolekeeper-endpoint.service"
# What a program does that has the variables of an endpoint in its environment.
ASK = """
import json, os, sys, urllib.error, urllib.request
uri = sys.argv[1] if len(sys.argv) > 1 else os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
request = urllib.request.Request(uri, headers={"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]})
try:
    answer = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, json.load(answer)]))
"""
TAKE_THE_PORT = """
import socket
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                thief.bind((address, 4580))
                thief.listen()
            except OSError as error:
                print(error.strerror)
            else:
                print("taken")
"""
FREE_PORT = "/usr/bin/python3 -c 'import socket, sys; socket.create_server((\"127.0.0.1\", int(sys.argv[1])))'"
CONSUMER = """\
[Service]
Type=simple
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reloaded >>/run/reloads'
"""
# Looks at a process file, and publishes the token of the number argv[1], if there is one, as an attempt does.
PUBLISH_FILE = """
import sys
from datetime import UTC, datetime, timedelta
from rolekeeper.adapters.outputs.processfile import ProcessFiles
from rolekeeper.adapters.outputs.publishedfile import PublishedFiles
from rolekeeper.model import IssueRecord, Lifetime, RoleToken
from rolekeeper.settings import CredentialsFile, FileFormat
output = CredentialsFile("/srv/app/aws/credentials.json", "", 0o640, True, None, None, False, format=FileFormat.PROCESS)
files = ProcessFiles(PublishedFiles(lambda _: None))
longest, end = timedelta(seconds=10), datetime(2026, 12, 1, tzinfo=UTC)
assert files.look(output, longest).problem is None
if len(sys.argv) > 1:
    token = RoleToken("ASIA" + sys.argv[1], "secret", "session", end)
    issue = IssueRecord("mi-0", token.access_key_id, Lifetime(end, end, timedelta(0)), "")
    files.publish(output, token, issue, longest)
"""
CONTAINER = """
ip netns add container
ip link add inside type veth peer name outside
ip link set inside netns container
ip address add 10.99.0.1/24 dev outside
ip link set outside up
ip address add 169.254.170.2/32 dev lo
ip -n container address add 10.99.0.2/24 dev inside
ip -n container link set inside up
ip -n container route add default via 10.99.0.1
"""


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """Installed, without a registration: what the daemon publishes is published by hand."""
    machine = new_machine(emulated=None, private_network=True)
    machine.shell("ip link set lo up")
    add_reader(machine)
    machine.install()
    machine.systemctl("enable", "--now", SOCKET)
    return machine


def publish(machine: Machine, name: str, *number: str) -> None:
    machine.run(PYTHON, "-I", "-c", PUBLISH, name, GROUP, *number)


def ask(machine: Machine, name: str, *uri: str, within: tuple[str, ...] = ()) -> tuple[int, Any]:
    """What a program gets to which systemd gives the variables of the endpoint."""
    variables = dict(line.split("=", 1) for line in machine.read(f"/run/rolekeeper/env/{name}").split())
    environment = [f"{key}={value}" for key, value in variables.items()]
    said = machine.run(*within, "env", *environment, "/usr/bin/python3", "-I", "-c", ASK, *uri)
    status, body = json.loads(said.out)
    return status, body


def sleep(machine: Machine) -> None:
    """Have the service asleep, so that the next request finds what is published now."""
    machine.systemctl("stop", SERVICE)


def test_the_package_enables_no_endpoint_and_check_says_so_when_one_is_configured(
    new_machine: Callable[..., Machine],
) -> None:
    machine = new_machine(emulated=None)
    machine.install()
    assert machine.property(SOCKET, "UnitFileState") == "disabled"
    assert machine.property(SOCKET, "ActiveState") == "inactive"
    assert machine.rolekeeper("check").err == ""
    machine.configure('[[endpoint]]\nname = "rack"\n')
    said = machine.rolekeeper("check").err
    assert f"endpoint[0]: nothing serves it: {SOCKET} is not active" in said
    remedy = said.split("hint: `")[1].split("`")[0]
    machine.run("systemd-run", "--unit=other", "/usr/bin/python3", "-m", "http.server", "--bind=127.0.0.1", "4580")
    machine.until("the port is taken", lambda: machine.shell(f"{FREE_PORT} 4580", expect=None).code != 0)
    machine.shell(remedy, expect=1)
    said = machine.rolekeeper("check").err
    assert f"nothing serves it: {SOCKET} is not active" in said
    assert "Address already in use" in machine.run("systemctl", "status", SOCKET, expect=3).out
    assert "`ss -tlnp 'sport = 4580'` shows who has the port" in said
    machine.systemctl("stop", "other.service")
    machine.shell(remedy)
    assert machine.rolekeeper("check").err == ""


def test_before_anything_is_published_it_answers_that_there_is_no_such_endpoint(machine: Machine) -> None:
    machine.run("rm", "-rf", "/run/rolekeeper/endpoint")
    sleep(machine)
    uri = "http://127.0.0.1:4580/rack"
    said = machine.run("env", "AWS_CONTAINER_AUTHORIZATION_TOKEN=a", "/usr/bin/python3", "-I", "-c", ASK, uri)
    assert json.loads(said.out)[1]["code"] == "endpoint-unknown"


def test_a_request_wakes_the_service_which_answers_and_is_gone_when_it_is_idle(machine: Machine) -> None:
    publish(machine, "rack", "1")
    sleep(machine)
    status, body = ask(machine, "rack")
    assert (status, body["AccessKeyId"]) == (200, "ASIA1")
    assert machine.property(SERVICE, "ActiveState") == "active"
    machine.until("it is gone", lambda: machine.property(SERVICE, "ActiveState") == "inactive")
    assert machine.property(SERVICE, "Result") == "success"
    assert machine.property(SERVICE, "MainPID") == "0"
    assert machine.property(SOCKET, "ActiveState") == "active"
    publish(machine, "rack", "2")
    assert ask(machine, "rack")[1]["AccessKeyId"] == "ASIA2"


def test_it_goes_on_with_the_same_tokens_while_the_daemon_is_stopped_and_after(machine: Machine) -> None:
    publish(machine, "rack", "1")
    token = machine.read("/run/rolekeeper/token/rack")
    for verb in ("stop", "start"):
        machine.systemctl(verb, UNIT)
        sleep(machine)
        assert ask(machine, "rack")[0] == 200
    publish(machine, "rack", "2")
    assert machine.read("/run/rolekeeper/token/rack") == token


def test_endpoints_come_and_go_with_the_directory(machine: Machine) -> None:
    publish(machine, "web")
    publish(machine, "gone", "3")
    machine.run("touch", "/run/rolekeeper/endpoint/.web.0123.rolekeeper-new")  # a publication is under way
    sleep(machine)
    assert ask(machine, "web") == (503, {"code": "credentials-absent", "message": ask(machine, "web")[1]["message"]})
    machine.run("rm", "/run/rolekeeper/endpoint/gone")
    sleep(machine)
    assert ask(machine, "gone")[0] == 404


def test_only_the_group_can_read_the_token(machine: Machine) -> None:
    publish(machine, "rack", "1")
    for kind in ("token", "env"):
        assert as_user(machine, READER, "cat", f"/run/rolekeeper/{kind}/rack").code == 0
        assert as_user(machine, STRANGER, "cat", f"/run/rolekeeper/{kind}/rack").code != 0
        assert as_user(machine, READER, "ls", f"/run/rolekeeper/{kind}").code != 0
    assert as_user(machine, READER, "ls", "/run/rolekeeper/endpoint").code != 0


def test_no_other_user_can_take_the_port_whether_the_service_is_awake_or_killed(machine: Machine) -> None:
    publish(machine, "rack", "1")
    for prepare in (
        lambda: ask(machine, "rack"),
        lambda: machine.systemctl("kill", "--signal=KILL", SERVICE),
        lambda: sleep(machine),
    ):
        prepare()
        said = as_user(machine, STRANGER, "/usr/bin/python3", "-I", "-c", TAKE_THE_PORT)
        assert said.out.splitlines() == ["Address already in use"] * 4
    for _ in range(8):  # more often than systemd's usual limit on starts
        ask(machine, "rack")
        machine.systemctl("kill", "--signal=KILL", SERVICE)
    assert ask(machine, "rack")[0] == 200
    assert machine.property(SOCKET, "ActiveState") == "active"


def test_the_service_is_sealed(machine: Machine) -> None:
    publish(machine, "rack", "1")
    sleep(machine)
    ask(machine, "rack")
    pid = machine.property(SERVICE, "MainPID")
    status = dict(re.findall(r"^(\w+):\s*(.*)$", machine.read(f"/proc/{pid}/status"), re.MULTILINE))
    assert {one for name in ("Uid", "Gid") for one in status[name].split()} & {"0"} == set()
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for space in ("net", "mnt", "user", "ipc", "uts"):
        own, init = (machine.run("readlink", f"/proc/{one}/ns/{space}").out for one in (pid, "1"))
        assert own != init, space
    inside = ("nsenter", f"--target={pid}", "--mount", "--net")
    interfaces = machine.run(*inside, "cat", "/proc/net/dev", expect=None).out
    assert "outside" not in interfaces
    for hidden in ("/run/rolekeeper", "/var/lib/rolekeeper", "/root", "/home"):
        assert machine.run("ls", "-A", f"/proc/{pid}/root{hidden}", expect=None).out == ""
    assert machine.run(*inside, "touch", "/usr/probe", "/etc/probe", "/var/probe", expect=1).out == ""
    rated = machine.run("systemd-analyze", "security", "--threshold=10", SERVICE, expect=None)
    assert rated.code == 0, rated.out.splitlines()[-1]
    run = machine.property(SERVICE, "InvocationID")
    assert machine.journal(f"INVOCATION_ID={run}", "+", f"_SYSTEMD_INVOCATION_ID={run}") == []


def test_a_container_reaches_it_at_the_address_that_sdks_allow(machine: Machine) -> None:
    publish(machine, "rack", "1")
    machine.drop_in("[Socket]\nListenStream=169.254.170.2:80\nFreeBind=yes\n", SOCKET)
    machine.systemctl("stop", SERVICE)
    machine.systemctl("restart", SOCKET)
    machine.shell(CONTAINER)  # the address comes after the socket: FreeBind
    within = ("ip", "netns", "exec", "container")
    status, body = ask(machine, "rack", "http://169.254.170.2/rack", within=within)
    assert (status, body["AccessKeyId"]) == (200, "ASIA1")
    assert ask(machine, "rack")[0] == 200


def test_a_path_unit_reloads_a_service_at_each_publication_and_not_in_between(machine: Machine) -> None:
    """With the units and the command of the page, word by word."""
    path, service, command = indented(section(ROOT / "docs" / "endpoint.md", "## Do something at each publication"))
    machine.write("/etc/systemd/system/app.service", CONSUMER)
    machine.write("/etc/systemd/system/app-credentials.path", path)
    machine.write("/etc/systemd/system/app-credentials.service", service)

    def publish_file(*number: str) -> None:
        machine.run(PYTHON, "-I", "-c", PUBLISH_FILE, *number)

    def reloads() -> int:
        return machine.run("cat", "/run/reloads", expect=None).out.count("reloaded")

    machine.systemctl("daemon-reload")
    publish_file("0")
    machine.systemctl("start", "app.service")
    machine.shell(command)
    for number in range(1, 4):
        publish_file(str(number))
        machine.until("it is reloaded", lambda number=number: reloads() == number)
        publish_file()  # an attempt that publishes nothing new
        machine.run("cat", "/srv/app/aws/credentials.json")
        machine.until("nothing is under way", lambda: idle(machine))
    assert reloads() == 3


def indented(text: str) -> list[str]:
    """The indented blocks of a page."""
    blocks = re.findall(r"\n\n((?:(?:    [^\n]*)?\n)+)", text)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks if block.strip()]


def idle(machine: Machine) -> bool:
    return machine.property("app-credentials.service", "ActiveState") == "inactive"
