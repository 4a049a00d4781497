"""Network interfaces and addresses as the kernel lists them, in the kernel's own order (netlink(7), rtnetlink(7)).

SSM Agent takes the first hardware address and the first IPv4 address of these two lists (docs/protocol.md, section
1.1), so the order counts. Since Linux 6.9 it is the interface index; before, it is the index modulo 256. A sort of our
own would differ from one of the two, and so would /sys/class/net, which has no order.

`dump` sends one request and collects the kernel's answers. Each answer is the body of one message and describes one
interface or one address. `hardware_address` and `ipv4_address` read one such body. Names and labels are free bytes, and
nothing here reads them: an odd name costs nothing. A body that cannot be read counts as an interface without address.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator

LINKS = 18  # RTM_GETLINK: one answer for each interface
ADDRESSES = 22  # RTM_GETADDR: one answer for each address

_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_FAMILY = struct.Struct("=B3x")  # the request's body, an rtgenmsg
_LINK = struct.Struct("=2xHiII")  # ifinfomsg: hardware type, index, flags, change mask
_ADDRESS = struct.Struct("=B3xI")  # ifaddrmsg: family, index
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_TYPE_BITS = 0x3FFF  # the two bits above are flags
_IFLA_ADDRESS, _IFA_ADDRESS, _IFA_LOCAL = 1, 1, 2
# Hardware types (if_arp.h) of tunnels, by the length of the addresses at their ends, which are no hardware addresses.
_TUNNELS = {4: {768, 776, 778}, 16: {769, 823}}
_IPV4_LENGTH, _LOOPBACK = 4, 127  # bytes; the first byte of 127.0.0.0/8
_LARGEST_DATAGRAM = 65_536  # bytes; the kernel sends at most half of it at once
_PATIENCE = 5.0  # seconds; the kernel answers at once, a sandbox that imitates it may not answer at all


def dump(request: int) -> list[bytes]:
    """The bodies of the answers to LINKS or ADDRESSES, in the kernel's order; raises OSError."""
    family = socket.AF_INET if request == ADDRESSES else socket.AF_UNSPEC
    bodies: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.connect((0, 0))  # to the kernel: no other process can send us an answer then
        kernel.send(_HEADER.pack(_HEADER.size + _FAMILY.size, request, _REQUEST_DUMP, 1, 0) + _FAMILY.pack(family))
        while True:
            for kind, body in _messages(kernel.recv(_LARGEST_DATAGRAM)):
                if kind in (_ERROR, _DONE):
                    _raise_error(body)
                    return bodies
                bodies.append(body)


def hardware_address(link: bytes) -> str:
    """The hardware address in an answer to LINKS, in lower case; empty when the interface has none that counts."""
    try:
        hardware_type = _LINK.unpack_from(link)[0]
    except struct.error:
        return ""
    address = dict(_attributes(link[_LINK.size :])).get(_IFLA_ADDRESS, b"")
    if hardware_type in _TUNNELS.get(len(address), ()) or not any(address):
        return ""
    return address.hex(":")


def ipv4_address(answer: bytes) -> str:
    """The IPv4 address in an answer to ADDRESSES; empty when it is of another family, or a loopback address."""
    try:
        family = _ADDRESS.unpack_from(answer)[0]
    except struct.error:
        return ""
    attributes = dict(_attributes(answer[_ADDRESS.size :]))
    # IFA_ADDRESS is the other end's on a point-to-point interface, and the same as IFA_LOCAL on others.
    address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if family != socket.AF_INET or len(address) != _IPV4_LENGTH or address[0] == _LOOPBACK:
        return ""
    return socket.inet_ntoa(address)


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message in a datagram."""
    while len(datagram) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(datagram)
        yield kind, datagram[_HEADER.size : length]
        datagram = datagram[max(_aligned(length), _HEADER.size) :]


def _raise_error(body: bytes) -> None:
    """The last message of a list says whether the kernel could make it: zero, or a negative error number."""
    number = int.from_bytes(body[:4], sys.byteorder, signed=True)
    if number:
        raise OSError(-number, os.strerror(-number))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & _TYPE_BITS, data[_ATTRIBUTE.size : length]
        data = data[max(_aligned(length), _ATTRIBUTE.size) :]


def _aligned(length: int) -> int:
    """`length`, rounded up to the next multiple of 4."""
    return (length + 3) & ~3
