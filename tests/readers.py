"""Readers of a published file, each a process of its own: one kind of reading, until standard input ends.

Then it tells, as JSON: how many reads; what it saw, as access key id, secret and token; how often which answer came;
and what should never be seen, with a few examples.
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.configloader import raw_config_parse

PROGRAM = str(Path(sys.executable).parent / "rolekeeper")
OURS = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "x_security_token_expires",
    "x_rolekeeper_key_id",
)
VALUE = re.compile(rf"^({'|'.join(OURS)})\s*=\s*(\S+)$", re.MULTILINE)
ANSWERS = {
    0: "fresh",
    1: "stale",
    2: "expired or hibernating",
    3: "no daemon",
    69: "expired",
    78: "configuration wrong",
}
CLOCK_TOLERANCE = timedelta(seconds=2)  # the service tells its time to a second, and a busy machine hears it late
EXAMPLES = 5
PATIENCE_SECONDS = 60
SECOND = timedelta(seconds=1)
Keys = tuple[str, str, str]


def shape(text: str) -> str:
    """Everything in the file but the values that rolekeeper keeps in its first profile, `default`."""
    return VALUE.sub(r"\1", text, count=len(OURS))


class WrongError(Exception):
    """What no reader may ever see: the kind of it, and an example."""


@dataclass
class Reader:
    """What one reader reads, and what it has seen."""

    path: str
    config: str
    shape: str
    seen: set[Keys] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)

    def plain(self) -> None:
        """Byte for byte: everything else in the file is as it was, and our keys are all there, once."""
        try:
            text = Path(self.path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise WrongError("missing", self.path) from None
        if not text:
            raise WrongError("empty", self.path)
        values = dict(VALUE.findall(text)[: len(OURS)])
        if shape(text) != self.shape or set(values) != set(OURS):
            raise WrongError("torn", text)
        self.seen.add((values[OURS[0]], values[OURS[1]], values[OURS[2]]))

    def botocore(self) -> None:
        """As botocore parses it."""
        profile = raw_config_parse(self.path)["default"]
        self.seen.add((profile[OURS[0]], profile[OURS[1]], profile[OURS[2]]))

    def boto3(self) -> None:
        """As a program that has just started with boto3 sees it."""
        import boto3

        found = boto3.Session().get_credentials()
        if found is None:
            raise WrongError("missing", "boto3 finds no credentials")
        frozen = found.get_frozen_credentials()
        self.seen.add((str(frozen.access_key), str(frozen.secret_key), str(frozen.token)))

    def credential_process(self) -> None:
        """As an SDK gets it from `rolekeeper credential-process`, which never hands out what has expired."""
        began = datetime.now(UTC)
        code, said = self._ask("credential-process", "--file", self.path)
        if code == 0:
            answer = json.loads(said)
            if datetime.fromisoformat(answer["Expiration"]) <= began:
                raise WrongError("expired", said)
            self.seen.add((answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]))
        elif code != 69 or "expired at" not in said:
            raise WrongError("unusable", f"{code}: {said}")

    def status(self) -> None:
        """As an operator is told; `fresh` never means what has expired on the service's clock."""
        began = datetime.now(UTC)
        code, said = self._ask("--config", self.config, "status", "--json")
        if code == 0:
            answer = json.loads(said)
            if datetime.fromisoformat(answer["expires_at"]) <= began - CLOCK_TOLERANCE:
                raise WrongError("expired", said)
        elif code not in ANSWERS or "Traceback" in said:
            raise WrongError("unusable", f"{code}: {said}")

    def _ask(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        self.answers[ANSWERS.get(done.returncode, str(done.returncode))] += 1
        return done.returncode, done.stdout + done.stderr

    def until_the_end(self, read: Callable[[], None], pause_seconds: float) -> dict[str, Any]:
        wrong: Counter[str] = Counter()
        examples: list[str] = []
        reads = 0
        while not select.select([0], [], [], 0)[0]:
            reads += 1
            try:
                read()
            except Exception as error:  # noqa: BLE001 - whatever it is, the table tells of it
                kind = error.args[0] if isinstance(error, WrongError) else type(error).__name__
                wrong[kind] += 1
                examples = [*examples, repr(error)][:EXAMPLES]
            time.sleep(pause_seconds)
        return {
            "reads": reads,
            "seen": sorted(self.seen),
            "answers": self.answers,
            "wrong": wrong,
            "examples": examples,
        }


KINDS: dict[str, Callable[[Reader], None]] = {
    "plain": Reader.plain,
    "botocore": Reader.botocore,
    "boto3": Reader.boto3,
    "credential-process": Reader.credential_process,
    "status": Reader.status,
}


def reading(kind: str, path: Path, config: Path, pause: timedelta = timedelta(0)) -> subprocess.Popen[str]:
    """A reader that has begun; `path` holds the first credentials already."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_SHARED_CREDENTIALS_FILE": str(path),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, __file__, kind, str(path), str(config), shape(path.read_text()), str(pause / SECOND)]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    return reader


def told(reader: subprocess.Popen[str]) -> dict[str, Any]:
    """End a reader, and hear what it has seen."""
    found: dict[str, Any] = json.loads(reader.communicate(timeout=PATIENCE_SECONDS)[0])
    return found


if __name__ == "__main__":
    chosen, path, config, expected, pause = sys.argv[1:]
    reader = Reader(path, config, expected)
    print("reading", flush=True)
    print(json.dumps(reader.until_the_end(KINDS[chosen].__get__(reader), float(pause))))
