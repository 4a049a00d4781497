"""What a sealed vault costs an attempt: `python -m tests.benchmarks.seal`.

Two processes take turns: both have imported what an attempt has in any case, load a vault and save it, once plain and
once sealed. The difference is loading the seal's modules, reading the key, opening the box and sealing it anew.
"""

import statistics
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from tests.vault.conftest import FULL

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault import box
from rolekeeper.adapters.vault.keyfile import CREDENTIAL
from rolekeeper.adapters.vault.store import FileVault

ROUNDS = 41
NANOSECONDS_IN_MS = 1e6
PROGRAM = """
import sys, time
from datetime import timedelta
import rolekeeper.adapters.hardware, rolekeeper.adapters.ssm.nodekey
from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.store import FileVault
def keys():
    from rolekeeper.adapters.vault.keyfile import credential
    return credential(sys.argv[2])
began = time.process_time_ns()
vault = FileVault(sys.argv[1], SystemClock(), keys)
with vault.lock(timedelta()):
    vault.save(vault.load())
print(time.process_time_ns() - began)
"""


def cpu_ms(directory: Path, credentials: str) -> float:
    command = [sys.executable, "-I", "-c", PROGRAM, str(directory), credentials]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / NANOSECONDS_IN_MS


def main() -> None:
    key = box.new_key()
    with tempfile.TemporaryDirectory() as made:
        directories = [Path(made, "plain"), Path(made, "sealed")]
        Path(made, CREDENTIAL).write_bytes(box.encode_keys((key,)))
        for directory in directories:
            vault = FileVault(directory, SystemClock())
            with vault.lock(timedelta()):
                vault.seal_with(key if directory.name == "sealed" else None)
                vault.save(FULL)
        rounds = [[cpu_ms(directory, made) for directory in directories] for _ in range(ROUNDS)]
    plain, sealed = (statistics.median(column) for column in zip(*rounds, strict=True))
    difference = statistics.median(sealed - plain for plain, sealed in rounds)
    print(f"load and save, CPU: plain {plain:.2f} ms, sealed {sealed:.2f} ms, median difference {difference:.2f} ms")


if __name__ == "__main__":
    main()
