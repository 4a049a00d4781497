"""One cell of the matrix: a client that gets its credentials in one way, watched through the publications of tokens."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from tests.clients.door import Door, opened
from tests.clients.source import Source
from tests.clients.table import Client

ROTATIONS = 10
FINDS_WITHIN = 40  # seconds; on a busy machine a client may begin late
EDGE = timedelta(seconds=1)  # a request that was under way when its token expired
ROOT = Path(__file__).parents[2]
PLACES = {
    "programs": str(ROOT / "tests" / "clients" / "programs"),
    "built": str(ROOT / "build" / "clients"),
    "python": str(ROOT / ".venv" / "clients" / "bin" / "python3"),
    "s5cmd": str(ROOT / ".venv" / "clients" / "bin" / "s5cmd"),
    "own": str(ROOT / ".venv" / "bin" / "python"),
}
FILES = 400


class Cell(StrEnum):
    """What became of a client: `RENEWS` is green."""

    RENEWS = "renews"
    EXPIRES = "expires"
    NOT_FOUND = "not found"


class NotMeasuredError(Exception):
    """The client did something that no cell says."""


def lacking(client: Client) -> str:
    """What the client needs and this machine does not have; empty when nothing is missing."""
    for needed in (one.format(**PLACES) for one in client.needs):
        if shutil.which(needed) is None and not Path(needed).exists():
            return needed
    return ""


def version(client: Client) -> str:
    """The first version number that the client says of itself."""
    line = client.version.format(**PLACES) if "dpkg-query" not in client.version else client.version
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "?"


def measure(source: Source, client: Client, way: str, rotations: int = ROTATIONS) -> Cell:
    """Run the client until so many tokens were published, or it is clear that it does not live through that."""
    with opened(source.emulator, client.pace) as door, tempfile.TemporaryDirectory() as home:
        environment = _environment(source, client, way, door, Path(home))
        words = PLACES | {"door": door.url, "host": f"127.0.0.1:{door.port}", "files": _files(source)}
        if client.prepare:
            _prepare(client.prepare, environment)
            if not any(one.is_accepted for one in door.noted):
                return Cell.NOT_FOUND
            door.noted.clear()
        with _started(client.command.format(**words), environment, Path(home)) as process:
            seen = len(source.published)
            latest = time.monotonic() + FINDS_WITHIN
            while len(source.published) - seen < rotations and process.poll() is None:
                if _refused(source, door) or (time.monotonic() > latest and not _accepted(door)):
                    break
                time.sleep(0.3)
            is_alive = process.poll() is None
        return _judged(source, door, rotations, Path(home), is_alive=is_alive, passed=len(source.published) - seen)


def _judged(source: Source, door: Door, rotations: int, home: Path, *, is_alive: bool, passed: int) -> Cell:
    keys = _accepted(door)
    if not keys:
        return Cell.NOT_FOUND
    if _refused(source, door) or (not is_alive and not door.noted[-1].is_accepted):
        return Cell.EXPIRES
    if is_alive and passed >= rotations and len(keys) >= rotations // 2 and set(keys) & set(source.published[-3:]):
        return Cell.RENEWS
    said = (home / "log").read_text(errors="replace")[-500:]
    raise NotMeasuredError(f"alive: {is_alive}, tokens: {passed}, keys: {len(keys)}; {said}")


def _accepted(door: Door) -> list[str]:
    """The access keys that were accepted, each once."""
    return list(dict.fromkeys(one.key for one in door.noted if one.is_accepted))


def _refused(source: Source, door: Door) -> bool:
    """Whether requests were refused, but for one that met the moment of expiry."""
    refused = [one for one in list(door.noted) if not one.is_accepted]
    tokens = source.emulator.tokens
    late = [one for one in refused if one.key not in tokens or one.at > tokens[one.key].expires_at + EDGE]
    return len(late) > 0 or len(refused) > 1


def _environment(source: Source, client: Client, way: str, door: Door, home: Path) -> dict[str, str]:
    given = source.environment(way)
    names: Mapping[str, str] = {"door": door.url, **given}
    own = {name: value.format(**names) for name, value in client.environment.items()}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ENDPOINT": door.url,
        "NO_PROXY": "127.0.0.1",
        **given,
        **own,
    }


def _files(source: Source) -> str:
    """A directory with many small files."""
    directory = source.directory / "files"
    if not directory.exists():
        made = Path(tempfile.mkdtemp(dir=source.directory))
        for number in range(FILES):
            (made / f"{number:03}").write_text(f"the file {number}\n")
        if not directory.exists():
            made.rename(directory)
    return str(directory)


def _prepare(line: str, environment: Mapping[str, str]) -> None:
    subprocess.run(["sh", "-c", line], env=environment, capture_output=True, check=False, timeout=FINDS_WITHIN)


@contextmanager
def _started(line: str, environment: Mapping[str, str], home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The client in a session of its own, which ends with it."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", line],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it has ended, and all that it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
