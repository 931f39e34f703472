"""Answers as they go out, over real sockets: their framing by version and length, and what becomes of them when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import aiohttp.test_utils
import pytest
from aiohttp import web

from fw_gateway.middleware.answer import JOINED, Answer
from fw_gateway.middleware.border import respond
from fw_gateway.values import Reply

HELLO = {"Content-Type": "text/plain", "Server": "fw"}


@asynccontextmanager
async def serving(make: Callable[[web.Request], Reply]) -> AsyncIterator[int]:
    """A server of aiohttp's that answers with what `make` makes; its port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await respond(request, make(request), "r-1")  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True))  # as the gateway
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def said(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body, read until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def parts(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for piece in pieces:
        yield piece


async def test_a_whole_answer_has_a_length_a_date_and_its_own_headers() -> None:
    async with serving(lambda _: Reply(200, dict(HELLO), b"hello")) as port:
        head, body = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    found = dict(line.split(": ", 1) for line in rest)
    assert (first, body) == ("HTTP/1.1 200 OK", b"hello")
    assert found.pop("Date").endswith(" GMT")
    assert found == {**HELLO, "x-request-id": "r-1", "Content-Length": "5", "Connection": "close"}


async def test_a_stream_is_chunked_and_empty_pieces_are_no_end_of_it() -> None:
    async with serving(lambda _: Reply(200, dict(HELLO), parts(b"", b"one", b"", b"twelve bytes"))) as port:
        head, body = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert body == b"3\r\none\r\nc\r\ntwelve bytes\r\n0\r\n\r\n"


async def test_a_stream_of_nothing_is_an_answer() -> None:
    async with serving(lambda _: Reply(200, dict(HELLO), parts())) as port:
        assert (await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))[1] == b"0\r\n\r\n"


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    async with serving(lambda _: Reply(200, dict(HELLO), parts(b"one", b"two"))) as port:
        head, body = await said(port, b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"chunked" not in head
    assert b"keep-alive" not in head
    assert body == b"onetwo"


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving(lambda _: Reply(200, dict(HELLO), b"hello")) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Connection" not in head
            assert await reader.readexactly(5) == b"hello"
        writer.write(b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: keep-alive" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("size", [0, 1, JOINED, JOINED + 1, 5_000_000])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_body_of_any_size_arrives(size: int, whole: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    async with (
        serving(lambda _: Reply(200, dict(HELLO), body if whole else parts(body))) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/") as answer,
    ):
        assert await answer.read() == body


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(status: int) -> None:
    async with serving(lambda _: Reply(status, dict(HELLO), b"ignored")) as port:
        head, body = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert body == b""


async def test_no_header_begins_another() -> None:
    async with serving(lambda _: Reply(200, {**HELLO, "x-fw-model": "a\r\nx-evil: 1"}, b"")) as port:
        head, _ = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"x-fw-model: a??x-evil: 1\r\n" in head
    answer = Answer(200, {"x": "a\r\nb: c"}, b"")
    with pytest.raises(ValueError, match="header"):
        await answer.prepare(aiohttp.test_utils.make_mocked_request("GET", "/"))


async def test_a_stream_is_closed_when_its_client_leaves_and_that_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with serving(lambda _: Reply(200, dict(HELLO), endless())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(100)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await closed.wait()
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_answer_that_fails_within_is_broken_off_and_nothing_follows_it(version: bytes) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(0)
        raise KeyError("a bug")

    async with serving(lambda _: Reply(200, dict(HELLO), broken())) as port:
        head, body = await said(
            port, (b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n") * (2 if version == b"1.1" else 1)
        )
    assert head.startswith(b"HTTP/" + version + b" 200 OK")
    assert body == (b"4\r\nsome\r\n" if version == b"1.1" else b"some")


async def test_an_answer_that_fails_before_anything_went_out_is_an_error_and_no_broken_stream() -> None:
    """What was put together but not sent is worth nothing: the client learns of the fault by its status."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise KeyError("a bug")

    async with serving(lambda _: Reply(200, dict(HELLO), broken())) as port:
        head, body = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"some" not in body


async def test_what_is_there_together_goes_out_together_and_nothing_waits_for_what_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pieces that come at once are one write, in order; the next one, which has to be waited for, does not hold them back."""
    come, writes, send = asyncio.Event(), list[bytes](), Answer.send

    def counted(answer: Answer) -> None:
        if answer._waiting:
            writes.append(b"".join(answer._waiting))
        send(answer)

    monkeypatch.setattr(Answer, "send", counted)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"
        await come.wait()
        yield b"three"

    async with serving(lambda _: Reply(200, dict(HELLO), pieces())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.readexactly(16) == b"3\r\none\r\n3\r\ntwo\r\n"
        assert len(writes) == 1
        come.set()
        assert await reader.read() == b"5\r\nthree\r\n0\r\n\r\n"
        assert len(writes) == 2
        writer.close()


async def test_a_client_that_leaves_while_the_next_piece_is_awaited_is_no_fault_of_the_answer() -> None:
    """The wait within the body is cancelled, not failed: an upstream that is awaited there must not be blamed."""
    seen: list[BaseException] = []
    over = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"
        try:
            await asyncio.sleep(60)
        except BaseException as fault:
            seen.append(fault)
            raise
        finally:
            over.set()

    async with serving(lambda _: Reply(200, dict(HELLO), slow())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"one\r\n")
        writer.transport.abort()
        async with asyncio.timeout(5):
            await over.wait()
    assert [type(fault) for fault in seen] == [asyncio.CancelledError]
