"""Assume a role in a process of its own, at debug level, and print what came of it as JSON."""

import json
import logging
import os
import sys
from datetime import timedelta

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.process import give_up_after
from rolekeeper.adapters.sts import StsRoles
from rolekeeper.errors import RolekeeperError
from rolekeeper.model import NodeKey, Registration, RoleToken
from rolekeeper.settings import Role, ServiceSettings

logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")  # to standard error
ask = json.load(sys.stdin)
clock = SystemClock()
now = clock.now().wall
seconds = timedelta(seconds=20)
settings = ServiceSettings(None, ask.get("proxy_url"), None, False, False, seconds, seconds, ask.get("url"))  # noqa: FBT003
node = Registration("mi-0123456789abcdef0", "eu-central-1", NodeKey("", now))
token = RoleToken("ASIANODENODENODENODE", "node-secret", "node-session-token", now)
loaded_before = set(sys.modules) & {"boto3", "botocore"}
if "give_up" in ask:
    give_up_after(timedelta(seconds=ask["give_up"]))
try:
    answer = StsRoles(settings, clock, "1.2.3", os.environ).assume(Role("app", "arn:app"), node, token)
    found = {"access_key_id": answer.token.access_key_id}
except RolekeeperError as error:
    found = {"code": error.code, "message": error.message, "hint": error.hint}
print(json.dumps({**found, "loaded_before": sorted(loaded_before)}))
