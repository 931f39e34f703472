"""How large a request may be, in what form it may come, and how much may be under way."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import StreamReader, web

from fw_gateway import clock
from fw_gateway.errors import BadRequest, BodyTooLarge, Draining, GatewayError, Unsupported
from fw_gateway.middleware.lag import Lag

_MIB = 2**20
STALL = 30.0
"""Seconds in which some of a body has to arrive."""
GRACE = 60.0
"""Seconds that a body may take beyond its size at `PACE`."""
PACE = 8 * 2**10
"""Bytes a second at which a body has to arrive on the whole."""


class SlowBody(BadRequest):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"
    error_type = "408"


class Overloaded(GatewayError):
    """There is more to do than this process can; another one, or a moment's wait, may help."""

    status = 503
    code = "overloaded"
    error_type = "503"


class Limits:
    """Checks before reading, counts while reading. Refusing costs no more than it must: nothing is asked, read or written."""

    def __init__(
        self,
        max_body: int,
        max_in_flight: int,
        *,
        max_bodies: int = 512 * _MIB,
        max_lag: float = 0.2,
        stall: float = STALL,
        grace: float = GRACE,
    ) -> None:
        """Bytes of one body and of all together; requests under way; seconds that the loop may be late, and a body may take."""
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.max_bodies = max_bodies
        self.in_flight = 0
        self.held = 0
        """Bytes of the bodies that are under way."""
        self.refused: Counter[str] = Counter()
        """How many were turned away, by reason."""
        self.lag = Lag(max_lag)
        self.draining = False
        self._stall, self._grace = stall, grace
        self._idle = asyncio.Event()
        self._idle.set()

    async def watched(self, _: web.Application) -> AsyncIterator[None]:
        """Measure how late the loop is, as long as the application runs."""
        self.lag.start()
        yield
        self.lag.stop()

    def admit(self, request: web.Request) -> None:
        """Refuse what will not be read. What only looks (GET) is let in whatever happens.

        Raises:
            BadRequest, BodyTooLarge, Unsupported, Draining, Overloaded: by name.
        """
        if request.method != "POST":
            return
        encoding = request.headers.get("Content-Encoding")
        if encoding and encoding.lower() != "identity":
            hint = "Send it uncompressed."
            raise Unsupported(f"A body in Content-Encoding {encoding[:40]} is not accepted.", hint=hint)
        length = request.content_length
        if length is not None and length > self.max_body:
            raise self._too_large(length)
        if self.draining:
            self.refused["draining"] += 1
            raise Draining("This server is going down.", hint="Another one takes over; try again.", retry_after=1.0)
        if self.in_flight > self.max_in_flight:
            raise self._overloaded("in_flight", f"{self.in_flight} requests are under way already.")
        if self.lag.high:
            raise self._overloaded("loop_lag", "This server cannot keep up.")
        if self.held + (length or 0) > self.max_bodies:
            raise self._too_many_bytes()

    async def read(self, request: web.Request) -> bytes:
        """The body, counted among those under way until `leave`.

        Raises:
            BodyTooLarge: it turned out to be over the limit.
            SlowBody: it took too long to arrive.
            Overloaded: with all others it is over what this process may hold.
            BadRequest: it ended early, or its framing is broken.
        """
        content = request.content
        try:
            if not content.is_eof():
                return await self._gathered(content)
            body = content.read_nowait()
        except web.RequestPayloadError as fault:
            raise BadRequest(f"The body cannot be read: {fault}.") from None
        if len(body) > self.max_body:
            raise self._too_large(len(body))
        self.held += len(body)
        return body

    async def _gathered(self, content: StreamReader) -> bytes:
        """The body as it comes."""
        buffer, size = io.BytesIO(), 0  # which gives its bytes away without another copy
        start, loop = clock.monotonic(), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._stall) as limit:
                while data := await content.readany():
                    size += len(data)
                    self._hold(size, len(data))
                    buffer.write(data)
                    left = start + self._grace + size / PACE - clock.monotonic()
                    limit.reschedule(loop.time() + min(self._stall, left))
        except TimeoutError:
            self.held -= size
            self.refused["slow_body"] += 1
            raise SlowBody("The body came too slowly.", hint="Send it faster, or in parts.") from None
        except BaseException:
            self.held -= size
            raise
        return buffer.getvalue()

    def _hold(self, size: int, more: int) -> None:
        self.held += more
        if size > self.max_body:
            raise self._too_large(None)
        if self.held > self.max_bodies:
            raise self._too_many_bytes()

    async def drained(self, seconds: float, hurry: asyncio.Event) -> None:
        """Return when nothing is under way, when `seconds` are over, or when `hurry` is set."""
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                waiting = [group.create_task(self._idle.wait()), group.create_task(hurry.wait())]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
        except TimeoutError:
            return

    def enter(self) -> None:
        """A request begins."""
        self.in_flight += 1
        if self.draining:
            self._idle.clear()

    def leave(self, size: int = 0) -> None:
        """A request is over, and its body of `size` bytes."""
        self.held -= size
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self._idle.set()

    def drain(self) -> None:
        """Take no new work from here on."""
        self.draining = True
        if self.in_flight:
            self._idle.clear()

    def _too_large(self, size: int | None) -> BodyTooLarge:
        about = f"{size / _MIB:.1f} MiB is" if size else "The body is"
        return BodyTooLarge(
            f"{about} over the limit of {self.max_body / _MIB:g} MiB.", hint="Send less, or raise server.max_body."
        )

    def _too_many_bytes(self) -> Overloaded:
        return self._overloaded("body_bytes", f"Bodies of {self.max_bodies / _MIB:g} MiB are under way already.")

    def _overloaded(self, reason: str, message: str) -> Overloaded:
        self.refused[reason] += 1
        return Overloaded(message, hint="Try again.", retry_after=1.0)
