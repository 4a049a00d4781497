"""Which system calls are steps, what each is called, and with which errors it may fail.

A step is a call that changes a file, wherever that is, or speaks to the network, or opens, reads, looks at or locks a
file of the server's own. Everything else (libraries, time zones, pipes to programs) is of no interest.
"""

import errno
import os
from dataclasses import dataclass
from enum import Enum

DISK_FULL = ("ENOSPC", "EDQUOT")
SHORT = "short"  # no error: the call does only a part of what it was asked for
KILL = "kill"


class Kind(Enum):
    """What a call does; each kind fails in its own ways."""

    CREATE = "create"
    OPEN = "open"
    LOOK = "look"
    READ = "read"
    WRITE = "write"
    CHANGE = "change"  # of names
    DRESS = "dress"  # of attributes
    FLUSH = "flush"
    CLOSE = "close"
    LOCK = "lock"
    SOCKET = "socket"
    CONNECT = "connect"
    SEND = "send"
    RECEIVE = "receive"


ERRORS: dict[Kind, tuple[str, ...]] = {
    Kind.CREATE: (*DISK_FULL, "EIO", "EROFS", "EACCES", "EMFILE", "EINTR"),
    Kind.OPEN: ("EIO", "EACCES", "EMFILE", "EINTR"),
    Kind.LOOK: ("EIO", "EACCES"),
    Kind.READ: ("EIO", "EINTR"),
    Kind.WRITE: (*DISK_FULL, "EIO", "EINTR", SHORT),
    Kind.CHANGE: (*DISK_FULL, "EIO", "EROFS", "EACCES"),
    Kind.DRESS: (*DISK_FULL, "EIO", "EROFS", "EACCES"),
    Kind.FLUSH: (*DISK_FULL, "EIO", "EROFS", "EINTR"),
    Kind.CLOSE: (*DISK_FULL, "EIO", "EINTR"),  # close(2) is not done again after a signal: the descriptor has gone
    Kind.LOCK: ("EIO", "EACCES", "EINTR"),
    Kind.SOCKET: ("EMFILE", "EACCES"),  # which no signal interrupts
    Kind.CONNECT: ("EACCES", "ECONNREFUSED", "ENETUNREACH", "EINTR"),
    Kind.SEND: ("EPIPE", "EINTR", SHORT),
    Kind.RECEIVE: ("ECONNRESET", "EINTR", SHORT),
}
CHANGING = frozenset({Kind.CREATE, Kind.WRITE, Kind.CHANGE, Kind.DRESS, Kind.FLUSH})
NETWORK = frozenset({Kind.SOCKET, Kind.CONNECT, Kind.SEND, Kind.RECEIVE})


@dataclass(frozen=True, slots=True)
class Shape:
    """A system call of x86-64: its name, what it does, and which arguments say where.

    `at` are pairs of arguments: directory descriptor (None: a plain path) and path. `fd` is a descriptor. `size` is the
    argument that can be made smaller.
    """

    name: str
    kind: Kind
    at: tuple[tuple[int | None, int], ...] = ()
    fd: int | None = None
    size: int | None = None


def _at(name: str, kind: Kind, *pairs: tuple[int | None, int]) -> Shape:
    return Shape(name, kind, at=pairs)


def _fd(name: str, kind: Kind, size: int | None = None) -> Shape:
    return Shape(name, kind, fd=0, size=size)


SHAPES: dict[int, Shape] = {
    0: _fd("read", Kind.READ),
    1: _fd("write", Kind.WRITE, 2),
    2: _at("open", Kind.OPEN, (None, 0)),
    3: _fd("close", Kind.CLOSE),
    4: _at("stat", Kind.LOOK, (None, 0)),
    5: _fd("fstat", Kind.LOOK),
    6: _at("lstat", Kind.LOOK, (None, 0)),
    17: _fd("pread64", Kind.READ),
    18: _fd("pwrite64", Kind.WRITE, 2),
    20: _fd("writev", Kind.WRITE),
    41: Shape("socket", Kind.SOCKET),
    42: _fd("connect", Kind.CONNECT),
    44: _fd("sendto", Kind.SEND, 2),
    45: _fd("recvfrom", Kind.RECEIVE, 2),
    46: _fd("sendmsg", Kind.SEND),
    47: _fd("recvmsg", Kind.RECEIVE),
    72: _fd("fcntl", Kind.LOCK),
    73: _fd("flock", Kind.LOCK),
    74: _fd("fsync", Kind.FLUSH),
    75: _fd("fdatasync", Kind.FLUSH),
    76: _at("truncate", Kind.DRESS, (None, 0)),
    77: _fd("ftruncate", Kind.DRESS),
    82: _at("rename", Kind.CHANGE, (None, 0), (None, 1)),
    83: _at("mkdir", Kind.CHANGE, (None, 0)),
    84: _at("rmdir", Kind.CHANGE, (None, 0)),
    85: _at("creat", Kind.CREATE, (None, 0)),
    86: _at("link", Kind.CHANGE, (None, 0), (None, 1)),
    87: _at("unlink", Kind.CHANGE, (None, 0)),
    88: _at("symlink", Kind.CHANGE, (None, 1)),
    89: _at("readlink", Kind.LOOK, (None, 0)),
    90: _at("chmod", Kind.DRESS, (None, 0)),
    91: _fd("fchmod", Kind.DRESS),
    92: _at("chown", Kind.DRESS, (None, 0)),
    93: _fd("fchown", Kind.DRESS),
    94: _at("lchown", Kind.DRESS, (None, 0)),
    137: _at("statfs", Kind.LOOK, (None, 0)),
    138: _fd("fstatfs", Kind.LOOK),
    188: _at("setxattr", Kind.DRESS, (None, 0)),
    190: _fd("fsetxattr", Kind.DRESS),
    191: _at("getxattr", Kind.LOOK, (None, 0)),
    193: _fd("fgetxattr", Kind.LOOK),
    194: _at("listxattr", Kind.LOOK, (None, 0)),
    196: _fd("flistxattr", Kind.LOOK),
    197: _at("removexattr", Kind.DRESS, (None, 0)),
    199: _fd("fremovexattr", Kind.DRESS),
    217: _fd("getdents64", Kind.LOOK),
    257: _at("openat", Kind.OPEN, (0, 1)),
    258: _at("mkdirat", Kind.CHANGE, (0, 1)),
    260: _at("fchownat", Kind.DRESS, (0, 1)),
    262: _at("newfstatat", Kind.LOOK, (0, 1)),
    263: _at("unlinkat", Kind.CHANGE, (0, 1)),
    264: _at("renameat", Kind.CHANGE, (0, 1), (2, 3)),
    265: _at("linkat", Kind.CHANGE, (0, 1), (2, 3)),
    266: _at("symlinkat", Kind.CHANGE, (1, 2)),
    267: _at("readlinkat", Kind.LOOK, (0, 1)),
    268: _at("fchmodat", Kind.DRESS, (0, 1)),
    280: _at("utimensat", Kind.DRESS, (0, 1)),
    285: _fd("fallocate", Kind.WRITE),
    316: _at("renameat2", Kind.CHANGE, (0, 1), (2, 3)),
    332: _at("statx", Kind.LOOK, (0, 1)),
    452: _at("fchmodat2", Kind.DRESS, (0, 1)),
}

# fcntl(2): which of its commands ask for, or about, a lock or a lease
LOCK_COMMANDS = frozenset({5, 6, 7, 36, 37, 38, 1024})
CREATES = os.O_CREAT | os.O_TRUNC
INTERNET_FAMILIES = frozenset({2, 10})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: `call` is its name and the places it is about, the same in every run."""

    kind: Kind
    call: str

    @property
    def faults(self) -> tuple[str, ...]:
        """What may go wrong here, but for the process being killed."""
        return ERRORS[self.kind]


def number(fault: str) -> int:
    """The errno of a fault that is an error."""
    return int(getattr(errno, fault))
