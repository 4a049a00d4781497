"""The machine's hardware hash, byte for byte as SSM Agent measures it (docs/protocol.md, section 1.1).

- `machine-id` is the whole content of /etc/machine-id, or of D-Bus's file when that is absent.
- The SMBIOS components and `disk-info` are base64(md5(standard output)) of a program. All of them are started at once,
  with nothing in the environment but the search path that systemd gives a service: `ls -l` would print other dates
  under another locale or time zone.
- `ipaddress-info` and `macaddr-info` follow the order of interface indexes. psutil sorts hardware addresses by family
  and pads short ones, so these come from /sys/class/net.
- The programs stay in the process group of whoever looks, so that what ends an attempt ends them as well.
- Ours beyond that: what could not be read is the empty string, as with SSM Agent, and its reason is kept beside it.
"""

import base64
import hashlib
import ipaddress
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from rolekeeper.model import COMPONENTS, Hardware
from rolekeeper.ports import Clock

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
"""What systemd gives a service that asks for nothing."""

_TUNNEL_ADDRESS_LENGTHS = (4, 16)  # bytes: the end of an IPv4 or IPv6 tunnel, not a hardware address
_LONGEST_PATIENCE = timedelta(seconds=20)
_LONGEST_COMPLAINT = 120  # characters of a program's own words that are passed on


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the components are read; `patience` is for all programs together."""

    machine_id: tuple[Path, ...] = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
    network: Path = Path("/sys/class/net")
    dmidecode: Path = Path("/usr/sbin/dmidecode")
    ls: Path = Path("/bin/ls")
    disks: Path = Path("/dev/disk/by-uuid")
    patience: timedelta = _LONGEST_PATIENCE

    def programs(self) -> dict[str, list[str]]:
        """The component that each program's output is hashed for."""
        smbios = {f"{kind}-hash": [str(self.dmidecode), "-t", kind] for kind in _SMBIOS_KINDS}
        return {**smbios, "disk-info": [str(self.ls), "-l", str(self.disks)]}


def patience(attempt_timeout: timedelta, looks: int) -> timedelta:
    """For one look of so many: all of them together take three eighths of the attempt's time, if programs hang."""
    return min(_LONGEST_PATIENCE, attempt_timeout * 3 / 8 / looks)


class UnreadableError(Exception):
    """A component cannot be read; the text is the reason. It never leaves this module."""


_Started = subprocess.Popen[bytes] | UnreadableError
_SMBIOS_KINDS = ("processor", "memory", "bios", "system")
_QUICK_COMPONENTS = ("machine-id", "hostname-info", "ipaddress-info", "macaddr-info")


class HardwareProbe:
    """The hardware of this machine, as ports.HardwareProbe."""

    def __init__(self, clock: Clock, sources: Sources | None = None) -> None:
        self._clock = clock
        self._sources = sources or Sources()

    def look(self) -> Hardware:
        """The hardware hash of this moment; never raises: what cannot be read is told in the answer."""
        deadline = self._clock.now().boot + self._sources.patience
        started = {name: _start(command) for name, command in self._sources.programs().items()}
        readers: dict[str, Callable[[], str]] = {
            "machine-id": lambda: _machine_id(self._sources.machine_id),
            "hostname-info": socket.gethostname,
            "ipaddress-info": _first_address,
            "macaddr-info": lambda: _first_hardware_address(self._sources.network),
            **{name: partial(self._output_hash, process, deadline) for name, process in started.items()},
        }
        readings = {name: _read(readers[name]) for name in (*_QUICK_COMPONENTS, *started)}
        return Hardware(
            {name: readings[name][0] for name in COMPONENTS},
            {name: reason for name, (_, reason) in readings.items() if reason},
        )

    def _output_hash(self, process: _Started, deadline: timedelta) -> str:
        """The hash of a program's output, which is waited for until the patience for all programs is over.

        One that ended in time only has to be read then: a little is left for that.
        """
        little = self._sources.patience / 20
        return _output_hash(process, max(deadline - self._clock.now().boot, little), little)


def _read(reader: Callable[[], str]) -> tuple[str, str]:
    """The component's value, and the reason when there is none."""
    try:
        value = reader()
        value.encode()  # a host name may hold bytes that are no text
    except UnreadableError as error:
        return "", str(error)
    except OSError as error:
        return "", _reason(error)
    except ValueError:
        return "", "what was read is neither text nor a number"
    return value, ""


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _machine_id(paths: tuple[Path, ...]) -> str:
    present = [path for path in paths if path.exists()]
    if not present:
        raise UnreadableError(f"{paths[0]} is absent")
    value = present[0].read_bytes().decode()
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
        return UnreadableError(f"cannot run {command[0]}: {error.strerror}")


def _output_hash(process: _Started, longest: timedelta, longest_end: timedelta) -> str:
    if isinstance(process, UnreadableError):
        raise process
    program = process.args[0]  # type: ignore[index] # it was started from a list
    try:
        output, complaint = process.communicate(timeout=longest.total_seconds())
    except subprocess.TimeoutExpired:
        _end(process, longest_end)
        raise UnreadableError(f"{program!s} did not end in time") from None
    if process.returncode:
        words = complaint.decode("utf-8", "replace").strip()[:_LONGEST_COMPLAINT]
        raise UnreadableError(f"{program!s} ended with status {process.returncode}" + (f": {words}" if words else ""))
    return base64.b64encode(hashlib.md5(output, usedforsecurity=False).digest()).decode("ascii")


def _end(process: subprocess.Popen[bytes], longest: timedelta) -> None:
    """Kill the program and all that it started; one that hangs in the kernel is left to the end of this process."""
    import psutil  # noqa: PLC0415 - as below

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


def _first_address() -> str:
    """The first IPv4 address, in the order of interfaces, that is not a loopback address."""
    import psutil  # noqa: PLC0415 - it costs a cold start milliseconds, and only this component needs it

    interfaces = psutil.net_if_addrs()
    for name in sorted(interfaces, key=_index):
        for address in interfaces[name]:
            if address.family == socket.AF_INET and not ipaddress.ip_address(address.address).is_loopback:
                return str(address.address)
    raise UnreadableError("no interface has an IPv4 address")


def _index(name: str) -> int:
    return socket.if_nametoindex(name.partition(":")[0])  # an address with a label is listed as `eth0:label`


def _first_hardware_address(network: Path) -> str:
    addresses = dict(_hardware_addresses(network))
    if not addresses:
        raise UnreadableError("no interface has a hardware address")
    return addresses[min(addresses)]


def _hardware_addresses(network: Path) -> Iterator[tuple[int, str]]:
    """Index and hardware address of each interface that has one."""
    for interface in sorted(network.iterdir()):
        if not (interface / "ifindex").exists():  # such as `bonding_masters`, or gone since the listing
            continue
        length = int((interface / "addr_len").read_text(encoding="ascii"))
        address = (interface / "address").read_text(encoding="ascii").strip()
        if length not in _TUNNEL_ADDRESS_LENGTHS and address.strip("0:"):
            yield int((interface / "ifindex").read_text(encoding="ascii")), address
