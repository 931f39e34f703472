"""A client that is slow costs a connection for a while, and nobody else anything; then it is closed, and so is what it asked for."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fw_gateway.middleware.connections import Patience, origin
from fw_gateway.middleware.limits import Limits
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import HELLO, ROLE, Exchange, Upstream, event

HASTE = Patience(head=0.4, take=0.6, idle=1.2)
SLACK = 0.5
"""Seconds that a busy machine may add."""
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
async def hasty(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """A gateway without patience."""
    limits = Limits(2**20, 1000, stall=0.4, grace=0.8)
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), limits=limits, patience=HASTE) as it:
        yield it


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a little, again and again, until nobody listens any more."""
    while not writer.transport.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.02)


async def closed_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes) -> tuple[bytes, float]:
    """What was answered until the connection ended, and after how many seconds it did, though `piece` kept coming."""
    start = time.monotonic()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        dripping = group.create_task(drip(writer, piece))
        answer = b""
        with contextlib.suppress(ConnectionError):  # what is sent to a closed door comes back as a reset
            while data := await reader.read(65536):
                answer += data
        dripping.cancel()
    writer.close()
    return answer, time.monotonic() - start


async def test_a_connection_that_says_nothing_is_closed(hasty: Client) -> None:
    """Without a word, within the limit of the head and not before its last eighth."""
    start = time.monotonic()
    reader, writer = await hasty.connect()
    assert await reader.read() == b""
    assert 0.75 * HASTE.head < time.monotonic() - start < HASTE.head + SLACK
    writer.close()
    assert hasty.gateway.limits.refused["slow_headers"] == 1


@pytest.mark.parametrize("before", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second request"])
async def test_headers_that_come_drop_by_drop_are_not_waited_for(hasty: Client, before: bytes) -> None:
    """However steadily: 408, and the end, on a fresh connection and on a used one."""
    reader, writer = await hasty.connect()
    if before:
        writer.write(before)
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    writer.write(POST)
    answer, seconds = await closed_after(reader, writer, b"x-a: b\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    assert seconds < HASTE.head + SLACK


async def test_a_kept_connection_may_rest_longer_than_a_head_may_take(hasty: Client) -> None:
    """Between requests it is idle, not late, also when the last one's body came apart from its head; then it is closed."""
    reader, writer = await hasty.connect()
    body = b'{"model": 7}'
    for _ in range(2):
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        await until(lambda: hasty.gateway.limits.in_flight == 1)
        writer.write(body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 400 " in head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        start = time.monotonic()
        await asyncio.sleep(HASTE.head * 1.5)
    assert await reader.read() == b""
    assert HASTE.head < time.monotonic() - start < HASTE.idle + SLACK
    writer.close()


async def test_a_long_answer_is_no_reason_to_close(hasty: Client, upstream: Upstream) -> None:
    """A request that is being served waits for the upstream as long as it likes, with the next head half sent."""
    done = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await done.wait()
        await exchange.whole(200, b'{"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}')

    upstream.scripts["one"] = slow
    reader, writer = await hasty.connect()
    body = b'{"model":"one","messages":[{"role":"user","content":"Hi"}]}'
    writer.write(POST + b"Content-Length: %d\r\n\r\n%sGET /li" % (len(body), body))
    await upstream.arrived.wait()
    await asyncio.sleep(HASTE.head * 2)
    done.set()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


BODIES = {"nothing more": (b"", 0.4), "too slow on the whole": (b"x", 0.8)}


@pytest.mark.parametrize(("piece", "limit"), BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_does_not_come_is_not_waited_for(hasty: Client, piece: bytes, limit: float) -> None:
    """408 after half a minute without progress, or when it comes slower than anybody sends; nothing of it is kept."""
    reader, writer = await hasty.connect()
    writer.write(POST + b"Content-Length: 100000\r\n\r\n{")
    answer, seconds = await closed_after(reader, writer, piece)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert limit * 0.75 < seconds < limit + SLACK
    assert (hasty.gateway.limits.held, hasty.gateway.limits.in_flight) == (0, 0)


async def endless(exchange: Exchange) -> None:
    """A stream that never ends."""
    await exchange.events(ROLE, HELLO)
    more = event({"content": "x" * 65536})
    while not exchange.gone.is_set():
        await exchange.chunk(more)


STREAM = b'{"model":"one","stream":true,"messages":[{"role":"user","content":"Hi"}]}'


async def test_a_reader_that_takes_nothing_is_closed_and_its_upstream_too(hasty: Client, upstream: Upstream) -> None:
    """Within the limit, whatever is still to be written; the call is recorded as left."""
    upstream.scripts["one"] = endless
    _, writer = await hasty.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    start = time.monotonic()
    writer.write(POST + b"Content-Length: %d\r\n\r\n%s" % (len(STREAM), STREAM))
    await upstream.arrived.wait()
    async with asyncio.timeout(10):
        await upstream.log[0].gone.wait()
    assert HASTE.take * 0.75 < time.monotonic() - start < HASTE.take + 1 + SLACK
    record = await hasty.recorded()
    assert (record.status, record.error_type) == (499, "client_disconnected")
    assert hasty.gateway.limits.refused["slow_reader"] == 1
    await until(lambda: not hasty.door.open)
    writer.close()


async def test_a_reader_that_takes_a_little_is_kept(hasty: Client, upstream: Upstream) -> None:
    """Slow is not gone: what the kernel could send is progress."""
    upstream.scripts["one"] = endless
    reader, writer = await hasty.connect()
    writer.write(POST + b"Content-Length: %d\r\n\r\n%s" % (len(STREAM), STREAM))
    end = time.monotonic() + 4 * HASTE.take
    while time.monotonic() < end:
        assert await reader.read(65536)
        await asyncio.sleep(0.02)
    assert hasty.gateway.limits.refused["slow_reader"] == 0
    writer.close()
    await until(lambda: not hasty.door.open)


@pytest.mark.parametrize("cap", ["max_connections", "max_connections_per_address"])
async def test_more_connections_than_allowed_are_answered_and_closed(
    upstream: Upstream, tmp_path: Path, cap: str
) -> None:
    """503 with `Retry-After`, at once; when one has left there is room again."""
    config = config_of(tmp_path, endpoint("one", "here", upstream.url), **{cap: 2})
    async with running(config) as client:
        held = [await client.connect() for _ in range(2)]
        await until(lambda: len(client.door.open) == 2)
        reader, writer = await client.connect()
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        held.pop()[1].close()
        await until(lambda: len(client.door.open) == 1)
        assert (await client.get("/livez"))[0] == 200
        for _, one in held:
            one.close()


def test_an_address_stands_for_whoever_can_change_it() -> None:
    """One IPv4 address; the /64 of an IPv6 address; an IPv4 address in disguise is itself."""
    assert origin("192.0.2.7") == "192.0.2.7"
    assert origin("2001:db8:1:2:3::4") == origin("2001:db8:1:2:ffff::") == "2001:db8:1:2::"
    assert origin("::ffff:192.0.2.7") == "192.0.2.7"
