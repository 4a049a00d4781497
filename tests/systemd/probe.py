# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH115, PTH116, PTH208 - what is probed are system calls, one by one
"""Runs in the place of the daemon, in its unit, and prints as JSON what the sandbox lets a root process do there.

Each probe is a function; its result is what it returns, or the name of the error (EPERM, EROFS ...) that it met.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
CALLS = {  # x86-64; none of them takes a privilege, or none that the error could be taken for
    "ptrace": (101, 16, 0, 0, 0),  # attach to nobody; TRACEME would stop us at the next signal, for ever
    "keyctl": (250, 0, -3, 1),
    "userfaultfd": (323, 0),
    "io_uring_setup": (425, 1, 0),
    "process_vm_readv": (310, os.getpid(), 0, 0, 0, 0, 0),
    "setns": (308, -1, 0),
    "unshare": (272, 0),
    "setuid": (105, 0),
    "setgroups": (116, 0, 0),
    "sched_setscheduler": (144, 0, 1, 0),  # SCHED_FIFO
    "setpriority": (141, 0, 0, 0),
    "personality": (135, 0x0040000),  # ADDR_NO_RANDOMIZE
    "mq_open": (240, 0, 0),
    "shmget": (29, 0, 1, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "bpf": (321, 0, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, b"/"),
    "swapoff": (168, 0),
    "init_module": (175, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "clock_settime": (227, 0, 0),
    "settimeofday": (164, 0, 0),
    "sethostname": (170, 0, -1),
    "syslog": (103, 10, 0, 0),
    "iopl": (172, 0),
    "acct": (163, 0),
    "open_by_handle_at": (304, 0, 0, 0),
}
NEW_UTS_NAMESPACE = 0x04000000
MACHINE_CODE = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (i386's getpid); int 0x80; ret
MULTICAST = ("224.0.0.251", 5353)


def attempt(what: Callable[[], object]) -> object:
    try:
        return what()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def call(*number_and_arguments: int | bytes) -> object:
    result = LIBC.syscall(*number_and_arguments)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result


def new_namespace() -> object:
    child = call(56, NEW_UTS_NAMESPACE | 17, 0, 0, 0, 0)  # clone, which returns in the child as well
    if child == 0:
        os._exit(0)
    if isinstance(child, int):
        os.waitpid(child, 0)
    return child


def write(path: str) -> object:
    Path(path).write_text("probe")
    return "written"


def read(path: str) -> str:
    return Path(path).read_text()


def open_for_writing(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return "open"


def names(path: str) -> list[str]:
    return sorted(os.listdir(path))


def processes() -> list[str]:
    """Command lines of all processes that are to be seen."""
    return [read(f"/proc/{name}/cmdline").split("\0")[0] for name in names("/proc") if name.isdecimal()]


def own_status(field: str) -> str:
    return next(line.split()[1] for line in read("/proc/self/status").splitlines() if line.startswith(f"{field}:"))


def writable_mounts() -> list[str]:
    """Every place in the file system that takes a new file."""
    found = set()
    for line in read("/proc/self/mountinfo").splitlines():
        place = line.split()[4]
        if attempt(partial(write, f"{place}/probe")) == "written":
            os.unlink(f"{place}/probe")
            found.add(place)
    return sorted(found)


def make_cgroup() -> None:
    os.mkdir("/sys/fs/cgroup/probe")
    os.rmdir("/sys/fs/cgroup/probe")


def suid() -> object:
    write("/root/probe")
    try:
        os.chmod("/root/probe", 0o4755)  # noqa: S103 - to be refused
        return "allowed"
    finally:
        os.unlink("/root/probe")


def give_away() -> object:
    """The file's mode, and owner and group after a chown."""
    write("/root/probe")
    try:
        mode = os.stat("/root/probe").st_mode & 0o777
        os.chown("/root/probe", 12345, 23456)
        status = os.stat("/root/probe")
        return [f"{mode:o}", status.st_uid, status.st_gid]
    finally:
        os.unlink("/root/probe")


def turn_executable() -> object:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return call(10, address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)  # mprotect


def map_writable_and_executable() -> object:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    return "allowed"


def foreign_call() -> object:
    """The exit status of a child that makes a system call of i386, by code in a file that is mapped for execution."""
    code = Path("/root/code")
    code.write_bytes(MACHINE_CODE.ljust(mmap.PAGESIZE, b"\xc3"))
    with code.open("rb") as file:
        LIBC.mmap.restype = ctypes.c_void_p
        address = LIBC.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file.fileno(), 0)
    code.unlink()
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_socket(family: int, kind: int, protocol: int = 0) -> object:
    socket.socket(family, kind, protocol).close()
    return "made"


def send(address: tuple[str, int]) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"probe", address)


PROBES: dict[str, Callable[[], object]] = {
    "writable": writable_mounts,
    "write /usr": lambda: write("/usr/probe"),
    "write /home": lambda: write("/home/probe"),
    "write /run": lambda: write("/run/probe"),
    "write /tmp": lambda: write("/tmp/probe"),
    "write /etc/rolekeeper": lambda: write("/etc/rolekeeper/probe"),
    "write /dev/disk": lambda: write("/dev/disk/probe"),
    "write cgroup": make_cgroup,
    "write /sys": lambda: write("/sys/kernel/mm/transparent_hugepage/enabled"),
    "tunable": lambda: open_for_writing("/proc/irq/default_smp_affinity"),
    "/home": lambda: names("/home"),
    "/tmp": lambda: names("/tmp"),
    "/dev/disk/by-uuid": lambda: names("/dev/disk/by-uuid"),
    "/dev": lambda: names("/dev"),
    "/proc": lambda: names("/proc"),
    "processes": processes,
    "modules": lambda: names("/usr/lib/modules"),
    "machine-id": lambda: read("/etc/machine-id"),
    "device": lambda: os.open("/root/kmsg", os.O_RDONLY),
    "mount namespace": lambda: os.readlink("/proc/self/ns/mnt"),
    "mounts of all": lambda: os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt"),
    "uts namespace": lambda: os.readlink("/proc/self/ns/uts"),
    "bounding": lambda: int(own_status("CapBnd"), 16),
    "effective": lambda: int(own_status("CapEff"), 16),
    "NoNewPrivs": lambda: own_status("NoNewPrivs"),
    "suid": suid,
    "give away": give_away,
    "core": lambda: resource.getrlimit(resource.RLIMIT_CORE),
    "state directory": lambda: f"{os.stat('/var/lib/rolekeeper').st_mode & 0o777:o}",
    "mprotect": turn_executable,
    "mmap": map_writable_and_executable,
    "new namespace": new_namespace,
    "foreign call": foreign_call,
    "packet socket": lambda: make_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "vsock socket": lambda: make_socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "raw socket": lambda: make_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "sockets": lambda: [make_socket(family, socket.SOCK_DGRAM) for family in (1, 2, 10, 16)],  # unix, 4, 6, netlink
    "unicast": lambda: send(("127.0.0.1", 9)),
    "multicast": lambda: send(MULTICAST),
}


def main() -> None:
    results = {name: attempt(probe) for name, probe in PROBES.items()}
    if os.uname().machine == "x86_64" and struct.calcsize("P") == 8:
        results |= {name: call(*arguments) for name, arguments in CALLS.items()}
    Path("/run/rolekeeper/probed").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
