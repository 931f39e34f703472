"""Tool calls in all the ways that servers stream them; the calls that must come out are `GOLDEN`."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.upstream.answers import Answer, Event, Tool
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape
from tests.faults.upstream.protocols import chat

PLAIN = (
    Tool("call_a", "get_weather", '{"city": "Zürich", "days": 3}'),
    Tool("call_b", "get_time", '{"zone": "Europe/Zurich"}'),
)
EMPTY = (Tool("call_a", "ping", ""), Tool("call_b", "pong", "{}"))
MANY = tuple(Tool(f"call_{n}", f"tool_{n}", json.dumps({"n": n, "text": "x" * (n % 7)})) for n in range(100))
Parts = Iterator[dict[str, Any]]


def _first(index: int, tool: Tool, **changes: Any) -> dict[str, Any]:
    return {"index": index, **chat.call(Tool(tool.id, tool.name, "")), **changes}


def _more(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": text}}


def _pieces(text: str, size: int) -> list[str]:
    return [text[place : place + size] for place in range(0, len(text), size)]


def _interleaved(tools: tuple[Tool, ...]) -> Parts:
    """Both begin, then their arguments come in turn."""
    for index, tool in enumerate(tools):
        yield _first(index, tool)
    texts = [_pieces(tool.arguments, 6) for tool in tools]
    for turn in range(max(map(len, texts))):
        for index, found in enumerate(texts):
            if turn < len(found):
                yield _more(index, found[turn])


def _same_index(tools: tuple[Tool, ...]) -> Parts:
    """Every call claims index 0; a new id says that a new one begins."""
    for tool in tools:
        yield _first(0, tool)
        for text in _pieces(tool.arguments, 8):
            yield _more(0, text)


def _no_id(tools: tuple[Tool, ...]) -> Parts:
    for index, tool in enumerate(tools):
        found = _first(index, tool)
        del found["id"]
        yield found
        for text in _pieces(tool.arguments, 8):
            yield _more(index, text)


def _late_id(tools: tuple[Tool, ...]) -> Parts:
    """The id comes after the arguments."""
    for index, tool in enumerate(tools):
        found = _first(index, tool)
        del found["id"]
        yield found
        for text in _pieces(tool.arguments, 8):
            yield _more(index, text)
        yield {"index": index, "id": tool.id, "function": {"arguments": ""}}


def _bytewise(tools: tuple[Tool, ...]) -> Parts:
    for index, tool in enumerate(tools):
        yield _first(index, tool)
        for text in tool.arguments:
            yield _more(index, text)


def _plain(tools: tuple[Tool, ...]) -> Parts:
    for index, tool in enumerate(tools):
        yield _first(index, tool)
        if tool.arguments:
            yield _more(index, tool.arguments)


def _shape(tools: tuple[Tool, ...], parts: Callable[[tuple[Tool, ...]], Parts]) -> Shape:
    def answer(found: Answer, play: Play) -> Answer:
        return found.with_(tools=tools, tokens=(), finish="tool_calls")

    def events(found: list[Event], play: Play) -> list[Event]:
        """Chat lets a server stream calls in its own way; the other protocols do not."""
        if play.protocol.name != "chat":
            return found
        deltas = [Event("content", chat.delta(play.answer, {"tool_calls": [part]})) for part in parts(tools)]
        rest = [event for event in found if event.kind != "content"]
        return [rest[0], *deltas, *rest[1:]]

    return Shape(answer=answer, events=events)


GOLDEN = {
    "tools_interleaved": PLAIN,
    "tools_same_index": PLAIN,
    "tools_no_id": PLAIN,
    "tools_late_id": PLAIN,
    "tools_byte_json": PLAIN,
    "tools_empty": EMPTY,
    "tools_100": MANY,
}
"""Mode -> the calls that it makes."""

ROWS = rows(
    "tools",
    {
        "tools_interleaved": ("answer", _shape(PLAIN, _interleaved), "two calls whose arguments come in turn"),
        "tools_same_index": ("answer", _shape(PLAIN, _same_index), "two calls that both claim index 0"),
        "tools_no_id": ("answer", _shape(PLAIN, _no_id), "calls without ids"),
        "tools_late_id": ("answer", _shape(PLAIN, _late_id), "the id after the arguments"),
        "tools_byte_json": ("answer", _shape(PLAIN, _bytewise), "arguments one character at a time"),
        "tools_empty": ("answer", _shape(EMPTY, _plain), "a call without arguments"),
        "tools_100": ("answer", _shape(MANY, _plain), "a hundred calls"),
    },
)
