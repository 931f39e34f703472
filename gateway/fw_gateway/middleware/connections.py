"""Connections: how many there may be, and how long one may keep the server waiting before it is closed.

aiohttp's server waits for ever for the rest of a head, and for ever for a client that does not take its answer. Here one timer for all
connections looks at each of them now and then; a request costs it two comparisons.
"""

import array
import asyncio
import fcntl
import ipaddress
import socket
import struct
import termios
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fw_gateway.errors import BadRequest, written
from fw_gateway.middleware.border import address_of, straight
from fw_gateway.middleware.lane import Handlers, Incoming, answered, handler_of

_NONE: Handlers = MappingProxyType({})
LOOKS = 8
"""How often a connection is looked at within the shortest limit: it is closed up to an eighth of that before its time, never after."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take."""

    head: float = 10.0
    """From the start of a connection, or from a request's first byte, to the end of its headers."""
    take: float = 60.0
    """In which it takes nothing of what is ready for it."""
    idle: float = 75.0
    """Between two requests."""


def _answer(status: str, code: str, message: str, *more: str) -> bytes:
    body = f'{{"error":{{"message":"{message}","type":"api_error","param":null,"code":"{code}"}}}}'
    head = ["Content-Type: application/json", f"Content-Length: {len(body)}", "Server: fw", "Connection: close", *more]
    return "\r\n".join([f"HTTP/1.1 {status}", *head, "", body]).encode()


FULL = _answer(
    "503 Service Unavailable",
    "too_many_connections",
    "This server has as many connections as it takes. Try again.",
    "Retry-After: 1",
    "x-should-retry: true",
)
LATE = _answer("408 Request Timeout", "request_timeout", "The headers did not arrive in time. Send them faster.")


class Connection(web.RequestHandler):
    """One connection, which knows what it is waiting for."""

    __slots__ = (
        "_began", "_channel", "_handlers", "_lane", "_mark", "_marked", "_partial", "_payload", "_resumed", "_scheme", "address", "counted",
    )  # fmt: skip

    def __init__(self, door: "Door", **options: Any) -> None:
        """`options` are aiohttp's own."""
        super().__init__(door, **options)
        self.counted = ""
        """The origin it is counted under; empty: it was refused."""
        self.address: tuple[str, int] = "", 0
        """The local end."""
        self._handlers = door.handlers
        self._lane: asyncio.Task[None] | None = None
        """Serves what goes the short way, while aiohttp's own task waits."""
        self._scheme = "http"
        self._channel: asyncio.Transport | None = None
        self._payload: Any = None
        self._began: float | None = None
        """When the head began that is not complete; None: none is waited for."""
        self._partial = False
        """Some of it has come."""
        self._mark: tuple[int, int] | None = None
        """What the client had not taken at the last look, and how often writing had gone on."""
        self._marked = 0.0
        self._resumed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or answer that the house is full."""
        channel = self.transport = self._channel = cast("asyncio.Transport", transport)
        self._began = self._loop.time()
        self.address = address_of(channel)
        if channel.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        if cast("Door", self._manager).enter(self, channel):
            super().connection_made(transport)
        else:
            channel.write(FULL)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        if self._manager is not None:
            cast("Door", self._manager).leave(self)
        super().connection_lost(exc)
        self._payload = None  # it holds its connection
        lane, self._lane = self._lane, None  # which may not have begun, and then ends nothing by itself
        if lane is not None:
            lane.cancel()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - the name is aiohttp's
        """Let what is under way end within so many seconds; then it is ended."""
        await super().shutdown(timeout)
        if self._lane is not None:
            self._lane.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, or of a body."""
        count, payload = self._request_count, self._payload
        between = bool(data) and (
            payload is None or payload.is_eof()
        )  # aiohttp calls this with nothing to go on reading
        waiter = self._waiter
        if waiter is None or waiter.done():
            super().data_received(data)
        else:
            self._waiter = None  # nobody is woken: what has come may go the short way
            super().data_received(data)
            self._waiter = waiter
        if self._request_count != count:
            self._began, self._partial = None, False
            if self._messages:
                self._payload = self._messages[-1][1]
            self._serve()
        elif between:
            self._partial = True
            if self._began is None:
                self._began = self._loop.time()

    def _serve(self) -> None:
        """What has come, the short way if it may go that; else aiohttp's task is woken, if it waits."""
        messages, waiter = self._messages, self._waiter
        if not messages or self._lane is not None or waiter is None or waiter.done():
            return
        message, content = messages[0]
        handler = handler_of(self._handlers, message, content) if len(messages) == 1 else None
        if handler is None or self._buffer_paused or self._parser is None:
            waiter.set_result(None)
            return
        messages.popleft()
        self._payload = None  # it has come whole, and is its call's alone
        self._parser.message_consumed()
        self._request_in_progress = True
        self._lane = self._loop.create_task(self._served(handler, Incoming(message, content, self, self._scheme)))

    async def _served(self, handler: Callable[[Any], Awaitable[web.StreamResponse]], asked: Incoming) -> None:
        kept = False
        try:
            kept = await answered(handler, asked)
        finally:
            self._lane, self._request_in_progress = None, False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
            if not kept or self._close:
                self.force_close()
        if not self._force_close and self.transport is not None and not self.transport.is_closing():
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
            self._serve()

    def _process_keepalive(self) -> None:
        if self._lane is None:
            super()._process_keepalive()
        else:  # to aiohttp it looks idle
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)

    def resume_writing(self) -> None:
        """The client has taken something."""
        self._resumed += 1
        super().resume_writing()

    def look(self, now: float, head: float, take: float) -> str:
        """Close it if it has kept the server waiting for longer than these seconds; why, or nothing."""
        channel = self._channel
        if channel is None:
            return ""
        if self._paused or channel.get_write_buffer_size():
            return self._taking(channel, now, take)
        self._mark = None
        if self._began is None or self._force_close:
            return ""
        if self._waiter is None or self._lane is not None:  # it is being served: what it sent ahead waits for that
            self._began = now
        elif now - self._began >= head:
            if self._partial:
                channel.write(LATE)
            self.force_close()
            return "slow_headers"
        return ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP is answered in the shape of every other error, and is one line in the log, not a traceback."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        reason = ascii(exc.message.partition("\n")[0])[1:121].rstrip("'\":")
        self.logger.info("not HTTP, answered %s: %s", exc.code, reason)
        body = written(BadRequest(f"This is not HTTP: {reason}.").body())
        headers = {"Content-Type": "application/json", "x-should-retry": "false", "Server": "fw"}
        response = web.Response(status=exc.code, headers=headers, body=body)
        response.force_close()
        return response

    def drop(self) -> None:
        """Forget what the client has not taken."""
        if self._channel is not None and self._channel.get_write_buffer_size():
            reset(self._channel)

    def _taking(self, channel: asyncio.Transport, now: float, limit: float) -> str:
        mark = (channel.get_write_buffer_size() + _unsent(channel), self._resumed)
        if mark != self._mark:
            self._mark, self._marked = mark, now
        elif now - self._marked >= limit:
            reset(channel)
            return "slow_reader"
        return ""


def reset(channel: asyncio.Transport) -> None:
    """End a connection with what the client has not taken: else we would keep that, or the kernel would, until it has."""
    channel.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    channel.abort()


def _unsent(channel: asyncio.Transport) -> int:
    """Bytes that the kernel holds for the client: it is slow, not gone, when they become fewer."""
    found = array.array("i", [0])
    try:
        fcntl.ioctl(channel.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
    except OSError:
        return 0
    return found[0]


def origin(address: str) -> str:
    """Whom an address belongs to: an IPv6 customer has a /64 to choose from."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address)
    return str(found.ipv4_mapped or ipaddress.IPv6Address(int(found) >> 64 << 64))


class Door(web.Server):
    """Makes connections, counts them, and looks after them until `shutdown`."""

    def __init__(
        self,
        server: web.Server,
        patience: Patience,
        caps: tuple[int, int],
        counts: Counter[str],
        *,
        handlers: Handlers = _NONE,
        **options: Any,
    ) -> None:
        """`server` says what is served, `handlers` what of it may go the short way; `options` are aiohttp's own.

        `caps` bound the connections of all and of one address. What is refused, or closed by us, is counted in `counts`, by reason.
        """
        loop = asyncio.get_running_loop()
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=loop,
        )
        self._options = {**options, "keepalive_timeout": patience.idle, "loop": loop}
        self._patience = patience
        self.handlers = handlers
        """Of requests that may go the short way."""
        self._cap, self._cap_each = caps
        self._origins: Counter[str] = Counter()
        self.open: set[Connection] = set()
        """All that were let in and are not lost yet, those that are being closed included."""
        self._counts = counts
        self._every = min(patience.head, patience.take, LOOKS) / LOOKS
        self._timer = loop.call_later(self._every, self._look)

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        return Connection(self, **self._options)

    def enter(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Count a connection in; False: there are too many."""
        peer = transport.get_extra_info("peername")
        name = origin(str(peer[0])) if isinstance(peer, tuple) else "local"
        if len(self.open) >= self._cap or self._origins[name] >= self._cap_each:
            self._counts["too_many_connections"] += 1
            return False
        connection.counted = name
        self._origins[name] += 1
        self.open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Count it out."""
        if connection in self.open:
            self.open.remove(connection)
            self._origins[connection.counted] -= 1
            if not self._origins[connection.counted]:
                del self._origins[connection.counted]

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the name is aiohttp's
        """Close all; what still has bytes to take after `timeout` seconds does not get them."""
        self._timer.cancel()
        await super().shutdown(timeout)
        for connection in list(self.open):
            connection.drop()

    def _look(self) -> None:
        loop, every = asyncio.get_running_loop(), self._every
        now = loop.time()
        self._timer = loop.call_later(every, self._look)
        # What is due before the next look is closed now: a limit is never overrun.
        head, take = self._patience.head - every, self._patience.take - every
        for connection in list(self.open):
            if reason := connection.look(now, head, take):
                self._counts[reason] += 1


class Runner(web.AppRunner):
    """An application behind a `Door`."""

    def __init__(
        self, app: web.Application, patience: Patience, caps: tuple[int, int], counts: Counter[str], **options: Any
    ) -> None:
        """As `Door`; `options` are those of `web.AppRunner`."""
        super().__init__(app, **options)
        self._patience, self._caps, self._counts = patience, caps, counts

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        found = [one for one in self.app.router.resources() if isinstance(one, web.PlainResource)]
        fixed = {(route.method, resource.canonical): route.handler for resource in found for route in resource}
        handler = straight(fixed, made.request_handler)
        made.request_handler = handler  # type: ignore[assignment]  # its requests are made by the application
        options = {name: value for name, value in self._kwargs.items() if name != "handler_cancellation"}
        return Door(made, self._patience, self._caps, self._counts, handlers=fixed, **options)
