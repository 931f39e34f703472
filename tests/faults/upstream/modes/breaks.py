"""Streams that break at event i (the first argument; the middle when it is not given; `before` the first content)."""

from tests.faults.upstream.answers import Event
from tests.faults.upstream.http import LAST_CHUNK, chunk
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Ending, Play, Shape, nap, render

MESSAGE = "scripted engine failure"
KIND, CODE = "overloaded_error", "engine_dead"
SETTLE = 0.05
"""Seconds before a RST, which would throw away what the peer has not read yet."""


def at(play: Play, events: list[Event]) -> int:
    """Index of the first event that is not sent; with `before` in the argument, the first content's at most."""
    middle = float(len(events) // 2)
    index = int(float(play.wanted.get("i") or play.wanted.number(middle)))
    if "before" not in play.wanted.values:
        return index
    return min(index, next((place for place, event in enumerate(events) if event.kind == "content"), index))


def _stall_at(play: Play, events: list[Event]) -> int:
    """`stall:seconds,i=index`: its first argument is a time."""
    return int(float(play.wanted.get("i") or len(events) // 2))


async def _fin(play: Play) -> bool:
    await nap(SETTLE / 5)
    play.peer.fin()
    await play.peer.gone(1.0)
    return False


async def _rst(play: Play) -> bool:
    await nap(SETTLE)
    play.peer.reset()
    return False


async def _clean(play: Play) -> bool:
    await play.send(LAST_CHUNK)
    return True


async def _stall(play: Play) -> bool:
    await play.rest(play.seconds("stall"))
    return False


async def _error(play: Play, event: Event, *, done: bool = False) -> bool:
    await play.send(chunk(render(event)))
    if done:
        last = Event("done", "[DONE]") if play.protocol.name != "messages" else _stop()
        await play.send(chunk(render(last)))
    return await _clean(play)


def _stop() -> Event:
    return Event("done", {"type": "message_stop"}, "message_stop")


def _event(play: Play, *, named: bool = False) -> Event:
    found = play.protocol.error_event(MESSAGE, KIND, CODE)
    return Event("error", found.data, "error") if named else found


async def _err_json(play: Play) -> bool:
    return await _error(play, _event(play))


async def _err_event(play: Play) -> bool:
    return await _error(play, _event(play, named=True))


async def _err_done(play: Play) -> bool:
    return await _error(play, _event(play), done=True)


async def _badjson(play: Play) -> bool:
    await play.send(chunk(b'data: {"id":"fx","choices":[{"index":0,"delta":{"content": \n\n'))
    return await _clean(play)


async def _bad_chunk_size(play: Play) -> bool:
    await play.send(b"zz\r\nnot a chunk\r\n")
    return await _fin(play)


async def _overlong_chunk(play: Play) -> bool:
    await play.send(b"fffffffffffffffffffffffff\r\nx\r\n")
    return await _fin(play)


async def _resume(play: Play) -> bool:
    """After the pause the rest comes, as if nothing had been."""
    await play.rest(play.seconds("ttft"))
    asked = bool(play.options.get("include_usage"))
    events = play.protocol.events(play.answer, asked)
    for event in events[_stall_at(play, events) :]:
        await play.send(chunk(render(event)))
    play.attempt.tokens = len(play.answer.tokens)
    return await _clean(play)


def _break(ending: Ending, framing: str = "chunked") -> Shape:
    return Shape(stop=at, ending=ending, framing=framing)


_RESUME = Shape(stop=_stall_at, ending=_resume)


async def _stall_resume(play: Play) -> bool:
    if play.stream:
        return await _RESUME(play)
    return await Shape(first=lambda found: found.seconds("ttft"))(play)


ROWS = rows(
    "break",
    {
        "cut_noterm": ("cut", _break(_fin), "FIN without the last chunk"),
        "cut_rst": ("cut", _break(_rst), "RST"),
        "cut_close": ("cut", _break(_fin, "close"), "a body that ends with the connection ends too early"),
        "cut_clean": ("cut", _break(_clean), "a last chunk, but no finish reason"),
        "cut_tls": ("cut", _break(_fin), "FIN without TLS's goodbye (on the TLS port; else as cut_noterm)"),
        "stall": ("cut", Shape(stop=_stall_at, ending=_stall), "silence for so many seconds; `i=` says where"),
        "stall_resume": ("answer", _stall_resume, "silence for so many seconds, then the rest"),
        "err_json": ("error", _break(_err_json), "an error in the protocol's way"),
        "err_event": ("error", _break(_err_event), "an error as `event: error`"),
        "err_then_done": ("error", _break(_err_done), "an error, and the terminator after it"),
        "err_at": ("error", _break(_err_json), "as err_json, for its index"),
        "badjson": ("cut", _break(_badjson), "an event that is no JSON"),
        "bad_chunk_size": ("cut", _break(_bad_chunk_size), "a chunk whose size is no number"),
        "overlong_chunk": ("cut", _break(_overlong_chunk), "a chunk of 2^100 bytes"),
    },
    **dict.fromkeys(("err_json", "err_event", "err_then_done", "err_at"), "cut"),
)
