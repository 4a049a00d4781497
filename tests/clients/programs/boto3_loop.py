"""Asks STS who it is, for ever: boto3."""

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

once = Config(retries={"total_max_attempts": 1})
client = boto3.Session().client("sts", endpoint_url=os.environ["ENDPOINT"], config=once)
while True:
    try:
        client.get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
    time.sleep(2)
