"""The first hardware address and the first IPv4 address in the kernel's order, of made-up and of real interfaces."""

import errno
import json
import os
import socket
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.adapters import netlink
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.hardware import HardwareProbe, Sources
from rolekeeper.model import Hardware

LINK, ADDRESS = struct.Struct("=2xHiII"), struct.Struct("=B3xI")
ZEROS = "00:00:00:00:00:00"
NETWORK = ("macaddr-info", "ipaddress-info")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(index: int, address: str, hardware_type: int = 1) -> bytes:
    """One interface as the kernel lists it; its name is no UTF-8."""
    address_bytes = bytes.fromhex(address.replace(":", ""))
    return LINK.pack(hardware_type, index, 0, 0) + attribute(3, b"\xff\xfe0\0") + attribute(1, address_bytes)


def ipv4(index: int, local: str, other_end: str = "", family: int = socket.AF_INET) -> bytes:
    """One address as the kernel lists it; its label has no colon."""
    ends = attribute(1, socket.inet_aton(other_end or local)) + attribute(2, socket.inet_aton(local))
    return ADDRESS.pack(family, index) + ends + attribute(3, b"eth0-vip\0")


def look(*answers: bytes) -> Hardware:
    """Look at hardware whose kernel lists these interfaces or addresses."""
    return HardwareProbe(SystemClock(), Sources(network=lambda _: answers)).look()


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        # In the order of the kernel, which before Linux 6.9 was the index modulo 256.
        ([link(1, ZEROS), link(256, "02:00:00:00:01:00"), link(2, "02:00:00:00:00:02")], "02:00:00:00:01:00"),
        ([link(2, "0A:00:00:01", 768), link(3, "0A:00:00:01")], "0a:00:00:01"),
        ([link(2, ":".join(["fe"] * 16), 769), link(3, ":".join(["80"] * 20), 32)], ":".join(["80"] * 20)),
        ([link(1, ""), link(2, ZEROS), b"", b"\x01"], ""),
    ],
)
def test_the_first_hardware_address_that_counts_is_taken(links: list[bytes], expected: str) -> None:
    assert look(*links).hash["macaddr-info"] == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([ipv4(1, "127.0.0.1"), ipv4(256, "192.0.2.9"), ipv4(2, "192.0.2.2")], "192.0.2.9"),
        ([ipv4(3, "192.0.2.3", other_end="198.51.100.1")], "192.0.2.3"),
        ([ipv4(3, "192.0.2.3", family=socket.AF_INET6), b"", ipv4(4, "192.0.2.4")], "192.0.2.4"),
        ([ipv4(1, "127.0.0.1")], ""),
    ],
)
def test_the_first_ipv4_address_that_counts_is_taken(addresses: list[bytes], expected: str) -> None:
    assert look(*addresses).hash["ipaddress-info"] == expected


def test_a_network_without_addresses_says_so_and_may_get_one_later() -> None:
    found = look()
    reasons = {name: found.unreadable[name] for name in NETWORK}
    assert reasons == {
        "macaddr-info": "no interface has a hardware address",
        "ipaddress-info": "no interface has an IPv4 address",
    }
    assert set(NETWORK) <= found.transient


@given(st.lists(st.binary(max_size=60)))
def test_an_answer_that_makes_no_sense_is_an_interface_without_address(answers: list[bytes]) -> None:
    for answer in answers:
        assert netlink.hardware_address(answer).count(":") != 1
        assert netlink.ipv4_address(answer).count(".") in (0, 3)


def test_a_kernel_that_refuses_says_why() -> None:
    def refuse(_request: int) -> list[bytes]:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    found = HardwareProbe(SystemClock(), Sources(network=refuse)).look()
    assert {found.unreadable[name] for name in NETWORK} == {"No buffer space available"}
    assert set(NETWORK) <= found.transient
    with pytest.raises(OSError, match="not supported"):
        netlink.dump(0xFFF0)


PROBE = """
import json
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.hardware import HardwareProbe
found = HardwareProbe(SystemClock()).look()
print(json.dumps([found.hash, dict(found.unreadable)]))
"""
CHANGING = """
import json, subprocess, sys
from rolekeeper.adapters import netlink
noise = subprocess.Popen(["sh", "-c", "while ip link add gone index 900 type bridge && ip link del gone; do :; done"])
looks = []
while sum(len(look) == 3 for look in looks) < 20:
    looks.append([netlink.hardware_address(link) for link in netlink.dump(netlink.LINKS)])
noise.kill()
print(json.dumps(sorted({look[1] for look in looks})))
"""


def in_a_network_of_its_own(*commands: str, program: str = PROBE) -> Any:
    """What a program prints in a new network namespace that `ip` commands have set up; skips where there is none."""
    try:
        subprocess.run(["unshare", "-rn", "ip", "link", "add", "d1", "type", "bridge"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespaces here")
    lines = ["set -e", *(f"ip {command}" for command in commands), f'exec {sys.executable} -c "$PROGRAM"']
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", "\n".join(lines)],
        check=True,
        capture_output=True,
        env={**os.environ, "PROGRAM": program},
    )
    return json.loads(done.stdout)


def bridge(name: str, index: int, address: str) -> str:
    return f"link add {name} index {index} address {address} type bridge"


def kernel_order(*indexes: int) -> int:
    """The first of these indexes in the order of this kernel."""
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    return min(indexes, key=lambda index: index if (major, minor) >= (6, 9) else (index % 256, index))


def test_real_interfaces_are_taken_in_the_order_of_the_kernel() -> None:
    indexes = (40, 300, 512)
    found, _ = in_a_network_of_its_own(
        "link set lo up",
        *(bridge(f"d{index}", index, f"02:00:00:00:{index // 256:02x}:{index % 256:02x}") for index in indexes),
        "addr add 2001:db8::1/64 dev d40",
        "addr add 192.0.2.1/24 dev d512",
        "addr add 192.0.2.40/24 dev d300",
        "addr add 192.0.2.41/24 dev d300",
    )
    first = kernel_order(*indexes)
    assert found["macaddr-info"] == f"02:00:00:00:{first // 256:02x}:{first % 256:02x}"
    assert found["ipaddress-info"] == {512: "192.0.2.1", 300: "192.0.2.40"}[kernel_order(512, 300)]


def test_odd_names_labels_and_tunnels_of_real_interfaces_cost_nothing() -> None:
    found, unreadable = in_a_network_of_its_own(
        "link set lo up",
        "addr add 127.1.2.3/8 dev lo label lo:x",
        "link add t1 index 20 type ipip local 192.0.2.1 remote 192.0.2.2 || true",
        bridge("$'\\xff\\xfe'", 40, "02:00:00:00:00:28"),
        bridge("eth0", 50, "02:00:00:00:00:32"),
        "addr add 192.0.2.50 peer 198.51.100.1 dev $'\\xff\\xfe' label $'\\xff\\xfe-vip'",
        "addr add 192.0.2.51/24 dev eth0 label eth0-vip",
    )
    assert {name: found[name] for name in NETWORK} == {
        "macaddr-info": "02:00:00:00:00:28",
        "ipaddress-info": "192.0.2.50",
    }
    assert not set(NETWORK) & set(unreadable)


def test_a_host_without_network_says_so() -> None:
    found, unreadable = in_a_network_of_its_own("link set lo up")
    assert [found[name] for name in NETWORK] == ["", ""]
    assert set(NETWORK) <= set(unreadable)


def test_interfaces_that_come_and_go_during_the_look_cost_nothing() -> None:
    seen = in_a_network_of_its_own(bridge("d40", 40, "02:00:00:00:00:28"), program=CHANGING)
    assert seen == ["02:00:00:00:00:28"]
