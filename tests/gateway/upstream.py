"""A scripted upstream on raw sockets: what each model name answers is a coroutine that writes bytes, waits, cuts, or resets."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@dataclass
class Exchange:
    """One request as it arrived, and the pen to answer it with."""

    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The peer has closed its side."""
    gone_at: float = 0.0
    closed: bool = False
    """The script has ended the connection."""

    @property
    def fields(self) -> dict[str, Any]:
        """The body, parsed."""
        return dict(json.loads(self.body))

    async def write(self, data: bytes) -> None:
        """Send bytes now."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, *headers: str) -> None:
        """Status line and headers."""
        await self.write("\r\n".join([f"HTTP/1.1 {status} X", *headers, "", ""]).encode())

    async def whole(self, status: int, body: bytes, *headers: str, kind: str = "application/json") -> None:
        """A complete response."""
        await self.head(status, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers)
        await self.write(body)

    async def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; an empty one ends it."""
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def events(self, *found: bytes) -> None:
        """A stream as far as it goes; its end is the script's to write."""
        await self.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        for data in found:
            await self.chunk(data)

    def cut(self) -> None:
        """Close, with a FIN."""
        self.closed = True
        self.writer.close()

    def reset(self) -> None:
        """Close, with a RST."""
        self.closed = True
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


class Upstream:
    """A listener; `scripts` by model name, `log` of what came."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.log: list[Exchange] = []
        self.arrived = asyncio.Event()
        self.port = 0
        self.read_model: Callable[[Exchange], str] = lambda exchange: str(exchange.fields.get("model"))
        """Which script answers."""

    @property
    def url(self) -> str:
        """The base url, as a config names it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def count(self, model: str) -> int:
        """How often a model was asked; an engine is also asked, without a body, how busy it is."""
        return sum(exchange.fields["model"] == model for exchange in self.log if exchange.body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests one after another."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                exchange = Exchange(head[0].split()[1], headers, body, writer)
                self.log.append(exchange)
                self.arrived.set()
                script = self.scripts.get(self.read_model(exchange), ok)
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(_watch(reader, exchange))
                    with contextlib.suppress(ConnectionError):
                        await script(exchange)
                    if not exchange.closed:
                        watch.cancel()
                if exchange.closed or exchange.gone.is_set():
                    break
        writer.close()


async def _watch(reader: asyncio.StreamReader, exchange: Exchange) -> None:
    """Note when the peer goes away; it sends nothing while it waits for an answer."""
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    exchange.gone_at = time.monotonic()
    exchange.gone.set()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Upstream]:
    """An upstream on a free port."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for exchange in upstream.log:
            exchange.writer.close()


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    payload = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


ROLE = event({"role": "assistant", "content": ""})
HELLO = event({"content": "Hello"})
WORLD = event({"content": " world"})
STOP = event({}, "stop")
BILL = event(None, usage=USAGE)
DONE = b"data: [DONE]\n\n"


def completion(text: str = "Hello world") -> bytes:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    found = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    return json.dumps(found).encode()


def failure(message: str, **more: Any) -> bytes:
    """An error in OpenAI's shape."""
    return json.dumps(
        {"error": {"message": message, "type": "server_error", "param": None, "code": None, **more}}
    ).encode()


async def ok(exchange: Exchange) -> None:
    """A good answer, streamed when asked for."""
    fields = exchange.fields
    if not fields.get("stream"):
        await exchange.whole(200, completion())
        return
    asked = (fields.get("stream_options") or {}).get("include_usage")
    await exchange.events(ROLE, HELLO, WORLD, STOP, *([BILL] if asked else []), DONE, b"")


def status(code: int, *headers: str, body: bytes | None = None, kind: str = "application/json") -> Script:
    """Always this status."""

    async def script(exchange: Exchange) -> None:
        await exchange.whole(code, body if body is not None else failure(f"told to say {code}"), *headers, kind=kind)

    return script


async def silent(exchange: Exchange) -> None:
    """Not a byte, until the peer goes."""
    await exchange.gone.wait()


def stalls(*found: bytes) -> Script:
    """Some events, then nothing until the peer goes."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(*found)
        await exchange.gone.wait()

    return script


def breaks(how: str, *found: bytes) -> Script:
    """Some events, then the stream ends as no stream should: `cut`, `reset`, `clean` (well-formed, too early)."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(*found)
        if how == "clean":
            await exchange.chunk(b"")
        elif how == "cut":
            exchange.cut()
        else:
            await asyncio.sleep(0.02)  # a RST overtakes what is still on its way
            exchange.reset()

    return script


def delimited(*found: bytes) -> Script:
    """A stream that ends with its connection, without any framing."""

    async def script(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Connection: close")
        await exchange.write(b"".join(found))
        exchange.cut()

    return script
