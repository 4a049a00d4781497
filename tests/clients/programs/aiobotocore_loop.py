"""Asks STS who it is, for ever: aiobotocore."""

import asyncio
import os
import sys

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError


async def main() -> None:
    async with get_session().create_client("sts", endpoint_url=os.environ["ENDPOINT"]) as client:
        while True:
            try:
                await client.get_caller_identity()
            except (BotoCoreError, ClientError) as error:
                print(error, file=sys.stderr)
            await asyncio.sleep(2)


asyncio.run(main())
