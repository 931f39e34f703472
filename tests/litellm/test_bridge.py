"""The litellm bridge against a scripted Anthropic server: real litellm, real process, real socket."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from real_servers import litellm_python

from fw_gateway.catalog.providers import providers
from fw_gateway.config import Endpoint
from fw_gateway.errors import NoCandidate
from fw_gateway.providers.litellm_bridge import Bridge, base_url
from fw_policies.model import Target

pytestmark = [pytest.mark.litellm, pytest.mark.timeout(180)]

KEY = "sk-ant-a-key-that-must-not-show-9f1c"
ASK = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
USAGE = {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}
Script = Callable[[web.Request, Mapping[str, Any]], Awaitable[web.StreamResponse]]


class Anthropic:
    """A server that answers `/v1/messages` as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        """It answers with a greeting until told otherwise."""
        self.script: Script = self.greeting
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.left = asyncio.Event()
        self.url = ""

    async def start(self) -> web.AppRunner:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/v1/messages", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(({name.lower(): value for name, value in request.headers.items()}, body))
        return await self.script(request, body)

    async def greeting(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        """Say hello, whole or in pieces."""
        if not body.get("stream"):
            content = [{"type": "text", "text": "Hello there"}]
            return web.json_response(
                message(content=content, stop_reason="end_turn", usage=USAGE), headers={"request-id": "req_1"}
            )
        response = await begin(request)
        for piece in ("Hello", " there"):
            await send(response, "content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        await send(response, "content_block_stop", index=0)
        await send(response, "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE)
        await send(response, "message_stop")
        return response


def message(**more: Any) -> dict[str, Any]:
    """An Anthropic message."""
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_sequence": None}
    return {**base, "content": [], "stop_reason": None, "usage": USAGE, **more}


async def begin(request: web.Request) -> web.StreamResponse:
    """The first two events of every stream."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await send(response, "message_start", message=message())
    await send(response, "content_block_start", index=0, content_block={"type": "text", "text": ""})
    return response


async def send(response: web.StreamResponse, kind: str, **fields: Any) -> None:
    """One event."""
    await response.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())


@pytest.fixture
async def anthropic() -> AsyncIterator[Anthropic]:
    """The scripted server."""
    server = Anthropic()
    runner = await server.start()
    yield server
    await runner.cleanup()


@pytest.fixture
async def bridge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    """A bridge whose process has litellm."""
    monkeypatch.setenv("FW_LITELLM_PYTHON", litellm_python())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-the-environment")
    made = Bridge()
    yield made
    await made.stop()


def endpoint(url: str) -> Endpoint:
    """A deployment of Claude at this address."""
    target = Target("claude", "claude@anthropic", "anthropic", "claude-sonnet-4-5")
    return Endpoint(target, providers["anthropic"], url)


async def post(
    bridge: Bridge, url: str, body: Mapping[str, Any], path: str = "/chat/completions"
) -> tuple[int, Mapping[str, str], str]:
    """One exchange through the bridge, as an attempt makes it."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(await bridge.start())) as session,
        session.post(base_url(endpoint(url)) + path, json=body, headers={"Authorization": f"Bearer {KEY}"}) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.text()


async def test_answers_streams_and_refusals_come_as_openai_writes_them(bridge: Bridge, anthropic: Anthropic) -> None:
    """One process serves a whole answer, a stream, a 429 with its patience, and refuses what it cannot carry."""
    await whole_answer(bridge, anthropic)
    await streamed_answer(bridge, anthropic)
    await rate_limit(bridge, anthropic)
    await wrong_key(bridge, anthropic)
    await foreign_fields(bridge, anthropic)
    await broken_stream(bridge, anthropic)
    await client_leaves(bridge, anthropic)


async def whole_answer(bridge: Bridge, anthropic: Anthropic) -> None:
    """Text, finish reason and usage in OpenAI's fields; the key went to the provider as the provider wants it."""
    status, _, text = await post(bridge, anthropic.url, ASK)
    answer = json.loads(text)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["usage"]["prompt_tokens"] == 13
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    headers, body = anthropic.asked[-1]
    assert headers["x-api-key"] == KEY
    assert body["model"] == "claude-sonnet-4-5"
    assert body["max_tokens"] == 16


async def streamed_answer(bridge: Bridge, anthropic: Anthropic) -> None:
    """Server-sent events: pieces, a finish, a usage chunk without choices, the terminator."""
    status, headers, text = await post(
        bridge, anthropic.url, {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert status == 200
    assert headers["Content-Type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    spoken = [chunk for chunk in chunks if chunk["choices"]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in spoken) == "Hello there"
    assert spoken[-1]["choices"][0]["finish_reason"] == "stop"
    (usage,) = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert usage["completion_tokens"] == 3
    assert [chunk["choices"] for chunk in chunks if chunk.get("usage")] == [[]]


async def rate_limit(bridge: Bridge, anthropic: Anthropic) -> None:
    """A 429 keeps its status and its Retry-After, is asked for once, and shows no key."""

    async def refuse(_request: web.Request, _body: Mapping[str, Any]) -> web.StreamResponse:
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": f"slow down, {KEY}"}}
        return web.json_response(error, status=429, headers={"retry-after": "7"})

    anthropic.script = refuse
    for body in (ASK, {**ASK, "stream": True}):
        before = len(anthropic.asked)
        status, headers, text = await post(bridge, anthropic.url, body)
        assert status == 429
        assert json.loads(text)["error"]["type"] == "rate_limit_error"
        assert "slow down" in text
        assert KEY not in text
        assert headers["Retry-After"] == "7"
        assert len(anthropic.asked) == before + 1


async def wrong_key(bridge: Bridge, anthropic: Anthropic) -> None:
    """A 401 of the provider is a 401."""

    async def refuse(_request: web.Request, _body: Mapping[str, Any]) -> web.StreamResponse:
        error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        return web.json_response(error, status=401)

    anthropic.script = refuse
    status, _, text = await post(bridge, anthropic.url, ASK)
    assert status == 401
    assert json.loads(text)["error"]["type"] == "authentication_error"


async def foreign_fields(bridge: Bridge, anthropic: Anthropic) -> None:
    """An address, a credential or a callback in the body never reaches litellm."""
    before = len(anthropic.asked)
    for field in (
        "api_base",
        "base_url",
        "api_key",
        "extra_headers",
        "mock_response",
        "success_callback",
        "aws_region_name",
    ):
        status, _, text = await post(bridge, anthropic.url, {**ASK, field: "x"})
        assert status == 400
        assert field in json.loads(text)["error"]["message"]
    status, _, text = await post(bridge, anthropic.url, {"messages": []})
    assert status == 400
    assert len(anthropic.asked) == before


async def broken_stream(bridge: Bridge, anthropic: Anthropic) -> None:
    """A connection that dies between events ends the stream without a terminator."""

    async def break_off(request: web.Request, _body: Mapping[str, Any]) -> web.StreamResponse:
        response = await begin(request)
        await send(response, "content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"})
        assert request.transport is not None
        request.transport.abort()
        return response

    anthropic.script = break_off
    status, _, text = await post(bridge, anthropic.url, {**ASK, "stream": True})
    assert status == 200
    assert "Hel" in text
    assert "[DONE]" not in text
    assert '"error"' in text


async def client_leaves(bridge: Bridge, anthropic: Anthropic) -> None:
    """When the gateway lets go, so does the bridge: the provider sees the connection end."""

    async def dawdle(request: web.Request, _body: Mapping[str, Any]) -> web.StreamResponse:
        try:
            response = await begin(request)
            await send(response, "content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"})
            await asyncio.Event().wait()
        finally:
            anthropic.left.set()
        return response

    anthropic.script = dawdle
    url = base_url(endpoint(anthropic.url)) + "/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(await bridge.start())) as session:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await session.post(url, json={**ASK, "stream": True}, headers=headers)
        assert answer.status == 200
        assert await answer.content.readline()
        answer.close()
    async with asyncio.timeout(10):
        await anthropic.left.wait()


async def test_the_process_is_private_and_is_replaced_when_it_dies(bridge: Bridge, anthropic: Anthropic) -> None:
    """Its folder is the owner's alone, it holds no key, a killed one is replaced, and nothing is left after the end."""
    path = Path(await bridge.start())
    assert path.parent.stat().st_mode & 0o077 == 0
    first = bridge.pid
    assert first is not None
    if sys.platform == "linux":
        assert b"sk-from-the-environment" not in await asyncio.to_thread(Path(f"/proc/{first}/environ").read_bytes)
    os.kill(first, signal.SIGKILL)
    await bridge.wait()
    status, _, _ = await post(bridge, anthropic.url, ASK)
    assert status == 200
    second = bridge.pid
    assert second not in {None, first}
    await bridge.stop()
    assert bridge.pid is None
    assert not path.parent.exists()


async def test_without_litellm_the_refusal_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that has no litellm, and one that does not exist: both name the pip line."""
    for python in (sys.executable, "/nonexistent/python"):
        monkeypatch.setenv("FW_LITELLM_PYTHON", python)
        bridge = Bridge()
        with pytest.raises(NoCandidate, match="litellm") as refused:
            await bridge.start()
        assert "pip install 'litellm>=" in refused.value.hint
        await bridge.stop()


def test_the_providers_own_address_travels_in_the_path() -> None:
    """Without an address of its own a provider is reached where litellm knows it to be."""
    assert base_url(endpoint("")) == "http://litellm/anthropic/-/v1"
    assert base_url(endpoint("http://127.0.0.1:9/x?y")).startswith("http://litellm/anthropic/aHR0cDovLzEyNy4w")
