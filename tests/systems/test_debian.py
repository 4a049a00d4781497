"""One .deb on two releases of Debian: from `apt install` to credentials, and through all that happens to a package."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.systemd.conftest import NEW_VERSION, OLD_VERSION, PACKAGES, UNIT, Machine
from tests.systems.conftest import whole

TREE = "/usr/lib/rolekeeper"
BYTECODE = f"find {TREE} -name '*.pyc' | sed -E 's/.*\\.(cpython-[0-9]+)\\.pyc/\\1/' | sort | uniq -c"
SYSTEMS = {"bookworm": "311", "trixie": "313", "sid": "314"}  # release -> its Python
LARGEST = 45_000_000  # bytes installed, with the bytecode of the system's Python
IN_CHECK = ("bookworm", "trixie")  # the rest of this module is for `make packages-check`
# Plan the upgrade to the release $1, with lists of packages beside those of the system.
PLAN_UPGRADE = """
mkdir -p /run/lists/partial
sed "s/bookworm/$1/" /etc/apt/sources.list > /run/sources.list
apt="apt-get -qq -oDir::Etc::SourceList=/run/sources.list -oDir::State::Lists=/run/lists"
$apt update || exit 99
$apt --simulate full-upgrade
"""
pytestmark = pytest.mark.timeout(1800)  # making a root takes minutes


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in IN_CHECK else whole) for name in SYSTEMS]
)
def machine(request: pytest.FixtureRequest, machine_of: Callable[..., Machine]) -> Machine:
    """A server with systemd and without Python, on which nothing is installed yet. Its tests run in this order."""
    machine = machine_of(request.param)
    machine.configure()  # a server at AWS needs none of it
    return machine


def apt_install(machine: Machine, version: str, *options: str) -> str:
    return machine.run(
        *("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"),
        *(*options, "-oDpkg::Options::=--force-confold", f"{PACKAGES}/rolekeeper_{version}_amd64.deb"),
    ).out


def compiled(machine: Machine) -> set[str]:
    """The Pythons that there is bytecode for."""
    return set(re.findall(r"cpython-(\d+)", machine.shell(BYTECODE).out))


def test_two_commands_lead_to_credentials(machine: Machine, request: pytest.FixtureRequest) -> None:
    apt_install(machine, OLD_VERSION)
    assert compiled(machine) == {python for name, python in SYSTEMS.items() if f"[{name}]" in request.node.name}
    assert int(machine.run("du", "--summarize", "--apparent-size", "--block-size=1", TREE).out.split()[0]) <= LARGEST
    machine.register()
    machine.until_published()
    assert machine.rolekeeper("status").code == 0


def test_refresh_and_reload_work(machine: Machine) -> None:
    machine.rolekeeper("refresh")
    machine.systemctl("reload", UNIT)
    machine.until_status("Waiting")


def test_an_upgrade_of_the_system_to_the_next_release_would_keep_it(machine: Machine) -> None:
    if "bookworm" not in machine.read("/etc/os-release"):
        pytest.skip("the next release of Debian is not out")
    planned = machine.run("/bin/sh", "-s", "trixie", stdin=PLAN_UPGRADE, expect=None)
    if planned.code == 99:
        pytest.skip(f"the mirror has no lists of trixie: {planned.err.strip()}")
    assert planned.code == 0
    assert "Remv rolekeeper" not in planned.out
    assert re.search(r"^Inst python3 .*3\.13", planned.out, re.MULTILINE)


def test_running_programs_write_nothing_below_usr(machine: Machine) -> None:
    machine.shell("touch /run/before; sleep 0.1")
    machine.rolekeeper("attempt")
    machine.rolekeeper("fingerprint", "show")
    machine.rolekeeper("check")
    assert machine.shell(f"find {TREE} -newer /run/before").out == ""


@pytest.mark.parametrize("version", [NEW_VERSION, OLD_VERSION], ids=["upgrade", "downgrade"])
def test_another_version_replaces_it_while_it_runs(version: str, machine: Machine) -> None:
    before = compiled(machine)
    apt_install(machine, version, "--allow-downgrades")
    started = machine.until_event("started", 2 if version == NEW_VERSION else 3)
    assert started["MESSAGE"] == f"Started rolekeeper {version}"
    machine.until_status("Waiting")
    assert compiled(machine) == before
    machine.rolekeeper("refresh")
    assert len(machine.service.nodes) == 1


def test_nothing_of_it_is_left_behind_when_it_is_removed(machine: Machine) -> None:
    machine.run("apt-get", "remove", "--yes", "rolekeeper")
    machine.run("test", "-e", TREE, expect=1)
    machine.run("test", "-d", "/var/lib/rolekeeper/vault")
    assert machine.property(UNIT, "ActiveState") == "inactive"


def test_installed_again_it_goes_on(machine: Machine) -> None:
    apt_install(machine, NEW_VERSION)
    machine.until_status("Waiting")
    machine.rolekeeper("refresh")
    assert len(machine.service.nodes) == 1


def test_purged_the_registration_is_gone(machine: Machine) -> None:
    machine.run("apt-get", "purge", "--yes", "rolekeeper")
    machine.run("test", "-e", "/var/lib/rolekeeper", expect=1)
    machine.run("test", "-e", "/etc/rolekeeper", expect=1)


def expiry(published: dict[str, str]) -> datetime:
    return datetime.fromisoformat(published["ROLEKEEPER_EXPIRES_AT"])


def entered(entry: dict[str, str]) -> datetime:
    return datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)


@whole
def test_the_upgrade_of_debian_keeps_it_running(machine_of: Callable[..., Machine]) -> None:
    """A real full-upgrade, with tokens so short that several refreshes fall into it."""
    machine = machine_of("bookworm-to-trixie", emulated=timedelta(seconds=24))
    machine.configure()
    machine.install(NEW_VERSION)
    machine.register()
    machine.until_published()
    planned = machine.run("apt-get", "--simulate", "full-upgrade").out
    assert "Remv rolekeeper" not in planned
    assert re.search(r"^Inst python3 ", planned, re.MULTILINE)
    machine.shell(
        "export DEBIAN_FRONTEND=noninteractive\n"
        "apt-get full-upgrade --yes -oDpkg::Options::=--force-confold >/var/log/full-upgrade 2>&1"
    )
    assert machine.run("python3", "-c", "import sys; print(sys.version_info[:2])").out == "(3, 13)\n"
    assert "313" in compiled(machine)
    issued = len(machine.issued())
    machine.until("a refresh came after the upgrade", lambda: len(machine.issued()) > issued)
    machine.until_published()
    published = machine.events("credentials_published")
    assert [one for one, later in pairwise(published) if expiry(one) <= entered(later)] == []
    # apt removes libssl3 before libssl3t64 is there; an attempt between the two fails, and the next succeeds.
    gaps = [one for one in machine.journal(f"_SYSTEMD_UNIT={UNIT}") if "Cannot run: libssl.so.3" in one["MESSAGE"]]
    assert len(machine.events("backing_off")) == len(gaps) <= 1
    machine.run("apt-get", "autoremove", "--yes")
    assert compiled(machine) == {"313"}
    machine.rolekeeper("refresh")
    assert machine.rolekeeper("status").code == 0
