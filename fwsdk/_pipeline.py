"""From a request to a response that may be read: transport, deadline, retries, errors. What all endpoints share."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from fwsdk import _retry
from fwsdk._clock import Clock
from fwsdk.config import Settings
from fwsdk.errors import ConnectionFailed, DeadlineExceeded, FwError, InvalidReply, StreamInterrupted, from_status
from fwsdk.transport import Request, Response, Transport

_LARGER = "Give the call a larger timeout."


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point of monotonic time by which everything is over."""

    at: float
    clock: Clock

    def remaining(self) -> float:
        """Seconds left.

        Raises:
            DeadlineExceeded: none are.
        """
        left = self.at - self.clock.monotonic()
        if left <= 0:
            raise DeadlineExceeded("time ran out before the answer was complete.", hint=_LARGER)
        return left


@asynccontextmanager
async def within(deadline: Deadline) -> AsyncIterator[None]:
    """Whatever happens inside is over by the deadline."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            yield
    except TimeoutError as fault:
        raise DeadlineExceeded("time ran out before the answer was complete.", hint=_LARGER) from fault


class Pipeline:
    """Makes exchanges for a client. The transport is opened at the first one."""

    def __init__(self, settings: Settings, opener: Callable[[], Awaitable[Transport]], clock: Clock) -> None:
        """`opener` is called once."""
        self.settings = settings
        self.clock = clock
        self._opener = opener
        self._lock = asyncio.Lock()
        self._transport: Transport | None = None

    async def transport(self) -> Transport:
        """The transport, opened if need be."""
        if self._transport is None:
            async with self._lock:
                if self._transport is None:
                    self._transport = await self._opener()
        return self._transport

    async def aclose(self) -> None:
        """Release the transport."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def deadline(self, timeout: float | None) -> Deadline:
        """`timeout` seconds from now; None: the client's own.

        Raises:
            ValueError: it is not a positive number.
        """
        seconds = self.settings.timeout if timeout is None else timeout
        if not seconds > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
        return Deadline(self.clock.monotonic() + seconds, self.clock)

    async def send(self, request: Request, deadline: Deadline) -> Response:
        """A response with a good status, its body unread. Failures are repeated as long as nothing was delivered.

        Raises:
            FwError: what the last attempt said.
        """
        transport = await self.transport()
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._attempt(transport, request, deadline)
                if response.status < 400:
                    return response
                outcome = _retry.Outcome(response.status, response.headers)
                error = await _error(response, deadline)
            except ConnectionFailed as fault:
                outcome, error = _retry.Outcome(None), fault
            wait = _retry.decide(
                attempt,
                outcome,
                max_retries=self.settings.max_retries,
                remaining=deadline.remaining(),
                wall=self.clock.wall(),
                draw=self.clock.draw(),
            )
            if wait is None:
                raise error
            await self.clock.sleep(wait)

    async def _attempt(self, transport: Transport, request: Request, deadline: Deadline) -> Response:
        remaining = deadline.remaining()
        headers = {**request.headers, "x-request-timeout": f"{remaining:.3f}"}
        async with within(deadline):
            return await transport.send(replace(request, headers=headers, timeout=remaining))

    async def json(self, request: Request, deadline: Deadline) -> tuple[Response, dict[str, Any]]:
        """A response and its whole body, which is a JSON object. A body that breaks off is not asked for again.

        Raises:
            FwError: see `send`.
            StreamInterrupted: the body broke off.
            InvalidReply: it is not a JSON object.
        """
        response = await self.send(request, deadline)
        return response, loads(await read(response, deadline))


async def read(response: Response, deadline: Deadline) -> bytes:
    """The whole body, or nothing: the exchange is closed when it cannot be read to its end."""
    try:
        async with within(deadline):
            return await response.read()
    except ConnectionFailed as fault:
        raise StreamInterrupted(f"the answer broke off: {fault.message}") from fault
    finally:
        await response.aclose()


def loads(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidReply: it is something else.
    """
    try:
        found = json.loads(body)
    except ValueError as fault:
        raise InvalidReply(f"the answer is no JSON ({len(body)} bytes).", hint="Is FW_URL a gateway?") from fault
    if not isinstance(found, dict):
        raise InvalidReply("the answer is no JSON object.", hint="Is FW_URL a gateway?")
    return found


async def _error(response: Response, deadline: Deadline) -> FwError:
    try:
        body = json.loads(await read(response, deadline))
    except (ValueError, StreamInterrupted):
        body = None
    found = body.get("error") if isinstance(body, dict) else None
    if isinstance(found, str):
        found = {"message": found}
    problem: Mapping[str, Any] = found if isinstance(found, dict) else {}
    error = from_status(response.status, problem, response.headers)
    decision = response.headers.get("x-fw-decision-id")
    error.telemetry = {**({"fw.decision.id": decision} if decision else {}), **response.attributes()}
    if (asked := _retry.told(response.headers, 0.0)) is not None and hasattr(error, "retry_after"):
        error.retry_after = asked
    return error
