"""The suite's own client: raw sockets under asyncio, every read with its time, judgement by the bytes alone."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults import raw
from tests.faults.suite import sse

HOST = "127.0.0.1"
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
LIMIT = 64 * 2**20


@dataclass(slots=True)
class Reply(raw.Seen):
    """What a client got."""

    nonce: str = ""
    protocol: str = "chat"
    stream: bool = False
    overdue: bool = False
    """The client gave up waiting."""
    _events: list[sse.Event] | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """From the first byte of the request to the end of the answer."""
        return self.ended - self.began

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def events(self) -> list[sse.Event]:
        """The events of a stream."""
        if self._events is None:
            self._events = sse.parse(self.body)
        return self._events

    @property
    def text(self) -> str:
        """All visible text, streamed or whole."""
        return sse.text(self.protocol, self.events) if self.stream else sse.whole_text(self.protocol, self.json)

    @property
    def error(self) -> dict[str, Any] | None:
        """The error of the answer, in band or as its body."""
        if self.stream and self.status == 200:
            return sse.error(self.events)
        found = self.json
        inner = found.get("error") if isinstance(found, dict) else None
        return inner if isinstance(inner, dict) else None

    @property
    def succeeded(self) -> bool:
        """Whether a client would take it for a complete answer: nothing raised, nothing said that it is not."""
        if self.status != 200 or self.end == raw.RST or not self.whole or self.error is not None:
            return False
        return not self.stream or not sse.broken(self.events)

    def arrival(self, offset: int) -> float:
        """When the byte at `offset` of everything that came had come."""
        seen = 0
        for at, size in self.pieces:
            seen += size
            if seen > offset:
                return at
        return self.ended


def _complete(data: bytearray, state: dict[str, int]) -> bool:
    """Whether an answer is whole; `state` remembers where its body begins."""
    if "body" not in state:
        if data.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in data:
            del data[: data.index(b"\r\n\r\n") + 4]
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(data[:end]).lower()
        state["body"] = end + 4
        state["length"] = -2 if b"transfer-encoding: chunked" in head else -1
        if state["length"] == -1 and b"content-length:" in head:
            state["length"] = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    if state["length"] == -2:
        return bytes(data[-7:]) == b"\r\n0\r\n\r\n" or bytes(data[state["body"] : state["body"] + 5]) == b"0\r\n\r\n"
    return state["length"] >= 0 and len(data) - state["body"] >= state["length"]


class Line:
    """A connection to a gateway, or to anything."""

    def __init__(self, port: int) -> None:
        """Nothing is opened yet."""
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def new(self) -> bool:
        """Whether it is still to be opened."""
        return self._writer is None

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port, limit=LIMIT)

    def send(self, data: bytes) -> None:
        """Write, without waiting."""
        if self._writer is not None:
            self._writer.write(data)

    async def read(self, reply: Reply, *, wait: float, stop: bytes = b"") -> None:
        """Read one answer into `reply`, or as far as `stop`; `wait` is the time for all of it."""
        data, state = bytearray(), {}
        if reply.data:
            data += reply.data
        try:
            async with asyncio.timeout(wait):
                while self._reader is not None:
                    more = await self._reader.read(262144)
                    if not more:
                        reply.end = raw.FIN
                        break
                    data += more
                    reply.pieces.append((time.monotonic(), len(more)))
                    if (stop and stop in data) or _complete(data, state):
                        break
        except TimeoutError:
            reply.overdue = True
        except (ConnectionResetError, BrokenPipeError):
            reply.end = raw.RST
        reply.data, reply.ended = bytes(data), time.monotonic()

    def close(self) -> None:
        """Close, now."""
        if self._writer is not None:
            self._writer.transport.abort() if self._writer.transport.is_closing() else self._writer.close()
        self._reader = self._writer = None


async def talk(port: int, data: bytes, *, wait: float = 20.0, stop: bytes = b"", **about: Any) -> Reply:
    """One request on a connection of its own."""
    reply = Reply(began=time.monotonic(), **about)
    line = Line(port)
    try:
        await line.open()
        line.send(data)
        await line.read(reply, wait=wait, stop=stop)
    except OSError:
        reply.end, reply.ended = raw.RST, time.monotonic()
    finally:
        line.close()
    return reply
