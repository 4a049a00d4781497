"""A small S3 on loopback, for programs that keep files there: it notes the access key of each request.

It takes a request only when the emulator issued its access key, the session token belongs to that, and both are good.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from rolekeeper.emulator import Emulator

CREDENTIAL = re.compile(r"Credential=([A-Z0-9]+)/")
LISTING = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
OBJECT = "<Contents><Key>{}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"


class Store(ThreadingHTTPServer):
    """The objects by path, and the access keys that were accepted; a refused request leaves an empty one."""

    daemon_threads = True

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.emulator = emulator
        self.objects: dict[str, bytes] = {}
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def accepts(self, key: str, session_token: str) -> bool:
        token = self.emulator.tokens.get(key)
        return token is not None and token.session_token == session_token and token.expires_at > datetime.now(UTC)


class Handler(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, query = self._asked()
        if "location" in query:
            self._answer(200, b"<LocationConstraint></LocationConstraint>")
        elif "list-type" in query:
            bucket, prefix = f"{path.rstrip('/')}/", query["prefix"][0]
            names = [name.removeprefix(bucket) for name in self.server.objects if name.startswith(bucket + prefix)]
            found = (OBJECT.format(name, len(self.server.objects[bucket + name])) for name in sorted(names))
            self._answer(200, LISTING.format("".join(found)).encode())
        elif path in self.server.objects:
            data = self.server.objects[path]
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                self._answer(206, data[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None])
            else:
                self._answer(200, data)
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET  # noqa: N815 - the name that the library calls

    def do_PUT(self) -> None:
        path, _ = self._asked()
        self.server.objects[path] = self._body()
        self._answer(200, b"")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self._asked()[0], None)
        self._answer(204, b"")

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(self.path)
        return url.path, parse_qs(url.query, keep_blank_values=True)

    def _body(self) -> bytes:
        """The object: plain, or in signed chunks of `length;chunk-signature=...`."""
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self.headers.get("X-Amz-Content-Sha256", "").startswith("STREAMING-"):
            return data
        found = b""
        while data:
            head, _, rest = data.partition(b"\r\n")
            length = int(head.partition(b";")[0], 16)
            found, data = found + rest[:length], rest[length + 2 :]
        return found

    def parse_request(self) -> bool:
        """Refuse everything that is not signed with credentials that the emulator issued and that are good."""
        if not super().parse_request():
            return False
        signed = CREDENTIAL.search(self.headers.get("Authorization", ""))
        key = signed[1] if signed else ""
        if self.server.accepts(key, self.headers.get("X-Amz-Security-Token", "")):
            self.server.keys.append(key)
            return True
        self.server.keys.append("")
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return False

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def running(emulator: Emulator) -> Iterator[Store]:
    with Store(emulator) as store:
        Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()
