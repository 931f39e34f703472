"""The engine in the caller's own process: the same gateway, the same plans, the same traces, and no socket in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from math import ceil
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from fw_gateway import clock
from fw_gateway.app import Gateway, address
from fw_gateway.config import Secret, load
from fw_gateway.endpoints.request import Request as Asked
from fw_gateway.endpoints.request import reply as refused
from fw_gateway.errors import GatewayError, UnknownRoute
from fw_gateway.telemetry import call_attributes
from fw_gateway.values import Reply
from fwsdk import errors
from fwsdk.transport import Request, Response

_LOOPBACK = "127.0.0.1"


class EmbeddedEngine:
    """A gateway behind a transport. It lives on the loop of its first call, until `aclose`."""

    def __init__(self, gateway: Gateway) -> None:
        """`gateway` is not started yet."""
        self._gateway = gateway
        self._lock = asyncio.Lock()
        self._started = False
        self._runner: web.AppRunner | None = None
        self._listener: tuple[str, str] | None = None
        self._saved = clock.monotonic()

    async def send(self, request: Request) -> Response:
        """Answer in process.

        Raises:
            DeadlineExceeded: the time ran out before the answer began.
        """
        await self._start()
        try:
            async with asyncio.timeout(request.timeout):
                reply = await self._answer(request)
        except TimeoutError:
            raise errors.DeadlineExceeded(f"no answer within {request.timeout:g} s") from None
        if clock.monotonic() - self._saved > 10.0:
            self._saved = clock.monotonic()
            await self._gateway.save_now()
        return _response(reply)

    async def _answer(self, request: Request) -> Reply:
        try:
            endpoint, route, parameters = self._match(request)
        except UnknownRoute as error:
            return self._refusal(error)
        headers = CIMultiDict(request.headers)
        headers.setdefault("x-request-timeout", f"{request.timeout:g}")
        asked = Asked(
            request.method,
            route,
            headers,
            request.body or b"",
            headers.get("x-request-id") or clock.ulid(),
            clock.wall_ns(),
            clock.monotonic(),
            embedded="traceparent" in headers,
            parameters=parameters,
        )
        try:
            reply: Reply = await endpoint(asked)
        except GatewayError as error:
            reply = self._refusal(error)
        reply.headers.setdefault("x-request-id", asked.request_id)
        return reply

    def _refusal(self, error: GatewayError) -> Reply:
        headers = {"x-should-retry": "false"}
        if error.retry_after is not None:
            headers = {"x-should-retry": "true", "Retry-After": str(ceil(error.retry_after))}
        refusal = refused(error.body(), error.status)
        refusal.headers.update(headers)
        return refusal

    def _match(self, request: Request) -> tuple[Any, str, Mapping[str, str]]:
        for method, path, endpoint in self._gateway.routes:
            if method != request.method:
                continue
            if path == request.path:
                return endpoint, path, {}
            stem, brace, end = path.partition("{id}")
            rest = request.path.removeprefix(stem)
            if brace and rest != request.path and rest.endswith(end):
                rest = rest.removesuffix(end)
            else:
                continue
            if rest and "/" not in rest:
                return endpoint, path, {"id": rest}
        raise UnknownRoute(f"Nothing is served at {request.method} {request.path}.")

    async def _start(self) -> None:
        async with self._lock:
            if not self._started:
                self._started = True
                await self._gateway.start(models=False)

    async def listen(self) -> tuple[str, str]:
        """A loopback listener with a key of its own, opened once; its base url and the key."""
        await self._start()
        async with self._lock:
            if self._listener is None:
                key = clock.secret()
                runner = self._gateway.runner(Secret(key))
                await runner.setup()
                await web.TCPSite(runner, _LOOPBACK, 0).start()
                self._gateway.listening = True
                self._runner = runner
                self._listener = (f"{address(_LOOPBACK, runner.addresses[0][1])}/v1", key)
            return self._listener

    async def aclose(self) -> None:
        """End it, and whatever it started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._started:
            self._started = False
            await self._gateway.stop()


def _response(reply: Reply) -> Response:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    body = reply.body if not isinstance(reply.body, bytes) else _once(reply.body)

    def attributes() -> Mapping[str, Any]:
        record = reply.record
        return (
            call_attributes(record) if record is not None and record.ended else {}
        )  # an answer may still wait for a verdict

    return Response(reply.status, headers, body, attributes=attributes)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def open_engine(config: str | None = None) -> EmbeddedEngine:
    """The engine for a config file, or for the built-in config.

    Raises:
        ConfigError: the config cannot be used.
    """
    return EmbeddedEngine(Gateway(load(config)))
