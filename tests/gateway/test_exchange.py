"""Requests on connections of the pool, over real sockets with a server that says exactly what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from fw_gateway import exchange
from fw_gateway.exchange import LARGE, MAX_HEAD, READ, Abandoned, Line, NotHTTP, channelled, lines

TIMEOUT = aiohttp.ClientTimeout(total=None, connect=3)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def line_to(serve: Serve) -> AsyncIterator[Line]:
    """A line to a server that hands each connection, with its number, to `serve` and closes it after."""
    count = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await serve(reader, writer, count)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    connector = aiohttp.TCPConnector(limit=0)
    channelled(connector)
    port = server.sockets[0].getsockname()[1]
    line = Line(connector, URL(f"http://127.0.0.1:{port}/v1"), {"Content-Type": "application/json"}, TIMEOUT)
    try:
        yield line
    finally:
        line.close()
        await connector.close()
        server.close()


async def asked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return head, await reader.readexactly(size)


def saying(*answers: bytes) -> Serve:
    """Every request on a connection gets the next of these; then the connection is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for answer in answers:
            await asked(reader)
            writer.write(answer)
            await writer.drain()

    return serve


async def test_a_request_is_what_was_said_and_its_own_headers_win() -> None:
    """Path, host, fixed headers, the body byte for byte."""
    seen: list[tuple[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for _ in range(2):
            seen.append(await asked(reader))
            writer.write(OK)

    async with line_to(serve) as line:
        for extra in ({"traceparent": "00-1-2-01"}, {"content-type": "text/plain"}):
            assert await (await line.post("/chat/completions", extra, b'{"a": 1}')).read() == b"ok"
    (first, body), (second, _) = seen
    assert first.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"content-type: application/json\r\n" in first
    assert b"traceparent: 00-1-2-01\r\n" in first
    assert body == b'{"a": 1}'
    assert b"content-type: text/plain\r\n" in second
    assert b"application/json" not in second


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\x00b", "a\rb"])
def test_a_header_that_would_begin_another_is_refused(value: str) -> None:
    """Nothing of it is sent."""
    with pytest.raises(ValueError, match="cannot have"):
        lines({"tracestate": value})


async def test_an_answer_cut_at_every_byte_is_the_same() -> None:
    """Head, chunks and trailer may come in any pieces."""
    whole = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Two: a\r\nX-Two: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    for cut in range(1, len(whole)):

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int, cut: int = cut) -> None:
            await asked(reader)
            writer.write(whole[:cut])
            await asyncio.sleep(0.001)
            writer.write(whole[cut:])
            await reader.read()

        async with line_to(serve) as line:
            answer = await line.post("/x", {}, b"{}")
            assert await answer.read() == b"abcde"
            assert answer.headers["x-two"] == "a"
            assert answer.closed


async def test_what_comes_before_the_answer_is_passed_over() -> None:
    """100 and 103 are no answers."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with line_to(saying(early + OK)) as line:
        answer = await line.post("/x", {}, b"{}")
        assert (answer.status, await answer.read()) == (200, b"ok")
        assert "link" not in answer.headers


async def test_what_follows_a_body_is_not_of_the_head() -> None:
    """A trailer says nothing of how to read what came before it."""
    chunks = b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n"
    async with line_to(saying(b"HTTP/1.1 200 OK\r\n" + chunks)) as line:
        answer = await line.post("/x", {}, b"{}")
        assert await answer.read() == b"ok"
        assert "retry-after" not in answer.headers


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """As servers of HTTP/1.0 write them."""
    async with line_to(saying(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")) as line:
        assert await (await line.post("/x", {}, b"{}")).read() == b"all of it"


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ids=["length", "chunks"],
)
async def test_an_answer_cut_short_gives_what_came_and_then_says_so(body: bytes) -> None:
    """Nobody takes a part for the whole."""
    async with line_to(saying(b"HTTP/1.1 200 OK\r\n" + body)) as line:
        answer = await line.post("/x", {}, b"{}")
        assert await answer.some() == b"abc"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.some()


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * (MAX_HEAD + 1), b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["no HTTP", "endless head", "no header", "another protocol", "no size"],
)  # fmt: skip
async def test_what_is_not_an_answer_in_http_is_said_to_be_none(said: bytes) -> None:
    """And its connection is not used again."""
    async with line_to(saying(said + b"\r\n")) as line:
        with pytest.raises((NotHTTP, aiohttp.ServerDisconnectedError)):
            await (await line.post("/x", {}, b"{}")).read()


async def test_a_connection_is_used_again() -> None:
    """Answer after answer, without asking for a new one."""
    async with line_to(saying(OK, OK, OK)) as line:
        for _ in range(3):
            assert await (await line.post("/x", {}, b"{}")).read() == b"ok"


async def test_an_answer_that_is_closed_late_leaves_the_next_one_alone() -> None:
    """Its connection may be another's by then."""
    async with line_to(saying(OK, OK.replace(b"ok", b"no"))) as line:
        first = await line.post("/x", {}, b"{}")
        assert await first.read() == b"ok"
        asking = asyncio.ensure_future(line.post("/x", {}, b"{}"))
        await asyncio.sleep(0)
        first.close()
        async with asyncio.timeout(2):
            assert await (await asking).read() == b"no"


@pytest.mark.parametrize("late", [True, False], ids=["later", "with the answer"])
async def test_what_comes_unasked_is_never_an_answer(late: bool) -> None:
    """A second answer to one request belongs to nobody: the next request has a connection of its own."""
    unasked = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await asked(reader)
        writer.write(OK.replace(b"ok", b"%02d" % number))
        if late:
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(OK.replace(b"ok", b"no"))
        await writer.drain()
        unasked.release()
        await reader.read()

    async with line_to(serve) as line:
        for number in (1, 2, 3):
            assert await (await line.post("/x", {}, b"{}")).read() == b"%02d" % number
            await unasked.acquire()
            await asyncio.sleep(0.05)


async def test_a_fresh_request_goes_on_no_connection_that_was_used() -> None:
    """When one that was kept is dead, all may be."""
    numbers: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await asked(reader)
            numbers.append(number)
            writer.write(OK)

    async with line_to(serve) as line:
        await (await line.post("/x", {}, b"{}")).read()
        await (await line.post("/x", {}, b"{}")).read()
        await (await line.post("/x", {}, b"{}", fresh=True)).read()
    assert numbers == [1, 1, 2]


async def test_a_large_body_arrives_whole() -> None:
    """It is sent as fast as it is taken."""
    body = bytes(range(256)) * (3 * LARGE // 256)
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        got.append((await asked(reader))[1])
        writer.write(OK)
        await reader.read()

    async with line_to(serve) as line:
        assert await (await line.post("/x", {}, body)).read() == b"ok"
    assert got == [body]


async def test_a_large_body_that_is_refused_early_is_not_sent_to_its_end() -> None:
    """The refusal is the answer, and the connection is not used again."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        connections.append(number)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        await asyncio.sleep(0.2)

    async with line_to(serve) as line:
        for _ in range(2):
            answer = await line.post("/x", {}, b"x" * (32 * LARGE))
            assert (answer.status, await answer.read()) == (413, b"")
    assert connections == [1, 2]


async def test_a_reader_that_is_slow_holds_its_upstream_back() -> None:
    """What is read ahead is bounded; nothing is lost."""
    total = 64 * READ
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal sent
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * READ)
            await writer.drain()
            sent += READ
        await reader.read()

    async with line_to(serve) as line:
        answer = await line.post("/x", {}, b"{}")
        await asyncio.sleep(0.3)
        got = len(answer.taken())
        assert got < total / 2
        while data := await answer.some():
            got += len(data)
        assert got == total


async def test_a_wait_that_is_interrupted_says_by_what() -> None:
    """Whoever waits is told, and the connection is closed with the answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        await reader.read()

    async with line_to(serve) as line:
        answer = await line.post("/x", {}, b"{}")
        assert await answer.some() == b"ab"
        asyncio.get_running_loop().call_later(0.01, answer.interrupt, TimeoutError("enough"))
        with pytest.raises(TimeoutError, match="enough"):
            await answer.some()
        answer.close()
        assert answer.closed


def stuck(before: bytes) -> Serve:
    """Says so much of an answer, and no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.write(before)
        await reader.read()

    return serve


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], ids=["head", "body"])
async def test_an_answer_that_does_not_come_within_its_limit_is_waited_for_no_longer(before: bytes) -> None:
    """The limit is of the whole exchange: of its head, and of what follows."""
    async with line_to(stuck(before)) as line:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await (await line.post("/x", {}, b"{}", within=0.1)).read()


async def test_a_limit_that_passes_while_nobody_waits_is_noticed_at_the_next_wait() -> None:
    """What has come by then may still be taken."""
    async with line_to(stuck(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")) as line:
        answer = await line.post("/x", {}, b"{}", within=0.1)
        await asyncio.sleep(0.2)
        assert await answer.some() == b"ok"
        with pytest.raises(TimeoutError):
            await answer.some()
        answer.close()


async def test_an_answer_that_is_told_so_may_take_its_time() -> None:
    """The limit of a stream is of its beginning alone."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.write(OK[:-1])
        await writer.drain()
        await asyncio.sleep(0.3)
        writer.write(OK[-1:])

    async with line_to(slow) as line:
        answer = await line.post("/x", {}, b"{}", within=0.1)
        answer.at_leisure()
        assert await answer.read() == b"ok"


async def test_nothing_is_sent_when_there_is_no_time_left() -> None:
    """Nor is a connection begun."""
    async with line_to(saying(OK)) as line:
        with pytest.raises(TimeoutError):
            await line.post("/x", {}, b"{}", within=0.0)
        assert await (await line.post("/x", {}, b"{}", within=1.0)).read() == b"ok"


async def test_a_limit_that_is_lifted_just_too_late_breaks_nothing_off() -> None:
    """What was waited for had come, and the rest may take its time."""
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.write(OK[:-1])
        await go_on.wait()
        writer.write(OK[-1:])

    async with line_to(serve) as line:
        answer = await line.post("/x", {}, b"{}", within=0.05)
        await asyncio.sleep(0.1)
        answer.at_leisure()
        assert await answer.some() == b"o"
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        assert await answer.some() == b"k"


async def test_a_connection_that_a_session_used_is_not_fresh() -> None:
    """Health is asked on the same pool: a request that must go out on a new connection does not go out on one of those."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal count
        count = number
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)

    async with line_to(serve) as line:
        session = aiohttp.ClientSession(connector=line._connector, connector_owner=False)
        async with session, session.get(line._where.url) as answer:
            assert await answer.read() == b"ok"
        assert await (await line.post("/x", {}, b"", fresh=True)).read() == b"ok"
    assert count == 2


async def test_a_busy_connection_goes_through_the_pool_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool knows when a connection is too old: one that is always asked something must not escape it."""
    monkeypatch.setattr(exchange, "KEPT", 0.1)
    numbers: set[int] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await asked(reader)
            numbers.add(number)
            writer.write(OK)

    async with line_to(serve) as line:
        passed, release = 0, line._connector._release

        def released(*args: Any, **more: Any) -> None:
            nonlocal passed
            passed += 1
            release(*args, **more)

        monkeypatch.setattr(line._connector, "_release", released)
        count, end = 0, asyncio.get_running_loop().time() + 0.6
        while asyncio.get_running_loop().time() < end:
            assert await (await line.post("/x", {}, b"{}")).read() == b"ok"
            await asyncio.sleep(0.01)
            count += 1
        assert 2 <= passed < count / 2
        assert numbers == {1}


async def test_a_connection_that_nobody_wants_goes_back_to_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the last ones of a burst, and what ends after its line was closed."""
    monkeypatch.setattr(exchange, "KEPT", 0.1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await asked(reader)
            await asyncio.sleep(0.05)
            writer.write(OK)

    async with line_to(serve) as line:
        pool = line._connector
        for answer in await asyncio.gather(*[line.post("/x", {}, b"{}") for _ in range(5)]):
            assert await answer.read() == b"ok"
        assert len(pool._acquired) == 5
        await asyncio.sleep(0.3)
        assert not pool._acquired
        last = asyncio.create_task(line.post("/x", {}, b"{}"))
        await asyncio.sleep(0.02)
        line.close()
        assert await (await last).read() == b"ok"
        assert not pool._acquired


@pytest.mark.parametrize(
    ("said", "kind"),
    [(b"", Abandoned), (b"HTTP/1.1 200 O", aiohttp.ClientPayloadError)],
    ids=["nothing", "half a head"],
)
async def test_requests_on_connections_that_were_dead_are_told_from_those_that_were_heard(
    said: bytes, kind: type[Exception]
) -> None:
    """Each of several that die together, whatever the others do; of what had an answer coming nobody knows whether it may be sent again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.write(OK)
        await asked(reader)
        await asyncio.sleep(0.05)
        writer.write(said)

    async with line_to(serve) as line:
        for answer in await asyncio.gather(*[line.post("/x", {}, b"{}") for _ in range(4)]):
            assert await answer.read() == b"ok"
        found = await asyncio.gather(*[line.post("/x", {}, b"{}") for _ in range(4)], return_exceptions=True)
        assert [type(one) for one in found] == [kind] * 4


async def test_a_new_connection_that_dies_unheard_was_not_abandoned() -> None:
    """The server may have begun with the request: it is not sent again on that ground."""

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)

    async with line_to(serve) as line:
        with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
            await line.post("/x", {}, b"{}")
        assert not isinstance(caught.value, Abandoned)
