"""One request on a connection of aiohttp's pool, and its answer: what stands between the connector and the parser is left out here.

Names, TLS, addresses that race and the pool are aiohttp's connector; llhttp parses. aiohttp's client makes a request object, cookies,
redirects, traces and timers for every call, and calls its stream reader three times for every chunk of a chunked body, a token each: 112 of
the 280 µs that relaying a stream of 64 tokens through aiohttp takes. Here the head of a route is text made once, a request is one write, and
the pieces of a body go straight into a list.
"""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from functools import cached_property, partial
from math import inf
from typing import Any

import aiohttp
import httptools
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

READ = 2**16
"""Bytes read ahead of a client that is slower than its upstream; beyond that, and what one read brings, nothing is read."""
LARGE = 2**20
"""Bytes from which a request body is sent in pieces."""
PIECE = 2**18
KEPT = 1.0
"""Seconds for which a connection is used again without going through the pool."""
HEADS = 256
"""Paths whose heads are remembered; then all are forgotten."""
MAX_HEAD = 2**16
"""Bytes of an answer's head."""
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DEAD = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
_UNTIL_CLOSED = frozenset({"content-length", "transfer-encoding"})
"""Without these an answer ends as its connection does."""


class NotHTTP(aiohttp.ClientError):
    """What came back is not an answer in HTTP."""


class Abandoned(aiohttp.ServerDisconnectedError):
    """A connection that had been used before was dead: not one byte came back, and the request may be sent once more."""


class Channel(ResponseHandler):
    """A connection. Asked by `Line`, it gives what it reads to the `Answer`; asked by a session, it is aiohttp's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing was asked yet."""
        super().__init__(loop)
        self.answer: Answer | None = None
        self.used = False
        """Something was asked on it."""
        self.since = 0.0
        """When it was taken out of the pool, by the loop's clock."""

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer that is awaited; what comes unasked spoils the connection."""
        if self.answer is not None:
            self.answer.fed(data)
        else:
            super().data_received(data)

    def set_response_params(self, **params: Any) -> None:
        """A session asks something on it."""
        self.used = True
        super().set_response_params(**params)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        answer, self.answer = self.answer, None
        super().connection_lost(exc)
        if answer is not None:
            answer.lost(exc)

    def hold(self) -> None:
        """Read no more for now."""
        self._pause_transport_reading()

    def go_on(self) -> None:
        """Read again."""
        self._resume_transport_reading()

    async def upload(self, body: bytes) -> None:
        """Send a large body as fast as it is taken, without a copy of it."""
        view = memoryview(body)
        for start in range(0, len(body), PIECE):
            if self.transport is None:
                return
            self.transport.write(view[start : start + PIECE])
            await self._drain_helper()


class Answer:
    """What comes back. Its connection goes back to the pool with the last byte, or is closed.

    llhttp calls the methods that begin with `on_`.
    """

    __slots__ = (
        "_channel", "_connection", "_error", "_held", "_holding", "_line", "_parser", "_pieces", "_spoilt", "_timer", "_upload", "_waiter", "_whole",
        "headers", "on_body", "over", "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, channel: Channel, line: "Line") -> None:
        """It is awaited from here on."""
        self._line = line
        self.status = 0
        """Zero until its head is there."""
        self.headers: dict[str, str] = {}
        """By names in lower case; of several of one name the first."""
        self.over = False
        """Its last byte was read from the connection."""
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._connection: Connection | None = connection
        self._channel = channel
        self._upload: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._held = 0
        self._holding = False
        self._spoilt = False
        self._whole = 0
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # as aiohttp: what sloppy servers do, and no reader takes for another thing
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        channel.answer, channel.used = self, True

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where they were announced."""
        found = self.headers.get("content-length")
        return int(found) if found is not None and found.isdecimal() else None

    @property
    def closed(self) -> bool:
        """It has let go of its connection."""
        return self._connection is None

    @property
    def ready(self) -> bool:
        """There is something to take, or nothing more will come."""
        return bool(self._pieces) or self.over

    async def some(self) -> bytes:
        """The bytes that have come since the last time, waited for if there are none; empty when it is over.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: it did not come to its end.
        """
        while not self.ready:
            await self.news()
        return self.taken()

    def taken(self) -> bytes:
        """Bytes that have come and were not taken: all, or of many some `READ`, lest each step behind this one holds them all."""
        pieces = self._pieces
        if self._held <= READ or len(pieces) == 1:
            found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._held = 0
            return found
        size = count = 0
        while size < READ and count < len(pieces):
            size += len(pieces[count])
            count += 1
        found = b"".join(pieces[:count])
        del pieces[:count]
        self._held -= size
        return found

    async def read(self) -> bytes:
        """The whole body; raises as `some`."""
        pieces = self._pieces
        while not self.over:
            self._held = 0  # all of it is wanted: nothing is read ahead
            await self.news()
        found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return found

    def within(self, seconds: float) -> None:
        """Wait for it no longer than that, in all; one timer, where a timeout of asyncio's is three objects and a task to be cancelled."""
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._late)

    def at_leisure(self) -> None:
        """The limit is off; what has come by now has come in time."""
        self._untimed()
        if type(self._error) is TimeoutError:
            self._error = None

    def _untimed(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _late(self) -> None:
        self._timer = None
        if self._waiter is None:
            self._error = self._error or TimeoutError()
        self.interrupt(TimeoutError())

    def interrupt(self, error: BaseException) -> None:
        """Wait no longer."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def close(self) -> None:
        """Let go of it, and of the connection unless it was read to its end."""
        connection = self._let_go()
        if connection is not None:
            connection.close()

    def begin(self, head: bytes, body: bytes) -> None:
        """Send the request."""
        channel = self._channel
        if channel.transport is None:
            raise aiohttp.ServerDisconnectedError
        if len(body) < LARGE:
            channel.transport.writelines((head, body))
            return
        channel.transport.write(head)
        self._upload = asyncio.get_running_loop().create_task(channel.upload(body))
        self._upload.add_done_callback(_uploaded)

    def fed(self, data: bytes) -> None:
        """A read of the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            if not self.over:
                self._fail(NotHTTP(str(exc)))
                return
            self._spoilt = True
        if self.over:
            del self._pieces[self._whole :]  # of what was not asked for
            self._ended()
            return
        self._held += len(data)
        if not self.status and self._held > MAX_HEAD:
            self._fail(NotHTTP("its head is too large"))
        elif self._held > READ and not self._holding:
            self._holding = True
            self._channel.hold()
        self._wake()

    def lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if self.status and exc is None and _UNTIL_CLOSED.isdisjoint(self.headers):
            self.over = True
            self._ended()
        elif self.status or self._held:
            self._fail(aiohttp.ClientPayloadError("the answer was cut short"))
        elif isinstance(exc, OSError):
            self._fail(aiohttp.ClientOSError(*exc.args))
        else:
            self._fail(aiohttp.ServerDisconnectedError())

    def on_message_begin(self) -> None:
        """An answer, or one more than was asked for."""
        self._spoilt = self.over

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what follows the body is not of the head."""
        if not self.status:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        """Its head; or one that says that the request is being looked at."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
        elif not self.over:
            self.status = status

    def on_message_complete(self) -> None:
        """Its end."""
        if self.status and not self.over:
            self.over = True
            self._whole = len(self._pieces)
            self._spoilt = self._spoilt or not self._parser.should_keep_alive()

    def _ended(self) -> None:
        upload = self._upload
        spoilt = self._spoilt or (upload is not None and not upload.done())
        connection = self._let_go()
        if connection is not None:
            if spoilt:
                connection.close()
            else:
                self._line.back(connection, self._channel)
        self._wake()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.close()
        self._wake()

    def _let_go(self) -> Connection | None:
        connection, self._connection = self._connection, None
        self._untimed()
        if connection is None:
            return None  # another answer may have its channel already
        self._channel.answer = None
        self._parser = None  # it holds this by its callbacks
        if self._upload is not None:
            self._upload.cancel()
        if self._holding:
            self._channel.go_on()
        return connection

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def news(self) -> None:
        """Wait until something has come.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: nothing more will.
        """
        error = self._error
        if error is not None:
            # Another one each time: what was raised holds the frames it went through, one of which holds this, which would hold it.
            raise type(error)(*error.args)
        if self._holding:
            self._holding = False
            self._channel.go_on()
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None
            del waiter  # it may hold what is raised here, and so this frame


class _Where(aiohttp.ClientRequest):
    """What the connector must know of a request: the same for all of a line."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        """By what connections are kept."""
        return super().connection_key


class Line:
    """The way to one server, and what is said to it with every request."""

    def __init__(
        self, connector: aiohttp.BaseConnector, base: URL, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> None:
        """`base`: scheme, host, port and what stands before every path. Needs a running loop.

        Raises:
            ValueError: a header cannot be sent.
        """
        self._connector, self._timeout = connector, timeout
        self._where = _Where("GET", base)
        self._before = base.raw_path.rstrip("/")
        host = {"host": self._where.headers["Host"], "accept": "*/*"}
        self._fixed = host | {name.lower(): value for name, value in headers.items()}
        self._heads: dict[str, str] = {}
        self._kept: deque[tuple[float, Connection]] = deque()
        """Connections that nothing is asked on, and since when; the newest last."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(
        self, path: str, extra: Mapping[str, str], body: bytes, *, within: float = inf, fresh: bool = False
    ) -> Answer:
        """Send a request; its answer once the head of that is there. Nothing is followed, unpacked or kept.

        `extra`: headers of this request alone, by names in lower case; they win. `within`: seconds that all of it may take, the answer's
        body included unless it is told `at_leisure`. `fresh`: not on a connection that was used before.

        Raises:
            Abandoned: on a connection that was used before, which turned out to be dead.
            aiohttp.ClientError, OSError, TimeoutError: by what else it failed.
            ValueError: a header cannot be sent.
        """
        head = self._head(path, {**extra, "connection": "close"} if fresh else extra, len(body))
        if within <= 0:
            raise TimeoutError
        loop, limits = asyncio.get_running_loop(), self._timeout
        end = loop.time() + within
        if within < (limits.connect or inf):
            limits = aiohttp.ClientTimeout(total=None, connect=within)
        connection = await self._connection(limits, fresh=fresh)
        channel: Channel = connection.protocol  # type: ignore[assignment]  # `channelled` makes no other
        reused = channel.used
        answer = Answer(connection, channel, self)
        try:
            if within < inf:
                answer.within(end - loop.time())
            answer.begin(head, body)
            while not answer.status:
                await answer.news()
        except BaseException as exc:
            answer.close()
            if reused and isinstance(exc, _DEAD):
                raise Abandoned from exc
            raise
        return answer

    def _head(self, path: str, extra: Mapping[str, str], size: int) -> bytes:
        if self._fixed.keys().isdisjoint(extra):
            begun = self._heads.get(path)
            if begun is None:
                if len(self._heads) >= HEADS:
                    self._heads.clear()
                begun = self._heads[path] = self._begun(path, self._fixed)
        else:
            begun, extra = self._begun(path, {**self._fixed, **extra}), {}
        return f"{begun}{lines(extra)}content-length: {size}\r\n\r\n".encode("utf-8", "surrogateescape")

    def _begun(self, path: str, headers: Mapping[str, str]) -> str:
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("a path with signs that it cannot have")
        return f"POST {self._before}{path} HTTP/1.1\r\n{lines(headers)}"

    async def _connection(self, limits: aiohttp.ClientTimeout, *, fresh: bool) -> Connection:
        """One on which nothing was received beyond its last answer: what came unasked would be taken for this one."""
        while self._kept and not fresh:
            found = self._kept.pop()[1]
            channel: Channel = found.protocol  # type: ignore[assignment]
            if channel.is_connected() and not channel.should_close:
                return found
            found.close()
        while True:
            try:
                found = await self._connector.connect(self._where, [], limits)
            except TimeoutError as exc:
                raise aiohttp.ConnectionTimeoutError("no connection within its limit") from exc
            channel = found.protocol  # type: ignore[assignment]
            if not channel.used or not (fresh or channel.should_close):
                channel.since = asyncio.get_running_loop().time()
                return found
            found.close()  # when one of those that were kept is dead, all may be

    def back(self, connection: Connection, channel: Channel) -> None:
        """Keep a connection for what is asked next; for a second at most, then it goes through the pool, which knows when it is too old."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._closed or now - channel.since >= KEPT:
            connection.release()
            return
        self._kept.append((now, connection))
        if self._timer is None:
            self._timer = loop.call_later(KEPT, self._tidy)

    def _tidy(self) -> None:
        loop, kept = asyncio.get_running_loop(), self._kept
        before = loop.time() - KEPT
        while kept and kept[0][0] <= before:
            kept.popleft()[1].release()
        self._timer = loop.call_at(kept[0][0] + KEPT, self._tidy) if kept else None

    def close(self) -> None:
        """Give what is kept back to the pool, and keep nothing from here on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._kept:
            self._kept.pop()[1].release()


def channelled(connector: aiohttp.BaseConnector) -> None:
    """Have a connector, which has no connections yet, make channels. Needs its running loop."""
    connector._factory = partial(Channel, loop=asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001


def lines(headers: Mapping[str, str]) -> str:
    """The lines of headers.

    Raises:
        ValueError: one would begin another.
    """
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if len(headers) == text.count("\n") and text.replace("\r\n", "").isprintable():
        return text  # as nearly all are; of what is left, only controls can do harm
    if len(headers) != text.count("\n") or _FORBIDDEN.search(text.replace("\r\n", "")) is not None:
        raise ValueError("a header with signs that it cannot have")
    return text


def _uploaded(task: asyncio.Task[None]) -> None:
    """What kept a body from being sent is known by its answer, or by that none comes."""
    if not task.cancelled():
        task.exception()
