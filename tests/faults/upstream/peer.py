"""One TCP connection as it is: bytes in, bytes out, FIN, RST, and the moment at which the other side went."""

import asyncio
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

Serve = Callable[["Peer"], Awaitable[None]]


class Gone(ConnectionError):
    """The peer left in the middle."""


class Peer(asyncio.Protocol):
    """A connection that is served by one coroutine. Nothing is sent that the coroutine did not send."""

    def __init__(self, serve: Serve, port: int, *, tls: bool = False, deaf: bool = False) -> None:
        """`port` is the replica's index; `deaf`: nothing is ever read."""
        self._serve, self.port, self._tls, self._deaf = serve, port, tls, deaf
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.accepted = time.monotonic()
        self.closed_at: float | None = None
        """Monotonic seconds at which the peer's FIN or RST was seen."""
        self.lost = False
        self.written = 0
        self.served = 0
        """Requests that were read from this connection."""
        self._task: asyncio.Task[None] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=1, low=0)  # type: ignore[attr-defined]
        self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._deaf:
            transport.pause_reading()  # type: ignore[attr-defined]
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._serve(self)
        except (Gone, ConnectionError):
            pass
        finally:
            if not self.lost:
                self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def eof_received(self) -> bool:
        self._went()
        return not self._tls

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._went()

    def _went(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
        self._news.set()
        if self.lost:
            self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def more(self) -> bool:
        """Wait for bytes; False when the peer is gone and nothing is left to read."""
        if self.closed_at is None:
            self._news.clear()
            await self._news.wait()
        return self.closed_at is None

    async def until(self, mark: bytes, limit: int = 2**20) -> bytes:
        """Everything up to and including `mark`.

        Raises:
            Gone: the peer left first, or never said it within `limit` bytes.
        """
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit or not await self.more():
                raise Gone
        return self._take(end + len(mark))

    async def exactly(self, count: int) -> bytes:
        """`count` bytes.

        Raises:
            Gone: the peer left first.
        """
        while len(self._buffer) < count:
            if not await self.more() and len(self._buffer) < count:
                raise Gone
        return self._take(count)

    def _take(self, count: int) -> bytes:
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    async def begun(self) -> None:
        """Wait for the first byte of the next request, without taking it.

        Raises:
            Gone: the peer left instead.
        """
        while not self._buffer:
            if not await self.more():
                raise Gone

    @property
    def sent(self) -> int:
        """Bytes that the system has taken."""
        return self.written - (0 if self.lost else self._transport.get_write_buffer_size())

    async def send(self, data: bytes) -> None:
        """Write, and wait until the system has taken it.

        Raises:
            Gone: the peer is not there any more.
        """
        if self.lost:
            raise Gone
        self._transport.write(data)
        self.written += len(data)
        await self._writable.wait()
        if self.lost:
            raise Gone

    async def gone(self, seconds: float) -> bool:
        """Wait for the peer to leave, at most so long; whether it did."""
        try:
            async with asyncio.timeout(seconds):
                while self.closed_at is None:
                    await self.more()
        except TimeoutError:
            return False
        return True

    def fin(self) -> None:
        """Say that nothing more comes, at once and without TLS's own goodbye."""
        with self._socket() as raw:
            raw.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in good order."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a RST."""
        self._option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def cancel(self) -> None:
        """End what serves this connection."""
        if self._task is not None:
            self._task.cancel()
        if not self.lost:
            self._transport.abort()

    def _socket(self) -> socket.socket:
        """The same socket under another descriptor, so that every event loop lets us touch it."""
        return socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno()))

    def _option(self, level: int, name: int, value: int | bytes) -> None:
        with self._socket() as raw:
            raw.setsockopt(level, name, value)
