"""How large a request may be, in what form it may come, and how many may be under way."""

import asyncio

from aiohttp import web

from fw_gateway.errors import BadRequest, BodyTooLarge, Draining, Unsupported

_MIB = 2**20
PATIENCE = 60.0
"""Seconds in which a body has to arrive."""


class SlowBody(BadRequest):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"
    error_type = "408"


class Limits:
    """Checks before reading, counts while reading."""

    def __init__(self, max_body: int, max_in_flight: int) -> None:
        """Bytes of one body; requests under way."""
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self, request: web.Request) -> None:
        """Refuse what will not be read. What only looks (GET) is let in whatever happens.

        Raises:
            BadRequest, BodyTooLarge, Unsupported, Draining: by name.
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
            raise Draining("This server is going down.", hint="Another one takes over; try again.", retry_after=1.0)
        if self.in_flight > self.max_in_flight:
            raise Draining(f"{self.in_flight} requests are under way already.", hint="Try again.", retry_after=1.0)

    async def read(self, request: web.Request) -> bytes:
        """The body.

        Raises:
            BodyTooLarge: it turned out to be over the limit.
            SlowBody: it took too long to arrive.
            BadRequest: it ended early, or its framing is broken.
        """
        try:
            if request.content.is_eof():
                return await request.read()
            async with asyncio.timeout(PATIENCE):
                return await request.read()
        except TimeoutError:
            raise SlowBody(f"The body did not arrive within {PATIENCE:g} s.", hint="Send it faster.") from None
        except web.HTTPRequestEntityTooLarge as fault:
            raise self._too_large(getattr(fault, "actual_size", None)) from None
        except web.RequestPayloadError as fault:
            raise BadRequest(f"The body cannot be read: {fault}.") from None

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

    def leave(self) -> None:
        """A request is over."""
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
