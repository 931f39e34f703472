"""The blocking client: the asynchronous one, driven by an event loop in a thread of its own. No logic is written twice."""

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from fwsdk._client import AsyncClient
from fwsdk._clock import SYSTEM, Clock
from fwsdk._money import Money
from fwsdk._reply import Reply
from fwsdk._stream import AsyncStream
from fwsdk._verify import Check
from fwsdk.config import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from fwsdk.run import AsyncRun, Step
from fwsdk.transport import Transport

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class Portal:
    """A thread with an event loop, started at the first call. Each call takes a copy of its caller's context with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    @property
    def started(self) -> bool:
        """Whether there is anything to end, in this process."""
        return self._loop is not None and self._pid == os.getpid()

    @property
    def inside(self) -> bool:
        """Whether this is the portal's own thread."""
        return self._thread is threading.current_thread()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise RuntimeError(
                "this client was made before a fork; its thread stayed in the parent: make one per process"
            )
        if self.inside:
            raise RuntimeError(
                "a blocking call from the client's own event loop would wait for itself; use AsyncClient"
            )
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_drive, args=(loop,), name="fwsdk", daemon=True)
                try:
                    thread.start()
                except BaseException:  # Ctrl-C may come in between: then there is nothing that would ever answer
                    if not loop.is_running():
                        loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def call(self, work: Coroutine[Any, Any, _R]) -> _R:
        """Run to the end; interrupted, it is cancelled over there too."""
        try:
            loop = self._running()
        except BaseException:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None and not self.inside:
            self._thread.join()


def _drive(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Facade(Generic[_T]):
    """An asynchronous object and the portal through which it is used."""

    def __init__(self, portal: Portal, inner: _T, owner: object = None) -> None:
        """`owner` is kept alive: a client that is forgotten closes, and must not while a stream of it is read."""
        self._portal = portal
        self._inner = inner
        self._owner = owner


def _blocking(
    method: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _R]],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Facade[Any], _P], _R]]:
    """The method with the same arguments that waits for the result of `method`."""

    def like(_outline: Callable[..., Any]) -> Callable[Concatenate[Facade[Any], _P], _R]:
        @functools.wraps(method)
        def call(self: Facade[Any], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            return self._portal.call(method(self._inner, *args, **kwargs))

        return call

    return like


def _streaming(
    method: Callable[Concatenate[AsyncClient, _P], AsyncStream],
) -> Callable[[Callable[..., Any]], "Callable[Concatenate[Client, _P], Stream]"]:
    def like(_outline: Callable[..., Any]) -> "Callable[Concatenate[Client, _P], Stream]":
        @functools.wraps(method)
        def call(self: "Client", /, *args: _P.args, **kwargs: _P.kwargs) -> "Stream":
            return Stream(self._portal, method(self._inner, *args, **kwargs), self)

        return call

    return like


def _running(
    method: Callable[Concatenate[AsyncClient, _P], AsyncRun],
) -> Callable[[Callable[..., Any]], "Callable[Concatenate[Client, _P], Run]"]:
    def like(_outline: Callable[..., Any]) -> "Callable[Concatenate[Client, _P], Run]":
        @functools.wraps(method)
        def call(self: "Client", /, *args: _P.args, **kwargs: _P.kwargs) -> "Run":
            return Run(self._portal, method(self._inner, *args, **kwargs), self)

        return call

    return like


class Stream(Facade[AsyncStream]):
    """Text, piece by piece: `for text in stream`. Afterwards `reply` is the whole answer. `with` cancels what is left on leaving."""

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return self._inner.text

    @property
    def reply(self) -> Reply:
        """The whole answer.

        Raises:
            RuntimeError: the stream has not been read to its end.
        """
        return self._inner.reply

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self._portal.call(self._inner.piece())
        if piece is None:
            raise StopIteration
        return piece

    @_blocking(AsyncStream.aclose)
    def close(self) -> None:
        """Leave. An exchange that is not over is cancelled."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Run(Facade[AsyncRun]):
    """One run of an agent. `with fw.run("coding") as run:`; its calls inherit the innermost step."""

    @property
    def id(self) -> str:
        """Of the run, everywhere: headers, traces, ledger."""
        return self._inner.id

    @property
    def agent(self) -> str:
        """Whose run it is."""
        return self._inner.agent

    @property
    def cost(self) -> Money:
        """What the calls of this run have cost so far; unknown as soon as one of them is."""
        return self._inner.cost

    def step(
        self,
        name: str,
        *,
        attempt: int = 1,
        index: int | None = None,
        task: str = "",
        path: str = "",
        verify: Check | None = None,
    ) -> Step:
        """A step of this run: `with run.step("plan"):`. `attempt` > 1: it is being repeated; `index` None: the next one.

        `verify`: a function of the reply that says whether it may count. Each call of the step returns the first answer that
        it accepts; a rejected one makes the gateway go on with its plan. See `Reply.verified`.
        """
        return self._inner.step(name, attempt=attempt, index=index, task=task, path=path, verify=verify)

    @_blocking(AsyncRun.outcome)
    def outcome(self) -> None:
        """Say what became of the run."""

    @_blocking(AsyncRun.explain)
    def explain(self) -> None:
        """What was done in this run, why, and what it cost."""

    def __enter__(self) -> Self:
        self._inner.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inner.leave(exc)


class Client(Facade[AsyncClient]):
    """Calls to a gateway, or to an engine in this process, each waiting for its answer. Works inside a running event loop too.

    Safe to share between threads. Not across a fork: a child makes its own, and is told so.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        transport: Transport | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`url` and `api_key` default to FW_URL and FW_API_KEY; `timeout` is in seconds for a whole call, retries included.

        Raises:
            ValueError: the url is no http(s) url, or a number is out of range.
        """
        inner = AsyncClient(url, api_key, timeout=timeout, max_retries=max_retries, transport=transport, clock=clock)
        super().__init__(Portal(), inner)
        self._ending = weakref.finalize(self, _end, self._portal, inner)

    @classmethod
    def embedded(
        cls, path: str | None = None, *, timeout: float = DEFAULT_TIMEOUT, max_retries: int = DEFAULT_RETRIES
    ) -> Self:
        """A client with a whole gateway in this process: no server needed. `path`: its config; None: the built-in one."""
        inner = AsyncClient.embedded(path, timeout=timeout, max_retries=max_retries)
        client = cls.__new__(cls)
        Facade.__init__(client, Portal(), inner)
        client._ending = weakref.finalize(client, _end, client._portal, inner)  # noqa: SLF001 - its own class
        return client

    @_blocking(AsyncClient.chat)
    def chat(self) -> None:
        """Ask, and get the whole answer."""

    @_streaming(AsyncClient.stream)
    def stream(self) -> None:
        """Ask, and get the answer as it is written."""

    @_blocking(AsyncClient.embed)
    def embed(self) -> None:
        """Vectors for one text or several."""

    @_blocking(AsyncClient.models)
    def models(self) -> None:
        """What may stand in `model`."""

    @_blocking(AsyncClient.explain)
    def explain(self) -> None:
        """What would be done with this call, or what was done."""

    @_blocking(AsyncClient.outcome)
    def outcome(self) -> None:
        """Say what became of a run or a decision."""

    @_blocking(AsyncClient.address)
    def address(self) -> None:
        """Base url and key for programs that speak only HTTP."""

    @_running(AsyncClient.run)
    def run(self) -> None:
        """A run of an agent."""

    def close(self) -> None:
        """Release connections, or the engine, and end the thread."""
        self._ending()

    def __repr__(self) -> str:
        return repr(self._inner).replace("AsyncClient", "Client", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _end(portal: Portal, inner: AsyncClient) -> None:
    """Also at interpreter exit, for a client nobody closed: an engine must not outlive its program."""
    if portal.inside:
        portal.stop()
    elif portal.started:
        try:
            portal.call(inner.close())
        finally:
            portal.stop()
