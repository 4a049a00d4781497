"""Ask for one token in a process of its own, at debug level, and print what came of it as JSON."""

import json
import logging
import os
import sys
from datetime import timedelta

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import NodeKey, Registration
from rolekeeper.settings import ServiceSettings

logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")  # to standard error
ask = json.load(sys.stdin)
clock = SystemClock()
settings = ServiceSettings(
    endpoint_url=ask["endpoint_url"],
    proxy_url=ask.get("proxy_url"),
    ca_bundle=ask.get("ca_bundle"),
    fips=False,
    dual_stack=False,
    connect_timeout=timedelta(seconds=10),
    read_timeout=timedelta(seconds=10),
)
node = Registration(ask["node_id"], "us-east-1", NodeKey(ask["private_key"], clock.now().wall))
try:
    answer = SsmService(settings, clock, "1.2.3", os.environ).request_role_token(node, "a-fingerprint")
    print(json.dumps({"access_key_id": answer.token.access_key_id}))
except RolekeeperError as error:
    print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))
