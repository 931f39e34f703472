"""HTTP/1.1 by hand: a request out of a connection's bytes, and the bytes of heads, chunks and whole answers."""

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.faults.upstream.peer import Peer

REASONS = {200: "OK", 204: "No Content", 301: "Moved Permanently", 307: "Temporary Redirect", 429: "Too Many Requests"}
JSON = "content-type: application/json"


@dataclass(slots=True)
class Request:
    """One request, as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case, in the order of arrival, duplicates kept."""
    body: bytes
    t_headers: float
    t_body: float
    _fields: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def header(self, name: str) -> str:
        """The first value of a header; empty when it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object of the body; empty when it is none."""
        if self._fields is None:
            try:
                found = json.loads(self.body or b"{}")
            except ValueError:
                found = {}
            self._fields = found if isinstance(found, dict) else {}
        return self._fields


async def read_request(peer: Peer) -> Request:
    """The next request of a connection.

    Raises:
        Gone: there is none.
    """
    head = await peer.until(b"\r\n\r\n")
    t_headers = time.monotonic()
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    pairs = (line.partition(":") for line in lines)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    found = Request(method, rest.rpartition(" ")[0], headers, b"", t_headers, t_headers)
    if "100-continue" in found.header("expect").lower():
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in found.header("transfer-encoding").lower():
        found.body = await _chunks(peer)
    elif length := found.header("content-length"):
        found.body = await peer.exactly(int(length))
    found.t_body = time.monotonic()
    peer.served += 1
    return found


async def _chunks(peer: Peer) -> bytes:
    pieces = []
    while size := int((await peer.until(b"\r\n")).split(b";")[0], 16):
        pieces.append(await peer.exactly(size))
        await peer.exactly(2)
    while await peer.until(b"\r\n") != b"\r\n":
        pass
    return b"".join(pieces)


def head(status: int, *lines: str) -> bytes:
    """Status line and headers, as bytes; a line may hold whatever a test wants."""
    reason = REASONS.get(status, "Scripted")
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def whole(status: int, body: bytes, *lines: str) -> bytes:
    """A complete answer, JSON unless a line says otherwise."""
    kind = () if any(line.lower().startswith("content-type") for line in lines) else (JSON,)
    return head(status, *kind, *lines, f"content-length: {len(body)}") + body


def dumped(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
