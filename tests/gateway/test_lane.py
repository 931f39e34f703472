"""The short way through aiohttp's server, over real sockets: what goes it, what does not, and that no client can tell."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from fw_gateway.middleware import connections, lane
from fw_gateway.middleware.answer import Answer
from fw_gateway.middleware.connections import Patience
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import HELLO, ROLE, Exchange, Script, Upstream, ok, stalls

HASTE = Patience(head=0.4, take=60.0, idle=0.6)


def asked(*more: str, stream: bool = False, version: str = "1.1") -> bytes:
    """A request for a chat, with more headers."""
    body = json.dumps({"model": "one", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    lines = [f"POST /v1/chat/completions HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer, which has a length."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return int(head.split(b" ", 2)[1]), await reader.readexactly(size)


def held(open_: asyncio.Event) -> Script:
    """An answer that does not come before it is let go."""

    async def script(exchange: Exchange) -> None:
        await open_.wait()
        await ok(exchange)

    return script


@pytest.fixture
async def hasty(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """A gateway that waits neither for heads nor between requests."""
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), patience=HASTE) as found:
        yield found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[lane.Incoming]:
    """What went the short way."""
    found: list[lane.Incoming] = []
    answered = lane.answered

    async def noted(handler: object, incoming: lane.Incoming) -> bool:
        found.append(incoming)
        return await answered(handler, incoming)  # type: ignore[arg-type]

    monkeypatch.setattr(connections, "answered", noted)
    return found


async def test_a_request_that_comes_whole_goes_the_short_way_again_and_again(
    client: Client, short: list[lane.Incoming]
) -> None:
    """On one connection, answered each time, refusals too."""
    reader, writer = await client.connect()
    for number in range(3):
        writer.write(asked())
        assert (await answer(reader))[0] == 200
        assert len(short) == number + 1
    writer.write(asked().replace(b'"one"', b'"not"'))
    status, body = await answer(reader)
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await answer(reader) == (200, b"ok\n")
    assert len(short) == 5
    writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [asked()[:20], asked()[20:]],
        [asked()[:-10], asked()[-10:]],
        [asked("Expect: 100-continue")],
        [asked().replace(b"Host: x", b"Host: x y")],
        [asked().replace(b"/v1/chat", b"//v1/chat")],
        [asked().replace(b"/v1/chat/completions", b"/v1/models/one")],
    ],
    ids=["a head in parts", "a body in parts", "Expect", "an odd Host", "an odd path", "no fixed route"],
)
async def test_what_is_odd_or_in_parts_is_left_to_aiohttp(
    pieces: list[bytes], client: Client, short: list[lane.Incoming]
) -> None:
    """And answered, by a word of HTTP; a head in parts that has come is whole, and goes the short way after all."""
    reader, writer = await client.connect()
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 ")
    assert len(short) == (pieces[0] == asked()[:20])
    writer.close()


@pytest.mark.parametrize("apart", [0.0, 0.05])
async def test_requests_sent_ahead_are_answered_one_by_one_in_order(
    apart: float, client: Client, upstream: Upstream
) -> None:
    """In one write, or each while the one before it is under way: never two at once, none lost, none twice."""
    at_once, most, told = 0, 0, 0

    async def counting(exchange: Exchange) -> None:
        nonlocal at_once, most, told
        at_once += 1
        most, told = max(most, at_once), told + 1
        await asyncio.sleep(0.1)
        said = {"id": str(told), "choices": [{"message": {}, "finish_reason": "stop"}]}
        await exchange.whole(200, json.dumps(said).encode())
        at_once -= 1

    upstream.scripts["one"] = counting
    reader, writer = await client.connect()
    for _ in range(5):
        writer.write(asked())
        await asyncio.sleep(apart)
    found = [json.loads((await answer(reader))[1])["id"] for _ in range(5)]
    assert found == ["1", "2", "3", "4", "5"]
    assert (most, told) == (1, 5)
    writer.close()


async def test_what_is_not_http_behind_a_good_request_is_refused_after_that_is_answered(
    client: Client, upstream: Upstream
) -> None:
    """The answer comes first, then the refusal, then the end."""
    let_go = asyncio.Event()
    upstream.scripts["one"] = held(let_go)
    reader, writer = await client.connect()
    writer.write(asked())
    await until(lambda: client.gateway.limits.in_flight == 1)
    writer.write(b"NOT HTTP AT ALL\r\n\r\n")
    await asyncio.sleep(0.05)
    let_go.set()
    assert (await answer(reader))[0] == 200
    assert (await answer(reader))[0] == 400
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_leaves_ends_its_call(client: Client, upstream: Upstream) -> None:
    """Upstream too, and nothing is left under way."""
    upstream.scripts["one"] = stalls(ROLE, HELLO)
    for stream in (True, False):
        _, writer = await client.connect()
        writer.write(asked(stream=stream))
        await until(lambda: client.gateway.limits.in_flight == 1)
        writer.transport.abort()
        await until(lambda: client.gateway.limits.in_flight == 0)
    await until(lambda: not client.door.open)


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (asked(), True),
        (asked("Connection: close"), False),
        (asked(version="1.0"), False),
        (asked("Connection: keep-alive", version="1.0"), True),
    ],
    ids=["1.1", "1.1 close", "1.0", "1.0 keep-alive"],
)
async def test_a_connection_is_kept_as_http_says(request_: bytes, kept: bool, client: Client) -> None:
    """And closed behind the answer where it says so."""
    reader, writer = await client.connect()
    writer.write(request_)
    assert (await answer(reader))[0] == 200
    if kept:
        writer.write(request_)
        assert (await answer(reader))[0] == 200
    else:
        async with asyncio.timeout(1):
            assert await reader.read() == b""
    writer.close()


async def test_a_call_may_take_longer_than_a_connection_may_be_idle(hasty: Client, upstream: Upstream) -> None:
    """While it is served a connection is not idle, nor slow with the head that it has begun; after that it is."""
    let_go = asyncio.Event()
    upstream.scripts["one"] = held(let_go)
    reader, writer = await hasty.connect()
    writer.write(asked())
    await asyncio.sleep(0.05)
    writer.write(b"GET /livez HT")
    await asyncio.sleep(2.5 * HASTE.idle)
    let_go.set()
    assert (await answer(reader))[0] == 200
    writer.write(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert await answer(reader) == (200, b"ok\n")
    start = time.monotonic()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert time.monotonic() - start > 0.5 * HASTE.idle
    writer.close()


async def test_a_server_that_ends_lets_what_is_under_way_be_answered(upstream: Upstream, tmp_path: Path) -> None:
    """And closes the connection behind it, as it does with one that is idle."""
    let_go = asyncio.Event()
    upstream.scripts["one"] = held(let_go)
    config = config_of(tmp_path, endpoint("one", "here", upstream.url))
    async with running(config) as client:
        runner = client.gateway.runner(None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        idle, other = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asked())
        await until(lambda: client.gateway.limits.in_flight == 1)
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(runner.cleanup())
            await asyncio.sleep(0.2)
            assert not ending.done()
            let_go.set()
            assert (await answer(reader))[0] == 200
        async with asyncio.timeout(5):
            assert await reader.read() == b""
            assert await idle.read() == b""
        writer.close()
        other.close()


async def test_a_bug_behind_the_border_costs_its_connection_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where nothing should fail any more: it is said once, and other connections go on."""
    reader, writer = await client.connect()

    async def broken(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Answer, "write_eof", broken)
        writer.write(asked())
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    writer.close()
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == ["an answer was not written"]
    reader, writer = await client.connect()
    writer.write(asked())
    assert (await answer(reader))[0] == 200
    writer.close()


async def test_a_refused_head_request_has_no_body_and_spoils_no_connection(client: Client) -> None:
    """Load balancers ask so: the length is said, the next answer on the connection begins where it should."""
    reader, writer = await client.connect()
    for path, wanted in (("/livez", 405), ("/nope", 404)):
        writer.write(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert int(head.split(b" ", 2)[1]) == wanted
        assert b"content-length: " in head.lower()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answer(reader) == (200, b"ok\n")
    writer.close()
