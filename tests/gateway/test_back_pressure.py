"""A reader that is slower than its upstream slows the upstream down; what it has not taken is not kept here."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.gateway.test_process import up
from tests.gateway.upstream import HELLO, ROLE, Exchange, Upstream, event

STREAMS = 12
LONGEST = 100_000_000
MIB = 2**20
BODY = json.dumps({"model": "one", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()


def memory(pid: int, what: str) -> int:
    """Bytes: `VmHWM` the most there ever was, `VmRSS` now."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_slow_reader_costs_less_than_a_mebibyte(upstream: Upstream, tmp_path: Path) -> None:
    """Of streams of 100 MB that are read at 10 KB/s, under one MiB each is held, everything else of the connection included."""
    sent: dict[int, int] = {}

    async def long(exchange: Exchange) -> None:
        await exchange.events(ROLE, HELLO)
        more = event({"content": "x" * 16_000})
        me = len(sent)
        sent[me] = 0
        while sent[me] < LONGEST and not exchange.gone.is_set():
            await exchange.chunk(more)
            sent[me] += len(more)

    upstream.scripts["one"] = long
    process, url = await up(tmp_path, upstream.url)
    port = int(url.rsplit(":", 1)[1])

    async def asked() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        return reader, writer

    clients = [await asked()]
    before = memory(process.pid, "VmHWM")
    clients += [await asked() for _ in range(STREAMS)]
    last: dict[int, int] = {}
    while last != sent:  # until nothing moves any more
        last = dict(sent)
        for reader, _ in clients:
            await reader.read(2_000)
        await asyncio.sleep(0.2)
    assert max(sent.values()) < LONGEST / 4
    assert (memory(process.pid, "VmHWM") - before) / STREAMS < MIB
    for _, writer in clients:
        writer.transport.abort()
    process.terminate()
    async with asyncio.timeout(15):
        assert await process.wait() == 0
