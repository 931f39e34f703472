"""Good streams that end in unusual ways: the terminator, where usage stands, why it finished."""

from collections.abc import Callable

from tests.faults.upstream.answers import USAGE_UNSET, Answer, Event
from tests.faults.upstream.modes.registry import Run, rows
from tests.faults.upstream.play import Play, Shape, continuous

Events = list[Event]
HUGE = {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18}
NEGATIVE = {"prompt_tokens": -12, "completion_tokens": -60, "total_tokens": -72}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
STRING = {"prompt_tokens": "12", "completion_tokens": "60", "total_tokens": "72"}


def _nodone(events: Events, play: Play) -> Events:
    return [event for event in events if event.kind != "done"]


def _done_twice(events: Events, play: Play) -> Events:
    return [*events, events[-1]]


def _after_done(events: Events, play: Play) -> Events:
    late = next((event for event in events if event.kind == "content"), events[0])
    return [*events, late]


def _usage_event(events: Events, play: Play) -> Event:
    """A chunk that carries usage and nothing else."""
    usage = play.answer.counted()
    like = next(event.data for event in events if isinstance(event.data, dict))
    return Event("usage", {**like, "choices": [], "usage": usage}, usage=usage)


def _plain(events: Events) -> Events:
    """Without the chunk of usage that may have been asked for."""
    return [event for event in events if event.kind != "usage"]


def _with_finish(events: Events, play: Play) -> Events:
    usage = play.answer.counted()
    return [
        event.with_data({**event.data, "usage": usage}, usage=usage) if event.kind == "finish" else event
        for event in _plain(events)
    ]


def _place(events: Events, play: Play, where: Callable[[Events], int]) -> Events:
    found = _plain(events)
    index = where(found)
    return [*found[:index], _usage_event(found, play), *found[index:]]


def _after_finish(events: Events, play: Play) -> Events:
    return _place(events, play, lambda found: len(found) - 1)


def _two(events: Events, play: Play) -> Events:
    """First a usage that is too small, then the right one: the last wins."""
    found = _plain(events)
    small = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    first = Event("usage", {**found[0].data, "choices": [], "usage": small}, usage=small)
    return [*found[:-1], first, _usage_event(found, play), found[-1]]


def _openai(transform: Callable[[Events, Play], Events]) -> Callable[[Events, Play], Events]:
    """Where the protocol fixes the place of usage, nothing is moved."""
    return lambda events, play: transform(events, play) if play.protocol.name in {"chat", "completions"} else events


def _usage(transform: Callable[[Events, Play], Events]) -> Shape:
    return Shape(events=_openai(transform))


def _hostile(usage: object) -> Shape:
    """Usage that lies, in its own chunk after the finish."""

    def answer(found: Answer, play: Play) -> Answer:
        return found.with_(usage=usage)

    return Shape(answer=answer, events=_openai(_after_finish))


def _finish(reason: str | None) -> Shape:
    return Shape(answer=lambda answer, play: answer.with_(finish=reason))


_TABLE: dict[str, tuple[str, Run, str]] = {
    "nodone": ("answer", Shape(events=_nodone), "no `[DONE]` (no `message_stop`)"),
    "done_twice": ("answer", Shape(events=_done_twice), "the terminator twice"),
    "data_after_done": ("answer", Shape(events=_after_done), "content after the terminator"),
    "usage_none": ("answer", Shape(answer=lambda a, p: a.with_(usage=USAGE_UNSET)), "no usage anywhere"),
    "usage_with_finish": ("answer", _usage(_with_finish), "usage in the chunk of the finish"),
    "usage_after_finish": ("answer", _usage(_after_finish), "usage in a chunk of its own, asked for or not"),
    "usage_after_done": (
        "answer",
        _usage(lambda events, play: _place(events, play, len)),
        "usage after the terminator",
    ),
    "usage_every_chunk": ("answer", _usage(continuous), "usage so far in every chunk"),
    "usage_two": ("answer", _usage(_two), "two chunks of usage: the last is right"),
    "usage_zero": ("answer", _hostile(ZERO), "usage of nothing"),
    "usage_neg": ("answer", _hostile(NEGATIVE), "negative usage"),
    "usage_huge": ("answer", _hostile(HUGE), "usage of 10^18 tokens"),
    "usage_string": ("answer", _hostile(STRING), "usage as texts"),
    "finish_length": ("answer", _finish("length"), "finish reason `length`"),
    "finish_tool_calls": ("answer", _finish("tool_calls"), "finish reason `tool_calls` without one"),
    "finish_content_filter": ("answer", _finish("content_filter"), "finish reason `content_filter`"),
    "finish_null": ("cut", _finish(None), "every word and `[DONE]`, but no finish reason"),
}
ROWS = rows("ending", _TABLE, finish_null="odd")
