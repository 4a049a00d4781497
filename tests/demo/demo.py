"""The main job, shown on the emulator: from an activation to credentials that an SDK uses, and what goes wrong.

`make demo` runs it, as any user, in a temporary directory that is removed at the end. It ends with exit code 1 when
anything comes out otherwise than it says.
"""

import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from stage import NotAsPromisedError, Stage, promise

REGION = "us-east-1"
ROLE = "RackServer"
PROGRAM_ROLE = "Reports"
TOKEN_LIFE = "10s"  # those of AWS live an hour; so short, a refresh is soon to be seen
CONFIGURATION = """\
[service]
endpoint_url = "{url}"
sts_endpoint_url = "{url}"

[vault]
directory = "{directory}/vault"

[daemon]
runtime_directory = "{directory}/run"

[[credentials_file]]
path = "{directory}/published/credentials"
mode = "0640"

[[endpoint]]
name = "web"

[[role]]
name = "reports"
arn = "{role_arn}"

[[credentials_file]]
path = "{directory}/published/reports.json"
format = "process"
role = "reports"
"""
PUBLISHED = "published/credentials"
SDK_CONFIGURATION = """\
[default]
region = {region}
credential_process = rolekeeper credential-process --file {directory}/published/credentials
"""
LONG_RUNNING = """\
import boto3, time
session = boto3.Session()
sts = session.client("sts")
def who():
    identity = sts.get_caller_identity()["Arn"]
    credentials = session.get_credentials()
    print(credentials.method, credentials.access_key, identity, flush=True)
    return credentials.access_key
first, began = who(), time.monotonic()
while session.get_credentials().access_key == first and time.monotonic() < began + 20:
    time.sleep(0.2)
who()
"""
SECRET = re.compile(r"(?m)^(aws_secret_access_key|aws_session_token)( *= *)(\S{4})\S+")
ROLEKEEPER = ("rolekeeper", "--config", "config.toml")


def main() -> int:
    """Play all of it."""
    began = time.monotonic()
    with Stage() as stage:
        print(f"Everything happens in {stage.directory}, which is removed at the end.")
        try:
            url = _emulate(stage)
            node_id = _register(stage, *_activate(stage))
            _run(stage)
            first = _identify(stage, node_id)
            _refresh(stage, first, node_id)
            _keep_programs_going(stage, node_id)
            fingerprint = _hibernate(stage, url, node_id)
            _recover(stage, url, node_id, fingerprint)
            _stop(stage)
        except NotAsPromisedError as error:
            _explain(stage, error)
            return 1
    print(f"\nEverything came out as promised, in {time.monotonic() - began:.0f} seconds. Nothing is left behind.")
    return 0


def _emulate(stage: Stage) -> str:
    stage.step("AWS, on the loopback interface, with tokens that live 10 seconds")
    stage.start("emulator", "rolekeeper", "emulator", "--port", "0", "--token-lifetime", TOKEN_LIFE)
    stage.wait_until("the emulator says how to reach it", lambda: "SECRET" in stage.text("emulator.out"))
    for line in stage.text("emulator.out").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        stage.environment[name] = value
        stage.say(f"{name}={value if 'KEY' not in name else value[:4] + '...'}")
    return stage.environment["AWS_ENDPOINT_URL"]


def _activate(stage: Stage) -> tuple[str, str]:
    stage.step("An administrator creates a hybrid activation, with the AWS CLI")
    command = ("aws", "ssm", "create-activation", "--iam-role", ROLE, "--registration-limit", "1")
    done = stage.run(*command, "--output", "json", show=lambda text: re.sub(r'(Code": "....)[^"]+', r"\1...", text))
    activation = json.loads(done.stdout)
    # The administrator's keys stay with the administrator: nothing below knows them.
    del stage.environment["AWS_ACCESS_KEY_ID"], stage.environment["AWS_SECRET_ACCESS_KEY"]
    return activation["ActivationId"], activation["ActivationCode"]


def _register(stage: Stage, activation_id: str, code: str) -> str:
    stage.step("This machine registers with it")
    url = stage.environment["AWS_ENDPOINT_URL"]
    stage.control("POST", f"{url}/_emulator/roles", {"name": PROGRAM_ROLE, "trusts": [ROLE]})
    role_arn = f"arn:aws:iam::123456789012:role/{PROGRAM_ROLE}"
    text = CONFIGURATION.format(url=url, directory=stage.directory, role_arn=role_arn)
    stage.write("config.toml", text)
    stage.write("activation-code", code)
    stage.say("config.toml, so that nothing needs root (without it: /etc, /var/lib, /run, /root/.aws):")
    stage.say("".join(f"  {line}\n" for line in text.splitlines() if line))
    done = stage.run(
        *(*ROLEKEEPER, "register", "--activation-id", activation_id, "--region", REGION),
        *("--activation-code-file", "activation-code"),
    )
    found = re.fullmatch(r"Registered as (mi-[0-9a-f]{17}) in us-east-1\.\n", done.stdout)
    if found is None:
        raise NotAsPromisedError("register names the managed node")
    return found[1]


def _run(stage: Stage) -> None:
    stage.step("The daemon publishes role credentials")
    stage.start("daemon", *ROLEKEEPER, "run")
    stage.run(*ROLEKEEPER, "wait", "--timeout", "20s")
    stage.run("cat", PUBLISHED, show=lambda text: SECRET.sub(r"\1\2\3...", text))
    stage.run(*ROLEKEEPER, "status")


def _identify(stage: Stage, node_id: str) -> str:
    stage.step("The AWS CLI uses the published file")
    _call_as_role(stage, node_id)
    return _access_key_id(stage)


def _refresh(stage: Stage, first: str, node_id: str) -> None:
    stage.step("At half of the token's life the daemon fetches the next one")
    stage.wait_until("the daemon publishes a new access key", lambda: _access_key_id(stage) != first)
    stage.say(f"The access key id was {first}, and is {_access_key_id(stage)} now.")
    _call_as_role(stage, node_id)


def _keep_programs_going(stage: Stage, node_id: str) -> None:
    stage.step("Programs that run for long renew their credentials, each in its way, one with a role of its own")
    stage.write("aws-config", SDK_CONFIGURATION.format(region=REGION, directory=stage.directory))
    stage.write("program.py", LONG_RUNNING)
    stage.run("cat", "aws-config")
    stage.run("cat", "published/reports.json.profile")
    stage.start("endpoint", *ROLEKEEPER, "endpoint", "--address", "127.0.0.1:0")
    stage.wait_until("the endpoint says where it listens", lambda: stage.text("endpoint.out").endswith("/\n"))
    ways = {  # how boto3 calls it, the role, and the variables of the program
        "web": (
            "container-role",
            ROLE,
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stage.text('endpoint.out').strip()}web",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "run/token/web",
            },
        ),
        "reports": ("custom-process", PROGRAM_ROLE, {"AWS_SHARED_CREDENTIALS_FILE": "published/reports.json.profile"}),
        "app": ("custom-process", ROLE, {"AWS_CONFIG_FILE": "aws-config"}),
    }
    stage.say("program.py asks STS who it is, goes on until boto3 hands out another access key, and asks again.")
    for name, (_, _, variables) in ways.items():
        stage.start(name, "python", "program.py", **variables)
    for name, (method, role, _) in ways.items():
        promise(stage.ends(name) == 0, f"the program {name} ends well")
        stage.say(f"{name}:\n{stage.text(f'{name}.out').rstrip()}")
        calls = [line.split() for line in stage.text(f"{name}.out").splitlines()]
        promise({one for one, _, _ in calls} == {method}, f"boto3 gets the credentials of {name} from {method}")
        promise(all(arn.endswith(f"{role}/{node_id}") for _, _, arn in calls), f"{name} acts as {role}")
        promise(len({key for _, key, _ in calls}) == len(calls), f"{name} changes over to the new access key")
    stage.terminate("endpoint")


def _hibernate(stage: Stage, url: str, node_id: str) -> str:
    stage.step("The service refuses this machine's fingerprint, as it does a copy of the disk in another machine")
    stage.wait_until("the daemon sleeps", lambda: _sleeps(stage))
    node = f"{url}/_emulator/nodes/{node_id}"
    fingerprint = str(stage.control("GET", node)["fingerprint"])
    stage.control("PATCH", node, {"fingerprint": None})
    stage.run(*ROLEKEEPER, "refresh", expect=77)
    stage.run(*ROLEKEEPER, "status", expect=2)
    promise(_status(stage)["state"] == "hibernating", "the daemon hibernates")
    _show_log(stage, "hibernation_entered", "Entering rolekeeper hibernate")
    return fingerprint


def _recover(stage: Stage, url: str, node_id: str, fingerprint: str) -> None:
    stage.step("The cause is mended, and the operator does not want to wait for the next probe")
    stage.control("PATCH", f"{url}/_emulator/nodes/{node_id}", {"fingerprint": fingerprint})
    stage.run(*ROLEKEEPER, "refresh")
    promise(_status(stage)["state"] == "waiting", "the daemon leaves hibernation")
    _show_log(stage, "hibernation_left", "Leaving hibernation")
    _call_as_role(stage, node_id)


def _stop(stage: Stage) -> None:
    stage.step("The daemon stops; what it published stays until it expires")
    promise(stage.terminate("daemon") == 0, "the daemon ends with exit code 0")
    _show_log(stage, "stopping", "Stopping")
    promise(bool(_access_key_id(stage)), "the credentials are still there")
    stage.run(*ROLEKEEPER, "status", expect=3)


def _call_as_role(stage: Stage, node_id: str) -> None:
    command = ("aws", "sts", "get-caller-identity", "--output", "json")
    arn = json.loads(stage.run(*command, AWS_SHARED_CREDENTIALS_FILE=PUBLISHED).stdout)["Arn"]
    promise(arn.endswith(f":assumed-role/{ROLE}/{node_id}"), f"the caller is {ROLE} as {node_id}")


def _access_key_id(stage: Stage) -> str:
    found = re.search(r"(?m)^aws_access_key_id *= *(ASIA[A-Z0-9]{16})$", stage.text(PUBLISHED))
    if found is None:
        raise NotAsPromisedError("the published file holds an access key, whole, at every instant")
    return found[1]


def _status(stage: Stage) -> dict[str, Any]:
    return dict(json.loads(stage.text("run/status.json")))


def _sleeps(stage: Stage) -> bool:
    """Whether no attempt runs, nor soon will: one that was answered before the fault would not show it."""
    status = _status(stage)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    return status["state"] == "waiting" and datetime.fromisoformat(status["next_attempt_at"]) > soon


def _show_log(stage: Stage, event: str, words: str) -> None:
    records = [json.loads(line) for line in stage.text("daemon.log").splitlines()]
    messages = [record["message"] for record in records if record["event"] == event]
    promise(len(messages) == 1 and messages[0].startswith(words), f"the log says once: {words}")
    stage.say(f"The log says: {messages[0]}")


def _explain(stage: Stage, error: NotAsPromisedError) -> None:
    print(f"\nNot as promised: {error}.", file=sys.stderr)
    for log in sorted(stage.directory.glob("*.log")):
        print(f"--- {log.name}", log.read_text(encoding="utf-8")[-2000:], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
