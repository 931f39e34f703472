"""HTTP to providers: one pool per upstream, connections only where the operator said, and the one map of exceptions to faults."""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fw_gateway import clock
from fw_gateway.config import Endpoint
from fw_gateway.exchange import READ, Line, NotHTTP, channelled
from fw_gateway.values import Fault
from fw_policies.model import Target

CONNECT = 3.0
"""Seconds to a connection, waiting for a free one included."""

KEEP_ALIVE = 2.0
"""Seconds an idle connection is kept by the pool, after the one by its line: less than the shortest of the servers behind it (uvicorn: 5 s)."""

RENEW = 14.0
"""Seconds for which an address that was looked up is used for new connections, and a connection to it for new requests: a record that
changes is honoured within twice that."""

LAST_GOOD = 300.0
"""Seconds for which the last address is used while names cannot be looked up."""

LOOKUP = 1.0
"""Seconds that looking up may take while there is a last good address."""

TIMEOUT = aiohttp.ClientTimeout(total=None, connect=CONNECT)
"""aiohttp's own limits; whoever calls has a deadline."""

NAMES = 256
"""Names of models that are remembered of an endpoint to which any is passed on."""

_USER_AGENT = "fwsdk"


class Refused(OSError):
    """A connection to a host that the operator did not configure."""


class _Aging(aiohttp.TCPConnector):
    """No connection is kept for longer than `age`."""

    def __init__(self, *, age: float | None, **options: Any) -> None:
        """`age`: seconds; a connection that is always busy would never notice that its server's address has changed. None: it has a fixed one."""
        super().__init__(**options)
        self._age = age
        self._born: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        made = await super()._create_connection(*args, **options)
        self._born[made] = clock.monotonic()
        return made

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        old = self._age is not None and clock.monotonic() - self._born.get(protocol, 0.0) > self._age
        super()._release(key, protocol, should_close=should_close or old)


class Guard(AbstractResolver):
    """Resolves the one host of its pool and no other: the egress guard. When names cannot be looked up, the last good answer holds for a while."""

    def __init__(self, host: str, inner: AbstractResolver | None = None) -> None:
        """`inner` looks names up; None: the system's own way, in a thread."""
        self._host = host
        self._inner = inner or aiohttp.ThreadedResolver()
        self._good: dict[tuple[int, int], tuple[float, list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of the host.

        Raises:
            Refused: it is another one.
            OSError: nobody knows, and nobody knew lately.
        """
        if host != self._host:
            raise Refused(f"{host} is not an upstream of this gateway")
        at, good = self._good.get((port, family), (0.0, []))
        try:
            async with asyncio.timeout(LOOKUP if good else None):
                found = await self._inner.resolve(host, port, family)
        except OSError:  # a timeout is one too
            if not good or clock.monotonic() - at > LAST_GOOD:
                raise
            return list(good)
        self._good[port, family] = (clock.monotonic(), list(found))
        return found

    async def close(self) -> None:
        """Stop looking names up."""
        await self._inner.close()


@dataclass(slots=True)
class Route:
    """Everything about one endpoint that does not change from call to call."""

    endpoint: Endpoint
    session: aiohttp.ClientSession
    line: Line
    base: str
    headers: dict[str, str]
    server: tuple[str, int]
    _named: dict[str, Target] = field(default_factory=dict)

    def named(self, model: str) -> Target:
        """The endpoint's target under the name that a caller has for it, where any is passed on."""
        found = self._named.get(model)
        if found is None:
            if len(self._named) >= NAMES:
                self._named.clear()
            found = self._named[model] = replace(self.endpoint.target, model=model, upstream_model=model)
        return found


class Upstreams:
    """Owns every connection to every provider."""

    def __init__(self) -> None:
        """Nothing is opened yet; needs a running loop from `route` on."""
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._routes: dict[str, Route] = {}

    def route(self, endpoint: Endpoint, *, url: str = "", key: str = "", socket_path: str = "") -> Route:
        """The route to an endpoint, made once. `url`, `key`, `socket_path`: of a process that this gateway started for it."""
        name = endpoint.target.deployment
        found = self._routes.get(name)
        if found is not None:
            return found
        base = (url or endpoint.url).rstrip("/")
        address = URL(base)
        origin = socket_path or f"{address.scheme}://{address.host}:{address.port}"
        session = self._sessions.get(origin)
        if session is None:
            session = self._sessions[origin] = _session(address, socket_path)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        secret = key or (endpoint.key.reveal() if endpoint.key is not None else "")
        if secret:
            header = endpoint.row.key_header
            headers[header] = f"Bearer {secret}" if header == "Authorization" else secret
        server = (address.host or "", address.port or 0)
        line = Line(_connector(session), address, headers, TIMEOUT)
        found = self._routes[name] = Route(endpoint, session, line, base, headers, server)
        return found

    def forget(self, endpoint: Endpoint) -> None:
        """Drop the route to an endpoint whose address has changed."""
        found = self._routes.pop(endpoint.target.deployment, None)
        if found is not None:
            found.line.close()

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for route in self._routes.values():
            route.line.close()
        self._routes.clear()
        for session in sessions:
            await session.close()


def connector_to(host: str, guard: Guard, *, renew: float = RENEW) -> aiohttp.TCPConnector:
    """Connections to one host, over IPv4 or IPv6, whichever answers first (RFC 8305)."""
    try:
        ipaddress.ip_address(host)
        age = None
    except ValueError:
        age = renew
    return _Aging(age=age, limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=max(1, int(renew)), resolver=guard)


def _connector(session: aiohttp.ClientSession) -> aiohttp.BaseConnector:
    if session.connector is None:
        raise RuntimeError("the upstreams are closed")
    return session.connector


def _session(address: URL, socket_path: str) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if socket_path:
        connector = aiohttp.UnixConnector(socket_path, limit=0, keepalive_timeout=KEEP_ALIVE)
    else:
        connector = connector_to(address.host or "", Guard(address.host or ""))
    channelled(connector)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ,
        timeout=TIMEOUT,
        trust_env=False,
    )


async def look(route: Route, path: str, seconds: float) -> bytes:
    """GET from the root of a server, beside its calls; empty when it has nothing there.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it did not answer, or not within so many seconds.
    """
    url = URL(route.base).with_path(path)
    async with asyncio.timeout(seconds), route.session.get(url, headers=route.headers, allow_redirects=False) as answer:
        return await answer.read() if answer.status == 200 else b""


async def health(route: Route, seconds: float) -> int:
    """The status with which a server answers when it is asked how it is, beside its calls.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it did not answer, or not within so many seconds.
    """
    url = URL(route.base).with_path("/health")
    async with asyncio.timeout(seconds), route.session.get(url, headers=route.headers, allow_redirects=False) as answer:
        return answer.status


_FAULTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (aiohttp.ConnectionTimeoutError, "timeout", "no connection to the upstream within its limit"),
    (aiohttp.ServerTimeoutError, "timeout", "the upstream was silent for too long"),
    (TimeoutError, "timeout", "the upstream was silent for too long"),
    (aiohttp.ClientConnectorError, "connection_error", "the upstream cannot be reached"),
    (aiohttp.ServerDisconnectedError, "connection_error", "the upstream closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "stream_interrupted", "the upstream's answer was cut short"),
    (NotHTTP, "invalid_response", "the upstream's answer is not HTTP"),
    (aiohttp.ClientResponseError, "invalid_response", "the upstream's answer is not HTTP"),
    (ConnectionError, "connection_error", "the connection to the upstream broke"),
    (aiohttp.ClientError, "connection_error", "the connection to the upstream failed"),
    (OSError, "connection_error", "the connection to the upstream failed"),
)
"""Exception -> error type, words. First match wins; nothing crosses untranslated."""

EXPECTED = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError)


def fault_of(exc: BaseException) -> Fault:
    """An exception of the network, as a value."""
    for kind, error_type, words in _FAULTS:
        if isinstance(exc, kind):
            return Fault(error_type, words, exception=type(exc).__name__)
    return Fault("_OTHER", "the upstream failed", exception=type(exc).__name__)


def retry_after(seconds: str | None, milliseconds: str | None) -> float | None:
    """Seconds that a provider asks to be left alone for: a number, or a date of HTTP. What cannot be read was not said."""
    for text, unit in ((milliseconds, 1e-3), (seconds, 1.0)):
        try:
            value = float(text or "x") * unit
        except ValueError:
            value = _until(text)
        if 0 <= value < 1e6:
            return value
    return None


def _until(text: str | None) -> float:
    """Seconds from now to a date of HTTP; -1 when it is none."""
    try:
        when = parsedate_to_datetime(text or "")
    except ValueError:
        return -1.0
    return max(0.0, when.timestamp() - clock.wall_ns() / 1e9)
