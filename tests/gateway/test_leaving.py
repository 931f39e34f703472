"""Clients that leave, deadlines that pass, and a server that goes down."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from fw_gateway.config import Secret
from fw_gateway.middleware.limits import Limits
from tests.gateway.conftest import Client, config_of, endpoint, running, text_of, until
from tests.gateway.upstream import HELLO, ROLE, STOP, Exchange, Script, Upstream, completion, silent, stalls, status

ALLOWANCE = 0.2
"""Seconds after which the upstream must know that the client has gone."""


async def stuck(exchange: Exchange) -> None:
    """Half of a whole answer, then nothing."""
    await exchange.head(200, "Content-Type: application/json", f"Content-Length: {len(completion())}")
    await exchange.write(completion()[:20])
    await exchange.gone.wait()


PHASES = {
    "before the headers": (silent, True, b""),
    "before the first token": (stalls(ROLE), True, b""),
    "in the middle of a stream": (stalls(ROLE, HELLO), True, b"Hello"),
    "not streaming, before the headers": (silent, False, b""),
    "not streaming, in the body": (stuck, False, b""),
}


@pytest.mark.parametrize(("script", "stream", "seen"), PHASES.values(), ids=PHASES.keys())
async def test_a_client_that_leaves_stops_the_upstream(
    client: Client, upstream: Upstream, script: Script, stream: bool, seen: bytes
) -> None:
    """Within 200 ms, whatever was going on; one record says so."""
    upstream.scripts["one"] = script
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    body = json.dumps({"model": "one", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await upstream.arrived.wait()
    if seen:
        await reader.readuntil(seen)
    left = time.monotonic()
    writer.close()
    async with asyncio.timeout(5):
        await upstream.log[0].gone.wait()
    assert upstream.log[0].gone_at - left < ALLOWANCE
    record = await client.recorded()
    assert (record.status, record.error_type, record.outcome) == (499, "client_disconnected", "failed")
    [attempt] = record.attempts
    assert (attempt.outcome, attempt.usage) == ("cancelled", None)
    assert attempt.stream_outcome == ("client_disconnected" if seen else "")
    assert client.gateway._worlds.deployments["one@here"].busy.count == 0
    assert len(client.records) == 1


async def test_a_client_that_leaves_while_it_is_tried_again_stops_that(client: Client, upstream: Upstream) -> None:
    """The provider asked for a second of patience; the client had less: nobody is asked again, and the record is written."""
    upstream.scripts["one"] = status(429, "Retry-After: 1")
    _, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    body = json.dumps({"model": "one", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await until(lambda: client.gateway._worlds.deployments["one@here"].circuit.limited_until)
    left = time.monotonic()
    writer.close()
    record = await client.recorded()
    assert time.monotonic() - left < ALLOWANCE
    assert (record.status, record.error_type) == (499, "client_disconnected")
    assert len(upstream.log) == 1
    assert client.gateway.limits.in_flight == 0


LATE = {
    "no headers": (silent, False),
    "no headers, streaming": (silent, True),
    "half an answer": (stuck, False),
    "a role": (stalls(ROLE), True),
}


@pytest.mark.parametrize(("script", "stream"), LATE.values(), ids=LATE.keys())
async def test_the_deadline_ends_what_has_not_begun(
    client: Client, upstream: Upstream, script: Script, stream: bool
) -> None:
    """504 in time, and nobody else is asked."""
    upstream.scripts["bad"] = script
    start = time.monotonic()
    code, _, body = await client.chat("pair", fields={"stream": stream}, x_request_timeout="0.3")
    assert code == 504
    assert json.loads(body)["error"]["code"] == "deadline_exceeded"
    assert 0.25 < time.monotonic() - start < 1.5
    assert upstream.count("good") == 0
    async with asyncio.timeout(2):
        await upstream.log[0].gone.wait()


async def test_the_deadline_ends_a_stream_in_band(client: Client, upstream: Upstream) -> None:
    """What came is kept; the error says why there is no more."""
    upstream.scripts["one"] = stalls(ROLE, HELLO)
    code, events = await client.stream("one", x_request_timeout="0.3")
    assert code == 200
    assert text_of(events[:-1]) == "Hello"
    assert json.loads(events[-1])["error"]["code"] == "deadline_exceeded"


async def test_the_servers_maximum_bounds_every_request(upstream: Upstream, tmp_path: Path) -> None:
    """However long a client would wait."""
    upstream.scripts["one"] = silent
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url), max_timeout=0.2)) as client:
        assert (await client.chat("one", x_request_timeout="3600"))[0] == 504
        assert (await client.chat("one"))[0] == 504


async def test_a_draining_server_finishes_what_it_began(client: Client, upstream: Upstream) -> None:
    """Readiness says 503 first; a stream under way ends well; new work is refused with `Retry-After`; then it is idle."""
    more = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.events(ROLE, HELLO)
        await more.wait()
        for found in (STOP, b"data: [DONE]\n\n", b""):
            await exchange.chunk(found)

    upstream.scripts["one"] = slow
    limits = client.gateway.limits
    assert (await client.get("/readyz"))[0] == 200
    async with asyncio.TaskGroup() as group:
        under_way = group.create_task(client.stream("one"))
        await upstream.arrived.wait()
        limits.drain()
        drained = group.create_task(limits.drained(5, asyncio.Event()))
        assert (await client.get("/readyz"))[0] == 503
        assert (await client.get("/livez"))[0] == 200
        code, headers, body = await client.chat("one")
        assert (code, headers["retry-after"], headers["x-should-retry"]) == (503, "1", "true")
        assert json.loads(body)["error"]["code"] == "draining"
        assert not drained.done()
        more.set()
    assert text_of(under_way.result()[1]) == "Hello"
    assert under_way.result()[1][-1] == "[DONE]"
    assert limits.in_flight == 0


async def test_a_drain_does_not_last_for_ever() -> None:
    """It ends when its time is over, and at once when somebody is in a hurry."""
    limits = Limits(1, 1)
    limits.enter()
    limits.drain()
    await limits.drained(0.01, asyncio.Event())
    hurry = asyncio.Event()
    hurry.set()
    async with asyncio.timeout(1):
        await limits.drained(60, hurry)


async def test_too_many_at_once_are_told_to_come_again(upstream: Upstream, tmp_path: Path) -> None:
    """The second of one is refused at once, and probes still get through."""
    upstream.scripts["one"] = silent
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url), max_in_flight=1)) as client:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.chat("one", x_request_timeout="0.5"))
            await upstream.arrived.wait()
            code, headers, _ = await client.chat("one")
            assert (code, headers["retry-after"]) == (503, "1")
            assert (await client.get("/livez"))[0] == 200
        assert first.result()[0] == 504


async def test_a_key_is_asked_for_everywhere_but_at_the_probes(upstream: Upstream, tmp_path: Path) -> None:
    """No key, a wrong key, another scheme: 401 on every route, known or in disguise."""
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), Secret("right")) as client:
        assert (await client.chat("one"))[0] == 401
        assert (await client.chat("one", authorization="Bearer wrong"))[0] == 401
        assert (await client.chat("one", authorization="Basic right"))[0] == 401
        assert (await client.chat("one", authorization="Bearer right"))[0] == 200
        for path in ("/v1/models", "/v1/decisions/x", "/v1/runs/x", "/metrics"):
            assert (await client.get(path))[0] == 401
        for path in ("/livez", "/readyz"):
            assert (await client.get(path))[0] == 200
        assert len(upstream.log) == 1


async def test_a_client_that_leaves_between_headers_and_body_leaves_nothing_behind(client: Client) -> None:
    """Promised bytes that never come: no record, nothing in flight."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    await until(lambda: client.gateway.limits.in_flight == 1)
    writer.close()
    await until(lambda: client.gateway.limits.in_flight == 0)
    assert client.records == []
