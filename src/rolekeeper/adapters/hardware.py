"""The machine's hardware hash, byte for byte as SSM Agent measures it (docs/protocol.md, section 1.1).

A look starts five programs at once, reads the four quick components while they run, and then collects the programs'
output. Nothing here raises: a component that cannot be read is the empty string, as with SSM Agent, and its reason is
kept beside it.

- `machine-id` is the whole content of /etc/machine-id, or of D-Bus's file when that is absent.
- The SMBIOS components and `disk-info` are base64(md5(standard output)) of a program. The environment of these programs
  holds only the search path that systemd gives a service: another locale or time zone changes the dates of `ls -l`.
- `ipaddress-info` and `macaddr-info` are the first ones in the kernel's own order (netlink.py).
- The programs stay in the process group of the attempt, so that they end with it.
- A reason is transient when another look may find the component: a program that was too slow, a network that is not up
  yet. A program that is not installed, or that says no, is not.
"""

import base64
import hashlib
import socket
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from os import PathLike, fspath
from os.path import exists

from rolekeeper.adapters import netlink
from rolekeeper.model import COMPONENTS, Hardware
from rolekeeper.ports import Clock
from rolekeeper.values import Value

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
"""What systemd gives a service whose unit sets nothing."""

Path = str | PathLike[str]

_LASTING = (FileNotFoundError, PermissionError)
_LONGEST_PATIENCE = timedelta(seconds=20)
_LONGEST_COMPLAINT = 120  # characters of a program's own words that a reason repeats


class Sources(Value):
    """Where the components are read; `patience` is for all programs together.

    `network` lists what netlink.LINKS or netlink.ADDRESSES request, as netlink.dump does.
    """

    machine_id: tuple[Path, ...] = ("/etc/machine-id", "/var/lib/dbus/machine-id")
    network: Callable[[int], Iterable[bytes]] = netlink.dump
    dmidecode: Path = "/usr/sbin/dmidecode"
    ls: Path = "/bin/ls"
    disks: Path = "/dev/disk/by-uuid"
    patience: timedelta = _LONGEST_PATIENCE

    def programs(self) -> dict[str, list[str]]:
        """The command for each component that is the hash of a program's output."""
        smbios = {f"{kind}-hash": [fspath(self.dmidecode), "-t", kind] for kind in _SMBIOS_KINDS}
        return {**smbios, "disk-info": [fspath(self.ls), "-l", fspath(self.disks)]}


def patience(attempt_timeout: timedelta, looks: int) -> timedelta:
    """The patience of each of `looks` looks: together they take three eighths of the attempt's time at most."""
    return min(_LONGEST_PATIENCE, attempt_timeout * 3 / 8 / looks)


class UnreadableError(Exception):
    """A component cannot be read; the text is the reason. It never leaves this module."""

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


_Started = subprocess.Popen[bytes] | UnreadableError
_SMBIOS_KINDS = ("processor", "memory", "bios", "system")
_QUICK_COMPONENTS = ("machine-id", "hostname-info", "ipaddress-info", "macaddr-info")


class HardwareProbe:
    """The hardware of this machine, as ports.HardwareProbe."""

    def __init__(self, clock: Clock, sources: Sources | None = None) -> None:
        self._clock = clock
        self._sources = sources or Sources()

    def look(self) -> Hardware:
        """The hardware hash of this moment; never raises: the answer says what could not be read, and why."""
        deadline, network = self._clock.now().boot + self._sources.patience, self._sources.network
        started = {name: _start(command) for name, command in self._sources.programs().items()}
        readers: dict[str, Callable[[], str]] = {
            "machine-id": lambda: _machine_id(self._sources.machine_id),
            "hostname-info": socket.gethostname,
            "ipaddress-info": lambda: _first(network(netlink.ADDRESSES), netlink.ipv4_address, "an IPv4 address"),
            "macaddr-info": lambda: _first(network(netlink.LINKS), netlink.hardware_address, "a hardware address"),
            **{name: partial(self._output_hash, process, deadline) for name, process in started.items()},
        }
        values, reasons = dict.fromkeys(COMPONENTS, ""), {}
        for name in (*_QUICK_COMPONENTS, *started):
            try:
                values[name] = _read(readers[name])
            except UnreadableError as error:
                reasons[name] = error
        return Hardware(
            values,
            {name: str(error) for name, error in reasons.items()},
            frozenset(name for name, error in reasons.items() if error.transient),
        )

    def _output_hash(self, process: _Started, deadline: timedelta) -> str:
        """The hash of a program's output, once it ends or the patience for all programs is over.

        A program that ended in time only has to be read, but its turn may come late: a twentieth is left for that.
        """
        little = self._sources.patience / 20
        return _output_hash(process, max(deadline - self._clock.now().boot, little), little)


def _read(reader: Callable[[], str]) -> str:
    try:
        value = reader()
        value.encode()  # a host name may hold bytes that are no text
    except OSError as error:
        raise UnreadableError(_reason(error), transient=not isinstance(error, _LASTING)) from error
    except ValueError as error:
        raise UnreadableError("what was read is not text") from error
    return value


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _machine_id(paths: tuple[Path, ...]) -> str:
    present = [path for path in paths if exists(path)]
    if not present:
        raise UnreadableError(f"{paths[0]} is absent")
    with open(present[0], "rb") as file:
        value = file.read().decode()
    if not value:
        raise UnreadableError(f"{present[0]} is empty")
    return value


def _start(command: list[str]) -> _Started:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
    except OSError as error:
        reason = f"cannot run {command[0]}: {error.strerror}"
        return UnreadableError(reason, transient=not isinstance(error, _LASTING))


def _output_hash(process: _Started, longest: timedelta, longest_end: timedelta) -> str:
    if isinstance(process, UnreadableError):
        raise process
    program = process.args[0]  # type: ignore[index] # it was started from a list
    try:
        output, complaint = process.communicate(timeout=longest.total_seconds())
    except subprocess.TimeoutExpired:
        _end(process, longest_end)
        raise UnreadableError(f"{program!s} did not end in time", transient=True) from None
    if process.returncode:
        words = complaint.decode("utf-8", "replace").strip()[:_LONGEST_COMPLAINT]
        reason = f"{program!s} ended with status {process.returncode}" + (f": {words}" if words else "")
        raise UnreadableError(reason, transient=process.returncode < 0)  # a signal killed it
    return base64.b64encode(hashlib.md5(output, usedforsecurity=False).digest()).decode("ascii")


def _end(process: subprocess.Popen[bytes], longest: timedelta) -> None:
    """Kill the program and everything that it started; what hangs in the kernel ends with the attempt's process group.

    psutil finds those children: a wrapper script of dmidecode would leave its own running.
    """
    import psutil  # noqa: PLC0415 - it costs a cold start 20 ms, and only a program that hangs needs it

    started: list[psutil.Process] = []
    with suppress(psutil.Error, OSError):
        started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for one in started:
        with suppress(psutil.Error):
            one.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
    try:
        process.wait(timeout=longest.total_seconds())
    except subprocess.TimeoutExpired:
        return


def _first(answers: Iterable[bytes], read: Callable[[bytes], str], what: str) -> str:
    found = next(filter(None, map(read, answers)), None)
    if found is None:  # at boot, the network may come up later
        raise UnreadableError(f"no interface has {what}", transient=True)
    return found
