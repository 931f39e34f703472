"""What only Anthropic's protocol can do wrong, or right. Asked for through another protocol, they answer as usual."""

from collections.abc import Callable

from tests.faults.upstream.answers import Event, Tool
from tests.faults.upstream.http import LAST_CHUNK, chunk, whole
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape, render

Events = list[Event]
_CALL = (Tool("toolu_1", "get_weather", '{"city": "Zürich"}'),)


def _native(transform: Callable[[Events], Events]) -> Shape:
    return Shape(events=lambda events, play: transform(events) if play.protocol.name == "messages" else events)


async def _overloaded_end(play: Play) -> bool:
    event = play.protocol.error_event("Overloaded", "overloaded_error", "overloaded")
    await play.send(chunk(render(event)) + LAST_CHUNK)
    return True


async def _overloaded(play: Play) -> bool:
    """A stream begins and then says that it is overloaded; without streaming it is a 529."""
    if play.stream:
        shape = Shape(stop=lambda play, events: int(play.wanted.number(2)), ending=_overloaded_end)
        return await shape(play)
    await play.send(whole(529, play.error("Overloaded", "overloaded_error")))
    return True


def _double_start(events: Events) -> Events:
    return [events[0], *events]


def _no_stop(events: Events) -> Events:
    return events[:-1]


def _index_gap(events: Events) -> Events:
    """The only block has the index 3."""
    return [event.with_data({**event.data, "index": 3}) if "index" in event.data else event for event in events]


def _cached(events: Events) -> Events:
    """The cache is written and read."""
    message = events[0].data["message"]
    usage = {**message["usage"], "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000}
    return [events[0].with_data({**events[0].data, "message": {**message, "usage": usage}}), *events[1:]]


_THINKING = Shape(answer=lambda answer, play: answer.with_(reasoning=("Let", " me", " think.")))
_INPUT = Shape(answer=lambda answer, play: answer.with_(tools=_CALL, tokens=(), finish="tool_calls"))
ROWS = rows(
    "anthropic",
    {
        "a_ok": ("answer", Shape(), "sixty words"),
        "a_overloaded": ("error", _overloaded, "`overloaded_error` in the stream after i events (2)"),
        "a_double_start": ("answer", _native(_double_start), "`message_start` twice"),
        "a_no_stop": ("answer", _native(_no_stop), "a stop reason, but no `message_stop`"),
        "a_index_gap": ("answer", _native(_index_gap), "the first block has index 3"),
        "a_thinking_signature": ("answer", _THINKING, "a thinking block with its signature"),
        "a_input_json_delta": ("answer", _INPUT, "a tool's input in pieces, the first of them empty"),
        "a_cache_usage": ("answer", _native(_cached), "usage of the prompt cache"),
    },
    a_overloaded="status",
)
