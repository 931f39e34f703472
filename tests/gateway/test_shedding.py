"""More than can be done is refused at once, in one place, before anything is spent on it; whoever only looks gets an answer."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from fw_gateway.middleware.lag import EVERY
from fw_gateway.middleware.limits import Limits
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import Exchange, Upstream, completion

LATE = 0.05


def busy(seconds: float) -> None:
    """Keep the loop from everything else."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def overloaded(client: Client) -> None:
    """Two measurements in a row that come late."""
    while not client.gateway.limits.lag.high:
        busy(EVERY + 2 * LATE)
        await asyncio.sleep(0)


async def test_a_loop_that_is_late_again_and_again_takes_no_new_work(upstream: Upstream, tmp_path: Path) -> None:
    """503 with `Retry-After`: no record, no attempt, nothing held; probes and what only reads are served; then it is over."""
    limits = Limits(2**20, 1000, max_lag=LATE)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), limits=limits) as client:
        # Handlers run without a turn of the loop in between: what is asked here is answered before the next measurement.
        for path, body, status in (("/v1/chat/completions", b"{}", 503), ("/livez", b"", 200), ("/readyz", b"", 200)):
            await overloaded(client)
            found = await (client.post(path, body) if body else client.get(path))
            assert found[0] == status
            if status == 503:
                assert (found[1]["retry-after"], found[1]["x-should-retry"]) == ("1", "true")
                assert json.loads(found[2])["error"]["code"] == "overloaded"
        assert (client.records, upstream.log, limits.held) == ([], [], 0)
        assert limits.refused["loop_lag"] == 1
        await until(lambda: not limits.lag.high)
        assert (await client.chat("one"))[0] == 200
        _, _, page = await client.get("/metrics")
        assert b'fw_requests_refused_total{reason="loop_lag"} 1' in page


async def test_one_long_step_is_no_overload(upstream: Upstream, tmp_path: Path) -> None:
    """A large body, or the garbage collector, makes one measurement late; the next one is not."""
    limits = Limits(2**20, 1000, max_lag=LATE)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), limits=limits) as client:
        await asyncio.sleep(EVERY)
        busy(EVERY + 4 * LATE)
        assert (await client.chat("one"))[0] == 200
        assert limits.refused["loop_lag"] == 0


async def test_a_refusal_keeps_the_connection(upstream: Upstream, tmp_path: Path) -> None:
    """A body that is there already is dropped; nobody has to connect anew while the server is short of time."""
    limits = Limits(2**20, 1000, max_bodies=1)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), limits=limits) as client:
        reader, writer = await client.connect()
        for _ in range(3):
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_that_do_not_fit_together_are_refused(upstream: Upstream, tmp_path: Path, chunked: bool) -> None:
    """By what they say, or while they come; what was counted is given back, and room is there when others have ended."""
    done = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await done.wait()
        await exchange.whole(200, completion())

    upstream.scripts["one"] = waits
    limits = Limits(2**20, 1000, max_bodies=1500)
    body = json.dumps({"model": "one", "messages": [{"role": "user", "content": "x" * 1000}]}).encode()
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), limits=limits) as client:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.post("/v1/chat/completions", body))
            await upstream.arrived.wait()
            assert limits.held == len(body)
            if chunked:
                reader, writer = await client.connect()
                head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                writer.write(head + b"%x\r\n%s\r\n" % (len(body), body))
                assert b" 503 " in await reader.readuntil(b"\r\n")
                writer.close()
            else:
                code, headers, _ = await client.post("/v1/chat/completions", body)
                assert (code, headers["retry-after"]) == (503, "1")
            assert limits.held == len(body)
            done.set()
        assert first.result()[0] == 200
        assert limits.held == 0
        assert (await client.post("/v1/chat/completions", body))[0] == 200
