"""The transport over HTTP, against real servers on this machine."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from fwsdk import AsyncClient, ConnectionFailed, DeadlineExceeded, InvalidReply, NotFound, StreamInterrupted, testing

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
WHOLE = testing.completion("hello").chunks[0]


async def test_a_call_over_a_real_socket(served: Serve) -> None:
    """Key, agent and time travel as headers; cost comes back as one."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        assert (await request.json())["messages"][0]["content"] == "grüße"
        return web.Response(body=WHOLE, headers={"X-FW-Cost": "0.001", "content-type": "application/json"})

    async with AsyncClient(await served(handler) + "/v1/", "sekrit") as fw, fw.run("coding") as run:
        assert (await fw.chat("grüße", timeout=5)).text == "hello"
        assert str(run.cost) == "$0.001"
    assert seen[0].path == "/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sekrit"
    assert seen[0].headers["x-fw-agent"] == "coding"
    assert 4 < float(seen[0].headers["x-request-timeout"]) <= 5


async def test_a_stream_over_a_real_socket_cut_anywhere(served: Serve) -> None:
    """One byte at a time is as good as any."""
    script = b"".join(testing.stream("grü", "ße", receipt={"cost": "0.5"}).chunks)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for at in range(len(script)):
            await response.write(script[at : at + 1])
        return response

    async with AsyncClient(await served(handler)) as fw:
        answer = fw.stream("hi")
        assert "".join([piece async for piece in answer]) == "grüße"
    assert str(answer.reply.cost) == "$0.5"


async def test_closing_a_stream_early_reaches_the_server(served: Serve, until: Until) -> None:
    """It sees the client go, at once."""
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(testing.stream("a", finish_reason=None).chunks))
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return response

    async with AsyncClient(await served(handler)) as fw:
        async with fw.stream("hi") as answer:
            assert await anext(answer) == "a"
        await until(gone.is_set)


async def test_nothing_outlives_its_deadline(served: Serve) -> None:
    """Neither a server that never answers, nor one that stops in the middle; what had come is kept."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if not json.loads(await request.read()).get("stream"):
            await asyncio.Event().wait()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(testing.stream("a", finish_reason=None).chunks))
        await asyncio.Event().wait()
        return response

    async with AsyncClient(await served(handler)) as fw:
        with pytest.raises(DeadlineExceeded):
            await fw.chat("hi", timeout=0.2)
        with pytest.raises(DeadlineExceeded) as raised:
            async for _ in fw.stream("hi", timeout=0.3):
                pass
        assert raised.value.text == "a"


async def test_a_connection_cut_in_the_middle_is_never_a_success(served: Serve) -> None:
    """Neither in a stream nor in a whole answer; and the call is not made again."""
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        response = web.StreamResponse(headers={"content-length": "9999"})
        await response.prepare(request)
        await response.write(testing.stream("a", finish_reason=None).chunks[1])
        assert request.transport is not None
        request.transport.abort()
        return response

    async with AsyncClient(await served(handler)) as fw:
        with pytest.raises(StreamInterrupted) as raised:
            async for _ in fw.stream("hi"):
                pass
        assert raised.value.text == "a"
        with pytest.raises(StreamInterrupted):
            await fw.chat("hi")
    assert calls == 2


async def test_a_gateway_that_is_not_there_is_named_with_the_cure() -> None:
    """After the retries, and at once: a refused connection costs no time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with AsyncClient(f"http://127.0.0.1:{port}", clock=testing.ManualClock()) as fw:
        with pytest.raises(ConnectionFailed, match="fw up"):
            await fw.chat("hi")


async def test_the_key_does_not_follow_a_redirect(served: Serve) -> None:
    """A redirect is not followed; it is no answer."""
    elsewhere: list[web.Request] = []

    async def thief(request: web.Request) -> web.StreamResponse:
        elsewhere.append(request)
        return web.Response(body=WHOLE)

    target = await served(thief)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/models"):
            return web.Response(status=404, text="<html>")
        raise web.HTTPTemporaryRedirect(target)

    async with AsyncClient(await served(handler), "sekrit") as fw:
        with pytest.raises(InvalidReply):
            await fw.chat("hi")
        with pytest.raises(NotFound):
            await fw.models()
    assert elsewhere == []
