"""Asks for an object, for ever: Rust's object_store, by its Python package obstore."""

import os
import sys
import time

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

store = S3Store("bucket", endpoint=os.environ["ENDPOINT"], client_options={"allow_http": True})
while True:
    try:
        obstore.head(store, "object")
    except (BaseError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
    time.sleep(2)
