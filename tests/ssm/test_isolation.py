"""Nothing of root's AWS configuration reaches the daemon's own client, and nothing of it reaches a log."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.ssm.conftest import Reply, ScriptedService, error_reply, token_fields

from rolekeeper.model import Registration

PROGRAM = Path(__file__).with_name("ask_once.py")


def run(environment: dict[str, str], node: Registration, **ask: Any) -> tuple[Any, str]:
    """What the program printed, and what went to its standard error."""
    told = json.dumps({"node_id": node.node_id, "private_key": node.key.private_key, "endpoint_url": None, **ask})
    program = [sys.executable, str(PROGRAM)]
    done = subprocess.run(program, input=told, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def current_token() -> Any:
    fresh = token_fields(TokenExpirationDate=time.time() + 3600)
    return Reply(200, json.dumps(fresh).encode(), {"x-amzn-RequestId": "1"})


def test_a_hostile_home_and_environment_change_nothing(
    hostile: dict[str, str], service: Any, node: Registration
) -> None:
    service.says(current_token())
    for environment in ({"PATH": os.environ["PATH"]}, hostile):
        printed, _ = run(environment, node, endpoint_url=service.url)
        assert printed == {"access_key_id": "ASIA3D3ZFM53CNDSWS5E"}
    plain, attacked = service.requests
    assert attacked.headers.keys() == plain.headers.keys()
    assert attacked.body == plain.body
    assert attacked.headers["user-agent"] == "rolekeeper/1.2.3"
    assert f"Credential={node.node_id}/" in attacked.headers["authorization"]
    assert "/us-east-1/ssm/aws4_request, " in attacked.headers["authorization"]


def test_a_hostile_max_attempts_makes_no_second_request(
    hostile: dict[str, str], service: Any, node: Registration
) -> None:
    service.says(error_reply("InternalServerError", status=500))
    printed, _ = run(hostile, node, endpoint_url=service.url)
    assert printed["code"] == "service-failed"
    assert len(service.requests) == 1


def test_the_endpoint_of_the_region_stands_against_the_environment(
    hostile: dict[str, str], service: Any, node: Registration
) -> None:
    """Without an endpoint_url; the proxy shows where the client wanted to go, and lets it go nowhere."""
    service.says(Reply(403, b""))
    run(hostile, node, proxy_url=service.url)
    assert [request.target for request in service.requests] == ["ssm.us-east-1.amazonaws.com:443"]


def test_nothing_of_an_exchange_is_logged_at_debug_level(service: Any, node: Registration) -> None:
    for reply in (current_token(), error_reply("AccessDeniedException"), Reply(drop=True)):
        service.says(reply)
        _, logged = run({"PATH": os.environ["PATH"]}, node, endpoint_url=service.url)
        assert logged == ""


def test_https_proxy_and_no_proxy_are_honoured(service: Any, node: Registration) -> None:
    proxy = ScriptedService()
    proxy.says(Reply(403, b""))
    service.says(current_token())
    environment = {
        "PATH": os.environ["PATH"],
        "HTTPS_PROXY": proxy.url,
        "HTTP_PROXY": proxy.url,
        "NO_PROXY": "127.0.0.1",
    }
    printed, _ = run(environment, node)
    assert printed["code"] == "proxy-failed"
    assert [request.target for request in proxy.requests] == ["ssm.us-east-1.amazonaws.com:443"]
    printed, _ = run(environment, node, endpoint_url=service.url)
    assert printed == {"access_key_id": "ASIA3D3ZFM53CNDSWS5E"}
    proxy.stop()
    assert len(proxy.requests) == 1


def test_a_configured_proxy_stands_against_the_environment(service: Any, node: Registration) -> None:
    service.says(current_token())
    environment = {"PATH": os.environ["PATH"], "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "*"}
    printed, _ = run(environment, node, endpoint_url="http://ssm.example", proxy_url=service.url)
    assert printed == {"access_key_id": "ASIA3D3ZFM53CNDSWS5E"}
    assert [request.target for request in service.requests] == ["http://ssm.example/"]
