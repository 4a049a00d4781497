"""AWS inside a box that has a network of its own: the emulator, and a name server that sends every name to it.

Prints what a registration needs, and then serves until it is killed with the box.
"""

import json
import signal
import socket
import struct
from threading import Thread

from rolekeeper.emulator import Emulator

NAME_SERVER = ("127.0.0.1", 53)
ADDRESS = socket.inet_aton("127.0.0.1")
TYPE_A = 1


def answer(query: bytes) -> bytes:
    """The loopback address to a question for an IPv4 address, no address to any other."""
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    found = kind == TYPE_A
    header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(found), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", TYPE_A, 1, 60, 4) + ADDRESS
    return header + query[12:end] + (record if found else b"")


def serve_names() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(NAME_SERVER)
        while True:
            query, client = server.recvfrom(512)
            server.sendto(answer(query), client)


def main() -> None:
    Thread(target=serve_names, daemon=True).start()
    with Emulator() as emulator:
        activation = emulator.create_activation()
        facts = {"port": emulator.port, "region": emulator.region}
        print(json.dumps(facts | {"activation_id": activation.activation_id, "code": activation.code}), flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
