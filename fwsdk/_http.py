"""The transport over HTTP: one aiohttp session, opened at the first call, and the one map from its exceptions to ours."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from fwsdk._tracer import package_version
from fwsdk.config import require_network
from fwsdk.errors import ConnectionFailed, DeadlineExceeded, FwError
from fwsdk.transport import Request, Response

_CONNECT = 10.0
"""Seconds to get a connection."""
_HINT = "Is the gateway running? Start it with `fw up`, or set FW_URL."


class HttpTransport:
    """Calls to a gateway at `url`. The key goes there and nowhere else: redirects are not followed."""

    def __init__(self, url: str, api_key: str = "") -> None:
        """`url` without a path: `http://127.0.0.1:8400`."""
        self._url = url
        self._headers = {"user-agent": f"fwsdk/{package_version()}"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
            )
        return self._session

    async def send(self, request: Request) -> Response:
        """Make one exchange.

        Raises:
            ConnectionFailed: nothing came back.
            DeadlineExceeded: `request.timeout` ran out first.
            NetworkForbidden: a test forbade real calls.
        """
        require_network()
        timeout = aiohttp.ClientTimeout(total=request.timeout, sock_connect=min(_CONNECT, request.timeout))
        try:
            response = await self._open().request(
                request.method,
                self._url + request.path,
                headers=request.headers,
                data=request.body,
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as fault:
            raise _translated(fault, self._url) from fault
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, _Body(response, self._url))

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Body:
    """Bytes as they arrive. Closed before the end, the connection is dropped: that is how the gateway learns of it."""

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._response = response
        self._chunks = response.content.iter_any()
        self._url = url

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._response.release()
            raise
        except (aiohttp.ClientError, OSError) as fault:
            raise _translated(fault, self._url) from fault

    async def aclose(self) -> None:
        """Let go, at once."""
        self._response.close()


def _translated(fault: Exception, url: str) -> FwError:
    if isinstance(fault, aiohttp.ConnectionTimeoutError):
        return ConnectionFailed(f"no connection to {url} within {_CONNECT:.0f} s.", hint=_HINT)
    if isinstance(fault, TimeoutError | asyncio.TimeoutError):
        return DeadlineExceeded("time ran out before the answer was complete.", hint="Give the call a larger timeout.")
    if isinstance(fault, aiohttp.ClientConnectorError):
        return ConnectionFailed(f"cannot reach {url}: {fault.os_error.strerror or fault}.", hint=_HINT)
    return ConnectionFailed(f"the connection to {url} broke: {type(fault).__name__}: {fault}.")
