"""Asks for an object, for ever: the AWS SDK for C++, by pyarrow."""

import os
import sys
import time

from pyarrow.fs import S3FileSystem

store = S3FileSystem(endpoint_override=os.environ["ENDPOINT"].partition("://")[2], scheme="http")
while True:
    try:
        store.get_file_info("bucket/object")
    except OSError as error:
        print(error, file=sys.stderr)
    time.sleep(2)
