"""What SSM Agent was measured to do in trouble, and what rolekeeper does in the same: `make beside`.

Each row is a real daemon with a real vault on the emulator, or real readers of a real file. SSM Agent's column is that
of docs/protocol.md, section 5. Nothing fails here: a person reads the table. What is lost or kept, and not how much or
how long, is held by tests; docs/reliability.md names them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.benchmarks.rig import PYTHON, Rig, seconds_to_go, until
from tests.readers import reading, told

from rolekeeper.emulator import Emulator

TOKEN_OPERATION = "RequestManagedInstanceRoleToken"
HOT_LOOP_SECONDS = 2.5
OUTAGE_SECONDS = 30.0
REWRITES = 585
WRITERS = {
    "rolekeeper": "sink.publish(settings.credentials_files[0], token)",
    "in place": "Path(settings.credentials_files[0].path).write_text(text)",
}
WRITER = """
import sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from rolekeeper import compose
from tests.sinks import Sink, file_sink
from rolekeeper.model import RoleToken
settings = compose.settings(sys.argv[1])
sink = file_sink(compose.clock().sleep)
text = Path(settings.credentials_files[0].path).read_text()
for number in range(int(sys.argv[2])):
    name = f"ASIA{number:016}"
    token = RoleToken(name, f"secret-{name}", f"session-{name}" * 40, datetime.now(UTC) + timedelta(hours=1))
    %s
    time.sleep(0.001)
"""


def main() -> None:
    """Measure, and print the table."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f} at the beginning\n", flush=True)
    print("| | SSM Agent | rolekeeper |\n|---|---|---|", flush=True)
    for measure in (_expiry_past, _update_key_pair_missing, _outage, _hang, _readers):
        with tempfile.TemporaryDirectory(prefix="rolekeeper-beside-") as directory, Emulator() as emulator:
            for row in measure(Rig(Path(directory), emulator)):
                print(f"| {' | '.join(row)} |", flush=True)


def _expiry_past(rig: Rig) -> Iterator[tuple[str, str, str]]:
    rig.emulator.fail(TOKEN_OPERATION, token_lifetime=-timedelta(hours=1), times=None)
    with rig.daemon():
        rig.emulator.wait_for(TOKEN_OPERATION)
        time.sleep(HOT_LOOP_SECONDS)
        count = len(_asked(rig))
    yield "expiry in the past", "524 requests in 2.5 s", f"{count} requests in {HOT_LOOP_SECONDS} s"


def _update_key_pair_missing(rig: Rig) -> Iterator[tuple[str, str, str]]:
    rig.emulator.fail(TOKEN_OPERATION, remove=("UpdateKeyPair",), times=None)
    with rig.daemon() as pid:
        rig.wait_until_asleep(pid)
        gone = seconds_to_go(pid)
    ours = f"credentials published; ends {gone * 1000:.0f} ms after SIGTERM"
    yield "UpdateKeyPair missing", "crash, 5 min pause, does not answer SIGTERM", ours


def _outage(rig: Rig) -> Iterator[tuple[str, str, str]]:
    rig.emulator.fail(TOKEN_OPERATION, error="InternalServerError", times=None)
    with rig.daemon():
        rig.emulator.wait_for(TOKEN_OPERATION)
        time.sleep(OUTAGE_SECONDS)
        requests = len(_asked(rig))
        rig.emulator.clear_faults()
        back = time.monotonic()
        until(rig.published.exists)
        recovery = time.monotonic() - back
    what = f"{OUTAGE_SECONDS:.0f} s of 500"
    yield what, "bursts of 4 identical requests, then longer and longer pauses", f"{requests} requests"
    yield f"service back after {what}", "up to half an hour", f"credentials after {recovery:.0f} s"


def _hang(rig: Rig) -> Iterator[tuple[str, str, str]]:
    rig.emulator.fail(TOKEN_OPERATION, hang=True)
    with rig.daemon():
        began = rig.emulator.wait_for(TOKEN_OPERATION)[0].received_at
        until(lambda: rig.state() not in ("", "attempting"))
        noticed = datetime.now(UTC) - began
        until(rig.published.exists)
        recovered = datetime.now(UTC) - began
    ours = f"noticed after {noticed.seconds} s, credentials after {recovered.seconds} s"
    yield "one request hangs", "60 s x 4 before it is noticed", ours


def _readers(rig: Rig) -> Iterator[tuple[str, str, str]]:
    with rig.daemon() as pid:
        rig.wait_until_asleep(pid)
    configuration = Path(rig.rolekeeper[-1])
    for how, line in WRITERS.items():
        reader = reading("plain", rig.published, configuration)
        command = [PYTHON, "-c", WRITER % line, str(configuration), str(REWRITES)]
        subprocess.run(command, env=rig.environment, check=True, stdout=sys.stderr)
        found = told(reader)
        ours = f"{sum(found['wrong'].values())} torn, empty or missing of {found['reads']} reads"
        what = f"reader during {REWRITES} rewrites" + ("" if how == "rolekeeper" else f", written {how} for comparison")
        yield what, "571 empty reads over 585 rewrites", ours


def _asked(rig: Rig) -> list[str]:
    return [one.operation for one in rig.emulator.requests if one.operation == TOKEN_OPERATION]


if __name__ == "__main__":
    main()
