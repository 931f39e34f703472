"""Faults before there are headers."""

from tests.faults.upstream.http import head
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape

_OK = Shape()


async def _silent(play: Play) -> bool:
    await play.rest(play.seconds("silent"))
    return False


async def _reset(play: Play) -> bool:
    play.peer.reset()
    return False


async def _close(play: Play) -> bool:
    return False


async def _half_header(play: Play) -> bool:
    await play.send(b"HTTP/1.1 200 OK\r\ncontent-type: applic")
    return False


async def _bad_status_line(play: Play) -> bool:
    await play.send(b"ICY two hundred fine\r\ncontent-length: 0\r\n\r\n")
    return False


async def _slow_headers(play: Play) -> bool:
    text = head(200, "content-type: application/json", *(f"x-drip-{n}: {n}" for n in range(40)), "content-length: 2")
    gap = play.times["drip"] * 4
    for start in range(0, len(text), 8):
        await play.send(text[start : start + 8])
        await play.rest(gap)
    await play.send(b"{}")
    return True


async def _interim(play: Play, status: int) -> bool:
    await play.send(head(status, *(["link: </x>; rel=preload"] if status == 103 else [])))
    return await _OK(play)


async def _stale_keepalive(play: Play) -> bool:
    """Answers well; whoever uses the connection again finds it closing just then."""
    if play.attempt.connection > 1:
        play.peer.reset()
        return False
    await _OK(play)
    await play.peer.begun()
    play.peer.reset()
    return False


ROWS = rows(
    "connect",
    {
        "silent": ("silent", _silent, "reads the request and says nothing for so many seconds, then closes"),
        "reset": ("rst", _reset, "RST instead of an answer"),
        "close": ("fin", _close, "FIN instead of an answer"),
        "half_header": ("fin", _half_header, "half a header line, then FIN"),
        "bad_status_line": ("odd", _bad_status_line, "a first line that is not HTTP"),
        "header_64k": ("answer", Shape(headers=("x-large: " + "a" * 65536,)), "one header of 64 KiB"),
        "headers_1000": ("answer", Shape(headers=tuple(f"x-{n}: {n}" for n in range(1000))), "a thousand headers"),
        "100_continue": ("answer", lambda play: _interim(play, 100), "an unasked `100 Continue` first"),
        "103": ("answer", lambda play: _interim(play, 103), "`103 Early Hints` first"),
        "slow_headers": ("odd", _slow_headers, "the head, eight bytes at a time; then `{}`"),
        "stale_keepalive": ("answer", _stale_keepalive, "answers, then resets the kept connection as it is used again"),
    },
)
