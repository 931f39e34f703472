"""Faults of whole bodies. For a stream that is asked for, most of them answer the same body all the same: a fault too."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from functools import lru_cache

from tests.faults.upstream.answers import Answer
from tests.faults.upstream.http import JSON, dumped, head, whole
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape, counted

BOMB = 64 * 2**20
"""Bytes that the bomb expands to, unless its argument (MiB) says otherwise."""


def _body(play: Play) -> bytes:
    counted(play, play.answer.counted(), len(play.answer.tokens))
    return dumped(play.protocol.whole(play.answer))


async def _hang(play: Play) -> bool:
    body = _body(play)
    await play.send(head(200, JSON, f"content-length: {len(body)}") + body[:20])
    await play.rest(play.seconds("silent"))
    return False


async def _short(play: Play) -> bool:
    body = _body(play)
    await play.send(head(200, JSON, f"content-length: {len(body)}") + body[:-30])
    return False


async def _extra(play: Play) -> bool:
    await play.send(whole(200, _body(play)) + b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{evil:1")
    return False


async def _encoded(play: Play, name: str, body: bytes) -> bool:
    await play.send(whole(200, body, f"content-encoding: {name}"))
    return True


async def _gzip_ok(play: Play) -> bool:
    return await _encoded(play, "gzip", gzip.compress(_body(play), mtime=0))


async def _gzip_bad(play: Play) -> bool:
    return await _encoded(play, "gzip", gzip.compress(_body(play), mtime=0)[:-12] + b"\0" * 12)


@lru_cache(2)
def bomb(size: int) -> bytes:
    """Gzip that expands to a JSON text of `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(b'{"choices":[{"index":0,"message":{"role":"assistant","content":"')]
    pieces += [packer.compress(b"a" * 2**20) for _ in range(size // 2**20)]
    pieces.append(packer.compress(b'"},"finish_reason":"stop"}]}'))
    return b"".join([*pieces, packer.flush()])


async def _gzip_bomb(play: Play) -> bool:
    size = int(play.wanted.number(BOMB / 2**20)) * 2**20
    return await _encoded(play, "gzip", await asyncio.to_thread(bomb, size))


def brotli(data: bytes) -> bytes:
    """A valid Brotli stream (RFC 7932) of stored blocks: no compressor needed."""
    found = bytearray()
    for start in range(0, len(data), 65536):
        piece = data[start : start + 65536]
        # Window bits stand once, before the first block: one zero bit for 16. Then ISLAST=0, MNIBBLES=4, MLEN-1, ISUNCOMPRESSED=1.
        bits, width = (0, 1) if not start else (0, 0)
        bits |= (len(piece) - 1) << (width + 3)
        bits |= 1 << (width + 19)
        found += bits.to_bytes(3, "little") + piece
    return bytes(found) + b"\x03"


async def _br(play: Play) -> bool:
    return await _encoded(play, "br", brotli(_body(play)))


async def _bad_json(play: Play) -> bool:
    await play.send(whole(200, _body(play)[:-30]))
    return True


async def _nan_json(play: Play) -> bool:
    await play.send(whole(200, _body(play)[:-1] + b',"score":NaN}'))
    return True


async def _utf16(play: Play) -> bool:
    await play.send(whole(200, _body(play).decode().encode("utf-16"), "content-type: application/json; charset=utf-16"))
    return True


async def _latin1(play: Play) -> bool:
    body = _body(play).replace(b"word00", "wörd".encode("latin-1"))
    await play.send(whole(200, body, "content-type: application/json; charset=iso-8859-1"))
    return True


def _huge(answer: Answer, play: Play) -> Answer:
    size = int(play.wanted.number(8.0) * 2**20)
    return answer.with_(tokens=("x" * 65536,) * max(1, size // 65536))


def _bytes(data: bytes, play: Play) -> Iterator[bytes]:
    del play
    return (data[place : place + 1] for place in range(len(data)))


async def _trickle(play: Play) -> bool:
    for piece in _bytes(whole(200, _body(play)), play):
        await play.send(piece)
        await play.rest(play.times["drip"] / 5)
    return True


ROWS = rows(
    "body",
    {
        "hang": ("cut", _hang, "the head and twenty bytes, then silence"),
        "short_content_length": ("cut", _short, "thirty bytes fewer than announced, then FIN"),
        "extra_bytes": ("answer", _extra, "a good answer, and bytes nobody asked for after it"),
        "gzip_ok": ("answer", _gzip_ok, "gzip although nobody may have accepted it"),
        "gzip_bad": ("odd", _gzip_bad, "gzip whose end is broken"),
        "gzip_bomb": ("odd", _gzip_bomb, "gzip that expands to so many MiB (64)"),
        "br": ("answer", _br, "a Brotli body"),
        "bad_json": ("odd", _bad_json, "JSON that ends too early, correctly framed"),
        "nan_json": ("odd", _nan_json, "a good answer with a member that is NaN"),
        "utf16": ("odd", _utf16, "JSON in UTF-16"),
        "latin1": ("odd", _latin1, "JSON in Latin-1, which is no valid UTF-8"),
        "huge": ("answer", Shape(answer=_huge), "an answer of so many MiB (8)"),
        "trickle": ("answer", _trickle, "the whole body byte by byte"),
    },
)
