"""Run a child under ptrace(2), count its steps, and spoil one of them: kill the child there, or let the call fail.

The child is stopped at each system call's entry. There it is killed before the call takes effect; or the call is
replaced by none and its result by an error; or its size is made smaller. After an error of a step that changes nothing
the child runs on by itself. Threads of the child are followed, too: outputs are looked at and published in some.
"""

import ctypes
import os
import platform
import re
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.calls import (
    CHANGING,
    CREATES,
    INTERNET_FAMILIES,
    KILL,
    LOCK_COMMANDS,
    NETWORK,
    SHAPES,
    SHORT,
    Kind,
    Shape,
    Step,
    number,
)

TRACEME, POKEUSER, CONT, SETOPTIONS, SYSCALL, GET_SYSCALL_INFO = 0, 6, 7, 0x4200, 24, 0x420E  # linux/ptrace.h
TRACESYSGOOD, TRACECLONE, EXITKILL = 1, 8, 0x100000
WALL = 0x40000000  # waitpid(2): for threads as well
SYSCALL_STOP = signal.SIGTRAP | 0x80
INFO = struct.Struct("<B3xIQQ7Q")  # struct ptrace_syscall_info: op, arch, ip, sp, and nr with args, or the result
REGISTERS = {"orig_rax": 15, "rax": 10, 0: 14, 1: 13, 2: 12}  # sys/user.h, and the first three arguments
AT_FDCWD = -100
LONGEST_PATH = 4096
RANDOM = re.compile(r"\.[0-9a-f]{16}\.rolekeeper-new$")  # of a temporary name, another one in every run

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


def why_not() -> str:
    """Why nothing can be traced here; empty when it can."""
    if platform.machine() != "x86_64":
        return "the numbers of system calls are those of x86-64"
    return "" if os.geteuid() == 0 else "a process that hides its memory is traced by root only"


def be_traced() -> None:
    """For the child: from here on the parent follows."""
    _ptrace(TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    answer: int = libc.ptrace(request, pid, address, data)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _next_stop(pid: int) -> tuple[int, int]:
    """The thread of the process that stops next, and the wait status; or the process's end."""
    while True:
        thread, status = os.waitpid(-1, WALL)
        if thread == pid or os.WIFSTOPPED(status):
            return thread, status


def reap(pid: int) -> None:
    """Wait for the end of a process that was killed, and of its threads."""
    while os.WIFSTOPPED(_next_stop(pid)[1]):
        """It was on its way here when it was killed."""


@dataclass
class Trace:
    """One child that is traced; steps below `root` are its own files.

    `at` is the step to spoil, counted from 0, and `fault` how: KILL, SHORT or the name of an error; None: only record.
    When it is `lasting`, every later step that changes something and can meet with that error does so. With
    `takes_effect` the call is carried out, and told as an error all the same. Calls named `closed` fail with EROFS
    anyway.
    """

    pid: int
    root: str
    names: dict[str, str]  # paths outside `root` that are steps all the same, with what they are called
    at: int | None = None
    fault: str = ""
    lasting: bool = False
    takes_effect: bool = False
    closed: str = ""
    steps: list[Step] = field(default_factory=list)
    thread: int = 0  # that is at a stop
    request: int = SYSCALL  # how threads go on
    sockets: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)  # descriptors of files that were opened to be written
    memory: int = -1
    info: Any = field(default_factory=lambda: ctypes.create_string_buffer(INFO.size))
    status: int = 0

    def run(self) -> int:
        """Follow the child to its end; returns the wait status."""
        os.waitpid(self.pid, 0)
        _ptrace(SETOPTIONS, self.pid, 0, TRACESYSGOOD | TRACECLONE | EXITKILL)
        self.memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)
        try:
            return self._follow()
        finally:
            os.close(self.memory)

    def _follow(self) -> int:
        on_return: dict[int, Callable[[int], None] | None] = {}
        for is_entry in self._stops():
            if is_entry:
                nr, *arguments = self._call()
                on_return[self.thread] = self._entered(nr, tuple(arguments))
            elif then := on_return.get(self.thread):
                then(self._call()[0])
        return self.status

    def _call(self) -> tuple[int, ...]:
        """Number and arguments of the call that is entered, or the result of the one that returns."""
        _ptrace(GET_SYSCALL_INFO, self.thread, INFO.size, ctypes.addressof(self.info))
        return INFO.unpack(self.info)[4:]

    def _stops(self) -> Iterator[bool]:
        """Each stop of a `thread` at a system call: True when it is entered, False when it returns."""
        inside: dict[int, bool] = {}  # for each thread, whether it is in a system call
        self.thread, passed_on = self.pid, 0
        while True:
            with suppress(ProcessLookupError):  # killed; its end is still to be heard
                _ptrace(self.request, self.thread, 0, passed_on)
            self.thread, self.status = _next_stop(self.pid)
            if not os.WIFSTOPPED(self.status):
                return
            stopped = os.WSTOPSIG(self.status)
            is_of_tracing = stopped == SYSCALL_STOP or self.status >> 16 or self.thread not in {self.pid, *inside}
            passed_on = 0 if is_of_tracing else stopped
            is_entry = inside.setdefault(self.thread, False)
            if stopped == SYSCALL_STOP:
                is_entry = inside[self.thread] = not is_entry
                yield is_entry
                if self._is_done and not (is_entry or self._is_followed):
                    self.request = CONT

    @property
    def _is_done(self) -> bool:
        return self.at is not None and len(self.steps) > self.at

    @property
    def _is_at(self) -> bool:
        """Whether the last step is the one to spoil."""
        return self.at is not None and len(self.steps) - 1 == self.at

    @property
    def _is_followed(self) -> bool:
        """Whether the steps after the spoiled one are told apart: to spoil them, too, or to see what is done again."""
        return self.at is not None and (self.lasting or self.steps[self.at].kind in CHANGING | {Kind.CLOSE})

    def _entered(self, nr: int, arguments: tuple[int, ...]) -> Callable[[int], None] | None:
        shape = SHAPES.get(nr)
        if shape is None:
            return None
        if shape.name == "socket" and arguments[0] in INTERNET_FAMILIES:
            self.steps.append(Step(shape.kind, "socket"))
            return self._spoil(shape, arguments) if self._is_at else self.sockets.add
        step = self._step(shape, arguments)
        if step is None:
            return None
        self.steps.append(step)
        if self._is_at or (self._is_done and self.lasting and self._is_spoiled_too(step)):
            return self._spoil(shape, arguments)
        if step.call == self.closed:
            return self._fail("EROFS")
        return self.written.add if step.kind is Kind.CREATE else None

    def _is_spoiled_too(self, step: Step) -> bool:
        told = step.call.endswith(("stdout", "stderr"))  # what is said to a person goes to another disk
        return step.kind in CHANGING and self.fault in step.faults and not told

    def _spoil(self, shape: Shape, arguments: tuple[int, ...]) -> Callable[[int], None] | None:
        if self.fault == SHORT:
            assert shape.size is not None
            asked = arguments[shape.size]
            self._set(shape.size, max(1, asked // 2) if shape.kind is not Kind.RECEIVE else 1)
            return lambda _: self._set(shape.size, asked)
        if self.fault == KILL:
            self._set("orig_rax", -1)
            os.kill(self.pid, signal.SIGKILL)
            return None
        return self._fail(self.fault, takes_effect=self.takes_effect)

    def _fail(self, error: str, *, takes_effect: bool = False) -> Callable[[int], None]:
        if not takes_effect:
            self._set("orig_rax", -1)
        return lambda _: self._set("rax", -number(error))

    def _set(self, register: int | str | None, value: int) -> None:
        assert register is not None
        _ptrace(POKEUSER, self.thread, 8 * REGISTERS[register], value & 0xFFFFFFFFFFFFFFFF)

    def _step(self, shape: Shape, arguments: tuple[int, ...]) -> Step | None:
        if shape.fd is not None:
            return self._step_by_descriptor(shape, arguments)
        places = [self._path(directory, path, arguments) for directory, path in shape.at]
        kind = shape.kind
        if shape.name == "openat" and arguments[2] & CREATES:
            kind = Kind.CREATE
        return self._counted(kind, shape.name, places)

    def _step_by_descriptor(self, shape: Shape, arguments: tuple[int, ...]) -> Step | None:
        descriptor = _signed(arguments[0])
        if shape.kind in NETWORK:
            return Step(shape.kind, shape.name) if self._is_news(descriptor, shape.kind) else None
        if shape.name == "fcntl" and arguments[1] not in LOCK_COMMANDS:
            return None
        if shape.kind is Kind.CLOSE:
            self.sockets.discard(descriptor)
            if descriptor not in self.written:
                return None
            self.written.discard(descriptor)
        return self._counted(shape.kind, shape.name, [self._link(str(descriptor))])

    def _is_news(self, descriptor: int, kind: Kind) -> bool:
        """An answer comes in one part or in two, as it pleases: to receive it is one step."""
        more = kind is Kind.RECEIVE and self.steps and self.steps[-1].kind is kind
        return descriptor in self.sockets and not more

    def _counted(self, kind: Kind, name: str, places: list[str]) -> Step | None:
        shown = [self._shown(place) for place in places]
        is_file = all(place.startswith("/") and not place.startswith(("/dev/", "/proc/")) for place in places)
        is_own = all(label is not None for label in shown)
        if not is_own and not (kind in CHANGING and is_file):
            return None
        return Step(kind, " ".join((name, *(label or place for label, place in zip(shown, places, strict=True)))))

    def _shown(self, place: str) -> str | None:
        place = RANDOM.sub(".rolekeeper-new", place.removesuffix(" (deleted)"))
        if place == self.root:
            return "."
        if place.startswith(f"{self.root}/"):
            return place[len(self.root) + 1 :]
        return self.names.get(place)

    def _path(self, directory: int | None, path: int, arguments: tuple[int, ...]) -> str:
        name = self._text(arguments[path])
        at = AT_FDCWD if directory is None else _signed(arguments[directory])
        if name.startswith("/proc/self/fd/"):
            return self._link(name.rpartition("/")[2])
        if name.startswith("/"):
            return os.path.normpath(name)
        base = self._link("../cwd" if at == AT_FDCWD else str(at))
        return os.path.normpath(f"{base}/{name}") if base.startswith("/") else ""

    def _link(self, descriptor: str) -> str:
        try:
            return str(Path(f"/proc/{self.pid}/fd/{descriptor}").readlink())
        except FileNotFoundError:
            return ""

    def _text(self, address: int) -> str:
        """The string in the child's memory; a page that is not there ends it."""
        data = b""
        while b"\0" not in data and len(data) < LONGEST_PATH:
            more = os.pread(self.memory, min(256, 4096 - (address + len(data)) % 4096), address + len(data))
            data += more
            if not more:
                break
        return os.fsdecode(data.partition(b"\0")[0])


def _signed(value: int) -> int:
    """A descriptor: the lower half of the register."""
    return ctypes.c_int(value & 0xFFFFFFFF).value
