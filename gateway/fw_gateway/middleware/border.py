"""The border between HTTP and the gateway: an id, the gate, the limits, then the endpoint; every failure leaves as an answer."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from types import MappingProxyType

from aiohttp import web
from aiohttp.typedefs import Handler

from fw_gateway import clock
from fw_gateway.errors import BadRequest, GatewayError, Internal, UnknownRoute, WrongMethod, written
from fw_gateway.middleware import shape
from fw_gateway.middleware.answer import Answer
from fw_gateway.middleware.auth import Gate
from fw_gateway.middleware.limits import Limits, SlowBody
from fw_gateway.middleware.sparing import Sparing
from fw_gateway.providers.protocols import refused
from fw_gateway.values import Reply, Request

Endpoint = Callable[[Request], Awaitable[Reply]]
_log = logging.getLogger("fw.gateway")
SERVER = "fw"
"""What the answer says of its maker: no versions."""
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NOTHING = b""
_NONE: Mapping[str, str] = MappingProxyType({})


http_log = logging.getLogger("fw.http")
for _spared in (_log, http_log):
    _spared.addFilter(Sparing())


def request_id(request: web.Request) -> str:
    """The caller's own id when it is a sane one, else a fresh one."""
    given = request.headers.get("X-Request-Id", "")
    return given if given and _ID.fullmatch(given) else clock.ulid()


def entry(endpoint: Endpoint, route: str, gate: Gate, limits: Limits) -> Handler:
    """An aiohttp handler around an endpoint."""
    fixed = "{" not in route

    async def handle(request: web.Request) -> web.StreamResponse:
        started_ns, started = clock.wall_ns(), clock.monotonic()
        name = request_id(request)
        body = _NOTHING
        limits.enter()
        try:
            key = gate.check(request, route)
            limits.admit(request)
            if request.method == "POST":
                body = await limits.read(request)
            asked = Request(
                request.method,
                route,
                request.headers,
                body,
                name,
                started_ns,
                started,
                scheme=request.scheme,
                server=_address(request),
                key_id=key,
                parameters=_NONE if fixed else request.match_info,
            )
            reply = await endpoint(asked)
            return await respond(request, reply, name)
        except SlowBody as error:
            return await _dismiss(request, refuse(request, error, name, route))
        except GatewayError as error:
            return refuse(request, error, name, route)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 - the border: a bug must not become a traceback on the wire
            _log.exception("request %s failed", name)
            return refuse(
                request, Internal("This is a bug of the gateway.", hint=f"Report request {name}."), name, route
            )
        finally:
            limits.leave(len(body))

    return handle


def straight(handlers: Mapping[tuple[str, str], Handler], otherwise: Handler) -> Handler:
    """A handler that leads requests for a fixed route (method, path) straight to it, and all others, or odd ones, to `otherwise`.

    The target is compared byte for byte: what is equal to a route in proper form is in proper form, and needs no router.
    """

    def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
        found = handlers.get((request.method, request.raw_path))
        if found is None or "Expect" in request.headers or not shape.plain_host(request.headers):
            return otherwise(request)
        return found(request)

    return handle


def expectation(route: str, gate: Gate, limits: Limits) -> Callable[[web.Request], Awaitable[None]]:
    """What answers `Expect: 100-continue`: nothing where the handler is going to refuse, so that the body is never sent."""

    async def answer(request: web.Request) -> None:
        try:
            shape.check(request)
            gate.check(request, route)
            limits.admit(request)
        except GatewayError:
            return
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    return answer


async def _dismiss(request: web.Request, response: Answer) -> Answer:
    """Answer and close at once: the rest of a body that does not come is not waited for."""
    await response.prepare(request)
    await response.write_eof()
    request.protocol.force_close()
    return response


def _address(request: web.Request) -> tuple[str, int]:
    """Where the client reached us."""
    known = getattr(request.protocol, "address", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    transport = request.transport
    return address_of(transport) if transport is not None else ("", 0)


def address_of(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """The local end of a connection; empty for one that has no address."""
    found = transport.get_extra_info("sockname")
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else ("", 0)


async def respond(request: web.Request, reply: Reply, name: str) -> web.StreamResponse:
    """Write a reply; a stream is closed whatever happens to the client."""
    headers, body = reply.headers, reply.body
    headers.setdefault("x-request-id", name)
    headers["Server"] = SERVER
    if not "".join(headers.values()).isprintable():
        for header, value in headers.items():  # a name out of the request, or whatever an upstream calls its content
            headers[header] = "".join([sign if sign.isprintable() else "?" for sign in value])
    if isinstance(body, bytes):
        return Answer(reply.status, headers, body)
    answer = Answer(reply.status, headers)
    try:
        await answer.prepare(request)
        await answer.relay(body)
        await answer.write_eof()
    except Exception as fault:
        if not answer.begun:
            raise
        if not isinstance(fault, ConnectionError):  # which says that the client is gone
            _log.exception("request %s failed within its answer", name)
        answer.send()
        answer.over = True
        request.protocol.force_close()
    finally:
        closer = getattr(body, "aclose", None)
        if closer is not None:
            await closer()
    return answer


def refuse(
    request: web.Request, error: GatewayError, name: str, route: str = "", *, more: Mapping[str, str] = _NONE
) -> Answer:
    """An error of ours, in the shape that clients of the route know. A body that has not come ends the connection with it."""
    headers = {
        "x-request-id": name,
        "Content-Type": "application/json",
        "x-should-retry": "false",
        "Server": SERVER,
        **more,
    }
    if error.retry_after is not None:
        headers["Retry-After"] = str(ceil(error.retry_after))
        headers["x-should-retry"] = "true"
    response = Answer(error.status, headers, written(refused(route, error.body(), error.status)))
    if request.can_read_body and not request.content.is_eof():
        response.force_close()
    return response


@web.middleware
async def unmatched(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Requests in no proper form, unknown routes and wrong methods, in the same shape as every other error."""
    try:
        shape.check(request)
        return await handler(request)
    except BadRequest as fault:
        response = refuse(request, fault, request_id(request))
        response.force_close()
        return response
    except web.HTTPMethodNotAllowed as fault:
        allowed = ", ".join(sorted(fault.allowed_methods))
        error: GatewayError = WrongMethod(
            f"{request.method[:20]} is not served at {request.path[:100]}.", hint=f"Use {allowed}."
        )
        return refuse(request, error, request_id(request), more={"Allow": allowed})
    except web.HTTPException as fault:
        if fault.status != 404:
            raise
        error = UnknownRoute(f"Nothing is served at {request.path[:100]}.", hint="GET /v1/models lists the models.")
        return refuse(request, error, request_id(request))
