"""The one seam between a client and the world: HTTP, or the engine in the same process. Public: your tests may bring their own.

A transport turns one `Request` into one `Response`. It raises nothing of its own but `fwsdk.errors.ConnectionFailed` and
`fwsdk.errors.DeadlineExceeded`; an HTTP status, whatever it is, is a `Response`.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Request:
    """One exchange to be made. `timeout` is in seconds from now, for the whole exchange."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float = 600.0


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(slots=True)
class Response:
    """What came back. `body` yields bytes as they arrive and must be exhausted or closed with `aclose`."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: AsyncIterator[bytes]
    close: Callable[[], Any] | None = None
    """Awaitable-returning closer, if the transport needs one."""
    attributes: Callable[[], Mapping[str, Any]] = _nothing
    """After the body's end: span attributes for the caller's own chat span. Empty over HTTP, where the gateway has a span of its own."""

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.body])

    async def aclose(self) -> None:
        """Let go of the exchange; cancels it when it is not over."""
        closer = getattr(self.body, "aclose", None)
        if closer is not None:
            await closer()
        if self.close is not None:
            await self.close()


@runtime_checkable
class Transport(Protocol):
    """What a client needs of the world."""

    async def send(self, request: Request) -> Response:
        """Make one exchange.

        Raises:
            ConnectionFailed: nothing came back at all.
            DeadlineExceeded: `request.timeout` ran out before the response began.
        """
        ...

    async def aclose(self) -> None:
        """Release everything."""
        ...


@runtime_checkable
class Engine(Transport, Protocol):
    """A transport that is a whole gateway in this process (entry point group `fwsdk.engine`)."""

    async def listen(self) -> tuple[str, str]:
        """Open (once) a loopback listener on a free port, for frameworks that speak only HTTP; its base url (ending in `/v1`) and its random key."""
        ...
