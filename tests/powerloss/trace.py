"""What a command did to files and told the service, in order, as strace(1) saw it.

strace runs with -y (each descriptor with its path) and -xx (every string in hexadecimal), so one line is one operation.
A system call that changes a file below the directory looked at, and that is not understood here, is an error: a model
that leaves something out proves nothing.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    **dict.fromkeys(("open", "openat"), "create"),
    **dict.fromkeys(("write", "pwrite64"), "write"),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "unlink"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat"), "chmod"),
    **dict.fromkeys(("fsync", "fdatasync"), "fsync"),
    **dict.fromkeys(("sendto", "sendmsg"), "send"),
}
NOT_UNDERSTOOD = (
    *(
        "creat",
        "writev",
        "pwritev",
        "pwritev2",
        "copy_file_range",
        "sendfile",
        "splice",
        "fallocate",
        "mknod",
        "mknodat",
    ),
    *("link", "linkat", "symlink", "symlinkat", "chown", "fchown", "lchown", "fchownat", "sendmmsg"),
)
NAMED = ("openat", "renameat", "renameat2", "unlinkat", "mkdirat", "fchmodat")  # a name beside a descriptor
STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "9999999", "-e", "signal=none")
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.*)")
PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<directory>[^>]*)>, )?"(?P<name>[^"]*)"')
DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
STRING = re.compile(r'"([^"]*)"')
SECONDS = 120  # for a traced command on a busy machine


@dataclass(frozen=True, slots=True)
class Operation:
    """One system call: what it does, to which path, and what else it takes."""

    kind: str
    path: str = ""
    to: str = ""
    data: bytes = b""
    number: int = 0  # a mode, a length, or an offset; -1 as offset: at the end
    process: int = 0


def traced(command: Sequence[str], log: Path) -> list[str]:
    """The command that runs `command` and writes its operations into `log`."""
    return [*STRACE, "-e", f"trace={','.join((*KINDS, *NOT_UNDERSTOOD))}", "-o", str(log), *command]


def run(command: Sequence[str], log: Path, stdin: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a traced command to its end."""
    return subprocess.run(
        traced(command, log),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=environment,
    )


def operations(log: Path, below: Path) -> Iterator[Operation]:
    """The operations in a log that concern `below` or go out to a socket."""
    for process, line in _whole_lines(log):
        call = CALL.fullmatch(line)
        if call is None or call["result"].startswith("-"):
            continue
        paths = _paths(call)
        if any(Path(path).is_relative_to(below) for path in paths) and not paths[0].endswith(" (deleted)"):
            yield from _understood(call, paths)
        elif KINDS.get(call["name"]) == "send":
            yield Operation("send", data=_bytes(call["arguments"]), process=process)


def _whole_lines(log: Path) -> Iterator[tuple[int, str]]:
    """Process and call; one that was interrupted by another process's stands where it ended."""
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="ascii").splitlines():
        process, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[process] = call.removesuffix("<unfinished ...>")
        elif call.startswith("<... "):
            yield int(process), begun.pop(process) + call.partition("resumed>")[2]
        else:
            yield int(process), call


def _paths(call: re.Match[str]) -> list[str]:
    name, arguments = call["name"], call["arguments"]
    if name in ("open", "openat"):
        return [_text(path) for path in DESCRIPTOR.findall(call["result"])]
    if DESCRIPTOR.match(arguments) and name not in NAMED:
        return [_text(DESCRIPTOR.findall(arguments)[0])]
    return [_place(one) for one in PLACE.finditer(arguments)]


def _understood(call: re.Match[str], paths: list[str]) -> Iterator[Operation]:
    name, arguments = call["name"], call["arguments"]
    assert name in KINDS, f"{name} is not understood: {paths}"
    kind, path = KINDS[name], paths[0]
    if kind == "create":
        yield from [Operation(kind, path, number=_number(arguments))] if "O_CREAT" in arguments else []
        yield from [Operation("truncate", path)] if "O_TRUNC" in arguments else []
        return
    data = _bytes(arguments)[: int(call["result"])] if kind == "write" else b""
    number = -1 if name == "write" else _number(arguments)
    yield Operation(kind, path, paths[1] if kind == "rename" else "", data, number)


def _number(arguments: str) -> int:
    last = arguments.rpartition(", ")[2]
    return int(last, 8 if last.startswith("0") else 10) if last.isdecimal() else 0


def _place(found: re.Match[str]) -> str:
    name = _text(found["name"])
    return name if name.startswith("/") else f"{_text(found['directory'])}/{name}"


def _text(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode()


def _bytes(arguments: str) -> bytes:
    return b"".join(bytes.fromhex(text.replace("\\x", "")) for text in STRING.findall(arguments))
