"""The AWS CLI, as a user would call it, with nothing but the environment that the emulator names."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.emulator.conftest import Machine

from rolekeeper.emulator import Emulator

AWS = Path(sys.executable).with_name("aws")


def aws(environment: Mapping[str, str], home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [AWS, *arguments], env={**clean, **environment, "HOME": str(home)}, capture_output=True, text=True, check=False
    )


def answer(environment: Mapping[str, str], home: Path, *arguments: str) -> Any:
    done = aws(environment, home, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_creates_and_lists_an_activation(emulator: Emulator, tmp_path: Path) -> None:
    made = answer(
        emulator.environment, tmp_path, "ssm", "create-activation", "--iam-role", "Web", "--tags", "Key=a,Value=b"
    )
    listed = answer(emulator.environment, tmp_path, "ssm", "describe-activations")
    assert len(made["ActivationCode"]) == 20
    assert [activation["ActivationId"] for activation in listed["ActivationList"]] == [made["ActivationId"]]


def test_it_assumes_a_role_and_shows_whom_it_became(emulator: Emulator, node: Machine, tmp_path: Path) -> None:
    def keys(credentials: Mapping[str, str]) -> dict[str, str]:
        names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
        names["AWS_SESSION_TOKEN"] = "SessionToken"
        return {**emulator.environment, **{variable: credentials[member] for variable, member in names.items()}}

    wanted = ("--role-arn", emulator.role_arn("Backup"), "--role-session-name", "backup-1", "--duration-seconds", "900")
    tagged = ("--tags", "Key=team,Value=web", "--policy-arns", "arn=arn:aws:iam::aws:policy/ReadOnlyAccess")
    session = answer(keys(node.request_token().json), tmp_path, "sts", "assume-role", *wanted, *tagged)
    identity = answer(keys(session["Credentials"]), tmp_path, "sts", "get-caller-identity")
    assert identity["Arn"] == session["AssumedRoleUser"]["Arn"]
    assert emulator.tokens[session["Credentials"]["AccessKeyId"]].role == "Backup"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ssm", "create-activation", "--iam-role", ""), "(ValidationException) when calling the CreateActivation"),
        (("ssm", "list-commands"), "(UnknownOperationException) when calling the ListCommands"),
        (("sts", "get-session-token"), "(InvalidAction) when calling the GetSessionToken"),
    ],
)
def test_it_shows_a_refusal(emulator: Emulator, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = aws(emulator.environment, tmp_path, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
