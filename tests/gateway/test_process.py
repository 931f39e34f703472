"""The server as a process: ready when it says so, and gone when it is told to go, after what it had begun."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.conftest import data_of, text_of
from tests.gateway.upstream import DONE, HELLO, ROLE, STOP, Exchange, Upstream

BODY = {"model": "one", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


async def up(folder: Path, url: str) -> tuple[asyncio.subprocess.Process, str]:
    """`fw up` on a free port, and its url from the line it prints when ready."""
    config = folder / "fw.yaml"
    config.write_text(f"models:\n  one:\n    deployments: [{{provider: vllm, url: '{url}', machine_hour: 1 USD}}]\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fw_gateway", "up", "-c", str(config), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env={**clean, "FW_STATE_DIR": str(folder / "state")},
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await process.stdout.readline()
    return process, line.decode().split()[-1]


@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_lets_streams_end_and_a_second_one_does_not(
    upstream: Upstream, tmp_path: Path, signals: int
) -> None:
    """After one signal readiness is 503 and the stream ends whole; after two it is cut, never silently. Both end with 0."""
    more = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.events(ROLE, HELLO)
        await more.wait()
        for found in (STOP, DONE, b""):
            await exchange.chunk(found)

    upstream.scripts["one"] = slow
    process, url = await up(tmp_path, upstream.url)
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=BODY) as answer:
        first = await answer.content.readany()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while True:
                async with session.get(f"{url}/readyz") as ready:
                    if ready.status == 503:
                        break
        if signals == 1:
            more.set()
            events = data_of(first + await answer.content.read())
            assert text_of(events) == "Hello"
            assert events[-1] == "[DONE]"
        else:
            process.send_signal(signal.SIGTERM)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
    async with asyncio.timeout(15):
        assert await process.wait() == 0
    more.set()
