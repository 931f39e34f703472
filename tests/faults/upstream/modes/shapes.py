"""Streams that are good, and unusual."""

from collections.abc import Iterator

from tests.faults.upstream.answers import Answer, Event, spaced
from tests.faults.upstream.http import chunk
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape, render

UTF8 = spaced(["Grüße", "😀", "日本語", "𝔘𝔫𝔦", "é", "👩‍👩‍👧‍👦", "क्षि", "\u2028", "ﷺ", "𐍈"] * 6)
"""Sixty tokens of one to four bytes a character."""


def _gap(play: Play) -> float:
    return play.seconds("gap")


def _jitter(play: Play) -> float:
    return play.rng.random() * 2 * play.seconds("gap")


def _onebyte(data: bytes, play: Play) -> Iterator[bytes]:
    del play
    return (data[place : place + 1] for place in range(len(data)))


def _slicer(data: bytes, play: Play) -> Iterator[bytes]:
    """Pieces of 1 to n bytes, drawn from the seed."""
    longest = max(1, int(play.wanted.number(7)))
    place = 0
    while place < len(data):
        size = play.rng.randint(1, longest)
        yield data[place : place + size]
        place += size


def _ended(end: str) -> Shape:
    return Shape(render=lambda event: render(event).replace(b"\n", end.encode()))


def _bom(events: list[Event], play: Play) -> list[Event]:
    del play
    return [Event("other", "\ufeff"), *events]


def _bom_render(event: Event) -> bytes:
    return "\ufeff".encode() if event.data == "\ufeff" else render(event)


def _comment_render(event: Event) -> bytes:
    return b": keep-alive\n\n:\n\n" + render(event)


def _multi_render(event: Event) -> bytes:
    """The JSON over several `data:` lines, cut where white space may be."""
    return render(event).replace(b',"', b',\ndata: "') if isinstance(event.data, dict) else render(event)


def _no_space_render(event: Event) -> bytes:
    return render(event).replace(b"data: ", b"data:", 1)


def _big(answer: Answer, play: Play) -> Answer:
    size = int(play.wanted.number(1.0) * 2**20)
    return answer.with_(tokens=(answer.tokens[0], " " + "x" * size, *answer.tokens[2:]))


def _empty_delta(events: list[Event], play: Play) -> list[Event]:
    """Before each content the same chunk with nothing in it."""
    found = []
    for event in events:
        if event.kind == "content" and isinstance(event.data, dict) and "choices" in event.data:
            blank = [{**choice, "delta": {}} for choice in event.data["choices"]]
            found.append(Event("other", {**event.data, "choices": blank}))
        found.append(event)
    return found


def _unknown(events: list[Event], play: Play) -> list[Event]:
    """An event of a name that nobody knows, among the others."""
    odd = Event("other", {"type": "fx.unknown", "fx": True}, "fx.unknown")
    if play.protocol.name in {"chat", "completions"}:
        odd = Event("other", {**events[0].data, "choices": [], "fx_unknown": True}, "fx.unknown")
    return [*events[:2], odd, *events[2:]]


def _model_name(name: str) -> Shape:
    return Shape(answer=lambda answer, play: answer.with_(model=name))


async def _ping_forever(play: Play) -> bool:
    """Comments (or pings) and never content again, for as long as `silent` would last; `i=` says where that begins."""
    shape = Shape(stop=lambda play, events: int(play.wanted.get("i") or 1), ending=_pings)
    return await shape(play) if play.stream else await _spaces(play)


async def _pings(play: Play) -> bool:
    text = b": ping\n\n" if play.protocol.name != "messages" else b'event: ping\ndata: {"type":"ping"}\n\n'
    for _ in range(int(play.seconds("silent") / play.times["ping"])):
        await play.send(chunk(text))
        await play.rest(play.times["ping"])
    return False


async def _spaces(play: Play) -> bool:
    """JSON that is white space for ever, as some servers keep a connection open."""
    await play.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(int(play.seconds("silent") / play.times["ping"])):
        await play.send(chunk(b" "))
        await play.rest(play.times["ping"])
    return False


def _answer(**changes: object) -> Shape:
    return Shape(answer=lambda answer, play: answer.with_(**changes))


def _flood(answer: Answer, play: Play) -> Answer:
    """So many MiB in tokens of 16 KiB."""
    return answer.with_(tokens=("y" * 16384,) * int(play.wanted.number(16.0) * 64))


def _words(answer: Answer, play: Play) -> Answer:
    return answer.with_(tokens=spaced([f"word{n:02d}" for n in range(int(play.wanted.number(60)))]))


ROWS = rows(
    "shape",
    {
        "ok": ("answer", Shape(), "sixty words"),
        "words": ("answer", Shape(answer=_words), "so many words"),
        "ttft": ("answer", Shape(first=lambda play: play.seconds("ttft")), "so many seconds to the first content"),
        "slowtok": ("answer", Shape(gap=_gap), "so many seconds before each event"),
        "burst": ("answer", Shape(joined=True), "the whole stream in one segment"),
        "jitter": ("answer", Shape(gap=_jitter), "pauses drawn from the seed, `gap` on average"),
        "onebyte": ("answer", Shape(segments=_onebyte), "one byte a segment"),
        "slicer": ("answer", Shape(segments=_slicer), "segments of 1 to n bytes, by seed"),
        "utf8": (
            "answer",
            Shape(answer=lambda a, p: a.with_(tokens=UTF8), segments=_slicer),
            "characters of 1-4 bytes, cut",
        ),
        "crlf": ("answer", _ended("\r\n"), "lines end in CRLF"),
        "cr": ("answer", _ended("\r"), "lines end in CR"),
        "bom": ("answer", Shape(events=_bom, render=_bom_render), "a byte order mark first"),
        "comments": ("answer", Shape(render=_comment_render), "comments between events"),
        "multi_data": ("answer", Shape(render=_multi_render), "JSON over several `data:` lines"),
        "no_space": ("answer", Shape(render=_no_space_render), "`data:` without a space"),
        "bigevent": ("answer", Shape(answer=_big), "one event of so many MiB (1)"),
        "flood": ("answer", Shape(answer=_flood), "so many MiB (16) as fast as they are taken"),
        "empty_delta": ("answer", Shape(events=_empty_delta), "empty deltas between the others"),
        "role_late": ("answer", _answer(role="late"), "the role comes with the first content"),
        "no_role": ("answer", _answer(role="none"), "no role at all"),
        "n2": ("answer", _answer(choices=2), "two choices, interleaved"),
        "logprobs": ("answer", _answer(logprobs=True), "logprobs with each token"),
        "reasoning": ("answer", _answer(reasoning=("Let", " me", " think.")), "three tokens of reasoning first"),
        "refusal": ("answer", _answer(tokens=(), refusal=("I", " must", " not.")), "a refusal instead of content"),
        "unknown_event": ("answer", Shape(events=_unknown), "an event of a name nobody knows"),
        "ping_forever": ("cut", _ping_forever, "pings and never content; `i=`: from that event on"),
    },
)
