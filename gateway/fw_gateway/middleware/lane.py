"""The short way through aiohttp's server, for what it has read whole: from its parser to the handler, with nothing between.

aiohttp makes an object of every request, wakes a task that makes another task for it, and asks the answer for what ours does not have. What is
whole when it has been read, and for a route of ours, needs none of that. aiohttp reads the bytes, as it does for all others: whatever is odd, or
has not come yet, or follows before the answer to this is out, is left to it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from fw_gateway.middleware import shape

Handlers = Mapping[tuple[str, str], Callable[[Any], Awaitable[web.StreamResponse]]]
"""By method and path."""
_log = logging.getLogger("fw.gateway")


class Incoming:
    """A request: of aiohttp's own, what the border asks for."""

    __slots__ = ("content", "headers", "keep_alive", "method", "protocol", "scheme", "version")

    can_read_body = True

    def __init__(self, message: Any, content: Any, protocol: Any, scheme: str) -> None:
        """`message` is the head, as aiohttp's parser reads it."""
        self.method: str = message.method
        self.headers: Mapping[str, str] = message.headers
        self.version = message.version
        self.keep_alive = not message.should_close
        self.content, self.protocol, self.scheme = content, protocol, scheme

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where they were announced."""
        found = self.headers.get("Content-Length")
        return None if found is None else int(found)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection; None when it is lost."""
        return self.protocol.transport  # type: ignore[no-any-return]

    @property
    def writer(self) -> "Incoming":
        """What can be waited for until the client has room for more."""
        return self

    async def drain(self) -> None:
        """Return when the client has room for more; raises when it is gone."""
        if self.protocol.transport is not None:
            await self.protocol._drain_helper()  # noqa: SLF001 - as aiohttp's own writer


def handler_of(handlers: Handlers, message: Any, content: Any) -> Callable[[Any], Awaitable[web.StreamResponse]] | None:
    """Who serves a request that has come whole, if it is one that may go the short way."""
    if type(message) is not RawRequestMessage or message.upgrade or not content.is_eof():
        return None
    found = handlers.get((message.method, message.path))
    if found is None or "Expect" in message.headers or not shape.plain_host(message.headers):
        return None
    return found


async def answered(handler: Callable[[Any], Awaitable[web.StreamResponse]], asked: Incoming) -> bool:
    """Serve a request; whether its connection may be kept."""
    try:
        answer = await handler(asked)
        await answer.prepare(asked)  # type: ignore[arg-type]
        await answer.write_eof()
    except ConnectionError:
        return False
    except Exception:  # noqa: BLE001 - the border has answered already; this connection alone is lost
        _log.exception("an answer was not written")
        return False
    return bool(answer.keep_alive)
