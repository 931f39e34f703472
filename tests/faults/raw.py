"""A client on raw sockets that tells exactly what it saw: bytes, when they came, and how the connection ended."""

import contextlib
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

FIN, RST, QUIET = "fin", "rst", "quiet"


@dataclass(slots=True)
class Seen:
    """Everything that came back, and how it ended: `fin`, `rst`, or `quiet` when nothing more came in time."""

    data: bytes = b""
    end: str = QUIET
    pieces: list[tuple[float, int]] = field(default_factory=list)
    """Monotonic seconds and size of each read."""
    began: float = 0.0
    ended: float = 0.0

    @property
    def final(self) -> bytes:
        """The bytes from the final answer on; interim ones (1xx) are skipped."""
        data = self.data
        while data.startswith(b"HTTP/1.1 1"):
            data = data.partition(b"\r\n\r\n")[2]
        return data

    @property
    def head(self) -> bytes:
        """Status line and headers; empty when they are not whole."""
        head, mark, _ = self.final.partition(b"\r\n\r\n")
        return head if mark else b""

    @property
    def status(self) -> int:
        """Status of the final answer; 0 when there is none."""
        data = self.final
        parts = data.split(b"\r\n", 1)[0].split(b" ")
        return int(parts[1]) if data.startswith(b"HTTP/1.") and len(parts) > 1 and parts[1].isdigit() else 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; of several the last."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def raw_body(self) -> bytes:
        """What followed the head, framing included."""
        return self.final.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        """The body without framing, as far as it came."""
        return self._parsed()[0]

    @property
    def whole(self) -> bool:
        """Whether the framing says that the body is complete."""
        return self._parsed()[1]

    def _parsed(self) -> tuple[bytes, bool]:
        if not self.head:
            return b"", False
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return _dechunked(self.raw_body)
        length = self.headers.get("content-length")
        if length is None:
            return self.raw_body, self.end == FIN
        return self.raw_body[: int(length)], len(self.raw_body) >= int(length)


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    """The body of chunks as far as it came, and whether the last chunk was there."""
    found, place = [], 0
    while True:
        end = data.find(b"\r\n", place)
        try:
            size = int(data[place:end].split(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0:
            return b"".join(found), False
        start = end + 2
        if size == 0:
            return b"".join(found), data[start : start + 2] == b"\r\n"
        found.append(data[start : start + size])
        place = start + size + 2
        if len(data) < place:
            return b"".join(found), False


def request(path: str, body: bytes, *lines: str, method: str = "POST", host: str = "localhost") -> bytes:
    """The bytes of a request."""
    head = [f"{method} {path} HTTP/1.1", f"host: {host}", "content-type: application/json", *lines]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


def done(data: bytes) -> bool:
    """Whether a complete answer is there, so that waiting for more is idle."""
    seen = Seen(data)
    head = seen.head.lower()
    framed = b"content-length:" in head or b"chunked" in head
    return bool(head) and framed and seen.whole


def talk(port: int, data: bytes, *, wait: float = 5.0, whole: bool = True, until: bytes = b"") -> Seen:
    """Send bytes and read until the answer is whole (unless not `whole`), `until` was seen, the end, or `wait` seconds of silence."""
    seen = Seen(began=time.monotonic())
    try:
        peer = socket.create_connection(("127.0.0.1", port), timeout=wait)
    except ConnectionResetError:
        return Seen(end=RST, began=seen.began, ended=time.monotonic())
    with peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(data)
        read(peer, seen, whole=whole, until=until)
    seen.ended = time.monotonic()
    return seen


def read(peer: socket.socket, seen: Seen, *, whole: bool = True, until: bytes = b"") -> None:
    """Read on into `seen`."""
    pieces = [seen.data] if seen.data else []
    try:
        while more := peer.recv(262144):
            pieces.append(more)
            seen.pieces.append((time.monotonic(), len(more)))
            tail = more if len(more) > 64 else b"".join(pieces[-80:])
            ended = tail.endswith((b"\r\n", b"}", b"\n")) or len(pieces) == 1
            if (until and until in tail) or (whole and ended and done(b"".join(pieces))):
                break
        else:
            seen.end = FIN
    except TimeoutError:
        seen.end = QUIET
    except (ConnectionResetError, BrokenPipeError):
        seen.end = RST
    seen.data = b"".join(pieces)


def chat(model: str, *, stream: bool = False, text: str = "hello", **fields: Any) -> bytes:
    """The body of a chat request."""
    found = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if stream:
        found["stream"] = True
    return json.dumps(found).encode()
