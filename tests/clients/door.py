"""A door to the service for one client: it notes which access key each request brings, and what became of it.

STS lies behind it as the emulator has it, signature and all. S3 is a small one of its own: it accepts a request only if
the emulator issued the access key, the session token belongs to it, and it has not expired; and it stores objects well
enough for tools that copy files.
"""

import hashlib
import http.client
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

from rolekeeper.emulator import Emulator

CREDENTIAL = re.compile(r"Credential=([A-Z0-9]+)/\d+/[^/]+/([a-z0-9]+)/")
KEPT = 1 << 20  # bytes of an object; of a larger one nobody reads the end
HOP = {"connection", "keep-alive", "transfer-encoding"}
XML = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Noted:
    """A signed request: when it came, with which access key, and whether it was accepted."""

    at: datetime
    key: str
    is_accepted: bool


@dataclass
class Door:
    """One listening port; `pace` is how many seconds an answer of S3 takes, one after the other."""

    emulator: Emulator
    pace: float
    port: int = 0
    noted: list[Noted] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accepts(self, key: str, session_token: str) -> bool:
        issued = self.emulator.tokens.get(key)
        is_ours = issued is not None and issued.session_token == session_token
        return is_ours and issued.expires_at > datetime.now(UTC)

    def note(self, key: str, *, is_accepted: bool) -> None:
        self.noted.append(Noted(datetime.now(UTC), key, is_accepted))


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the client."""

    protocol_version = "HTTP/1.1"
    door: Door

    def _any(self) -> None:
        body = self._body()
        found = CREDENTIAL.search(self.headers.get("Authorization", ""))
        if found is None:  # a look whether the bucket is public
            self._error(403, "AccessDenied")
        elif found[2] == "sts":
            self._forward(found[1], body)
        else:
            self._store(found[1], body)

    def do_GET(self) -> None:
        self._any()

    def do_HEAD(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, key: str, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.door.emulator.port)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        said = answer.read()
        self.door.note(key, is_accepted=answer.status == http.HTTPStatus.OK)
        self._answer(answer.status, said, dict(answer.headers))
        upstream.close()

    def _store(self, key: str, body: bytes) -> None:
        is_accepted = self.door.accepts(key, self.headers.get("X-Amz-Security-Token", ""))
        self.door.note(key, is_accepted=is_accepted)
        with self.door.turn:
            time.sleep(self.door.pace)
        if not is_accepted:
            self._error(400, "ExpiredToken")
            return
        address = urlsplit(self.path)
        query = parse_qs(address.query, keep_blank_values=True)
        name = unquote(address.path).lstrip("/")
        _, _, is_object = name.partition("/")
        if not is_object:
            self._bucket(name.rstrip("/"), query)
        elif self.command == "PUT":
            if self.headers.get("X-Amz-Content-SHA256", "").startswith("STREAMING-"):
                body = b"".join(chunks(body))
            self.door.objects[name] = body[:KEPT]
            self._answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})  # noqa: S324 - S3's ETag is that
        elif self.command == "DELETE":
            self.door.objects.pop(name, None)
            self._answer(204, b"", {})
        else:
            self._object(name)

    def _object(self, name: str) -> None:
        found = self.door.objects.get(name)
        if found is None:
            self._error(404, "NoSuchKey")
            return
        first, last, status = 0, len(found) - 1, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last, status = int(wanted[1]), int(wanted[2] or last), 206
        tag = hashlib.md5(found).hexdigest()  # noqa: S324 - S3's ETag is that
        self._answer(status, found[first : last + 1], {"ETag": f'"{tag}"', "Last-Modified": self.date_time_string()})

    def _bucket(self, bucket: str, query: dict[str, list[str]]) -> None:
        if self.command != "GET":
            self._answer(200, b"", {})
        elif "location" in query:
            self._answer(200, f'<LocationConstraint xmlns="{XML}"/>'.encode(), {"Content-Type": "application/xml"})
        else:
            self._answer(200, self._listing(bucket, query), {"Content-Type": "application/xml"})

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        names, folders = [], set()
        for full in sorted(self.door.objects):
            name = full.partition("/")[2]
            if not full.startswith(f"{bucket}/{prefix}"):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                folders.add(f"{prefix}{head}{delimiter}")
            else:
                names.append((name, len(self.door.objects[full])))
        time_of_all = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        contents = "".join(
            f"<Contents><Key>{name}</Key><LastModified>{time_of_all}</LastModified><ETag>&quot;0&quot;</ETag>"
            f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for name, size in names
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{one}</Prefix></CommonPrefixes>" for one in sorted(folders))
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{XML}"><Name>{bucket}</Name>'
            f"<Prefix>{prefix}</Prefix><KeyCount>{len(names)}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{contents}{prefixes}</ListBucketResult>"
        ).encode()

    def _error(self, status: int, code: str) -> None:
        said = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._answer(status, said, {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def chunks(body: bytes) -> Iterator[bytes]:
    """The pieces of a body of which each is signed: `SIZE;chunk-signature=...`, the bytes, and an empty last one."""
    start = 0
    while (size := int(body[start : (line := body.index(b"\r\n", start))].partition(b";")[0], 16)) > 0:
        yield body[line + 2 : line + 2 + size]
        start = line + 2 + size + 2


class Listener(http.server.ThreadingHTTPServer):
    """Clients that are killed leave broken connections behind, which are no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def opened(emulator: Emulator, pace: float = 0) -> Iterator[Door]:
    """A door of its own for one client."""
    door = Door(emulator, pace)
    with Listener(("127.0.0.1", 0), type("OneDoor", (Handler,), {"door": door})) as listener:
        door.port = listener.server_port
        thread = threading.Thread(target=listener.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield door
        finally:
            listener.shutdown()
            thread.join()
